//! What a plugin counts itself, shared by its instances.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesKind {
    /// Grows.
    Counter,
    /// Has a value.
    Gauge,
    /// Has many values, of which number, sum and greatest are kept.
    Histogram,
}

/// One series.
#[derive(Debug)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: SeriesKind,
    /// What it is measured in.
    pub unit: String,
    count: AtomicU64,
    // Bits of an `f64`: sum of a counter or histogram, last value of a gauge.
    value: AtomicU64,
    greatest: AtomicU64,
}

impl Series {
    fn new(name: &str, kind: SeriesKind, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            unit: unit.to_owned(),
            count: AtomicU64::new(0),
            value: AtomicU64::new(0),
            greatest: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
        }
    }

    /// Adds to a counter, sets a gauge, notes a value of a histogram.
    pub fn put(&self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.kind == SeriesKind::Gauge {
            self.value.store(value.to_bits(), Ordering::Relaxed);
            return;
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        let _ = self
            .value
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        let raise = |bits| (f64::from_bits(bits) < value).then(|| value.to_bits());
        let _ = self
            .greatest
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise);
    }

    /// How many values were put.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Sum of a counter or histogram, last value of a gauge.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.value.load(Ordering::Relaxed))
    }

    /// The greatest value put, if there was one.
    #[must_use]
    pub fn greatest(&self) -> Option<f64> {
        Some(f64::from_bits(self.greatest.load(Ordering::Relaxed))).filter(|v| v.is_finite())
    }
}

/// The series of one plugin, by number.
#[derive(Debug, Default)]
pub struct SeriesTable(Mutex<Vec<std::sync::Arc<Series>>>);

impl SeriesTable {
    /// The number and series of this name, which is made if it is not there yet. `None`: there are
    /// `max` already, or it is there as something else.
    pub fn define(
        &self,
        name: &str,
        kind: SeriesKind,
        unit: &str,
        max: usize,
    ) -> Option<(usize, std::sync::Arc<Series>)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = all.iter().position(|series| series.name == name) {
            let known = all.get(index).filter(|series| series.kind == kind)?;
            return Some((index, known.clone()));
        }
        if all.len() >= max {
            return None;
        }
        let series = std::sync::Arc::new(Series::new(name, kind, unit));
        all.push(series.clone());
        Some((all.len() - 1, series))
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<std::sync::Arc<Series>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{SeriesKind, SeriesTable};

    #[test]
    fn series_are_kept_by_kind() {
        let table = SeriesTable::default();
        let define = |name, kind| table.define(name, kind, "", 2);
        let (number, counter) = define("a", SeriesKind::Counter).expect("room");
        assert_eq!(define("a", SeriesKind::Counter).map(|d| d.0), Some(number));
        assert!(define("a", SeriesKind::Gauge).is_none(), "another kind");
        let (_, gauge) = define("b", SeriesKind::Gauge).expect("room");
        assert!(define("c", SeriesKind::Gauge).is_none(), "no room");
        for value in [1.5, f64::NAN, 2.0] {
            counter.put(value);
            gauge.put(value);
        }
        assert_eq!((counter.count(), counter.value()), (2, 3.5));
        assert_eq!(counter.greatest(), Some(2.0));
        assert_eq!(gauge.value(), 2.0);
    }
}
