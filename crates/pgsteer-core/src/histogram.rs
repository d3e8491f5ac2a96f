//! How often something took how long, counted so that a scrape costs whoever counts nothing: cells
//! of one writing thread, two to each doubling of the time.

use std::time::Duration;

use crate::counters::Counter;

/// Doublings that have cells of their own: from 64 µs to 67 s.
const DOUBLINGS: usize = 20;

/// Cells with an upper end.
pub const BOUNDS: usize = 2 * DOUBLINGS + 1;

/// The upper end of the first cell, as a power of two of microseconds.
const FIRST: u32 = 6;

/// Counts of times by length, and their sum.
#[derive(Debug)]
pub struct Histogram {
    cells: [Counter; BOUNDS + 1],
    sum_us: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            cells: std::array::from_fn(|_| Counter::default()),
            sum_us: Counter::default(),
        }
    }
}

impl Histogram {
    /// Notes one, in microseconds. Only the owning worker may call this.
    pub fn note_us(&self, us: u64) {
        if let Some(cell) = self.cells.get(cell(us)) {
            cell.add(1);
        }
        self.sum_us.add(us);
    }

    /// Notes one. Only the owning worker may call this.
    pub fn note(&self, time: Duration) {
        self.note_us(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds what was counted here.
    pub fn add_to(&self, counts: &mut Counted) {
        for (sum, cell) in counts.cells.iter_mut().zip(&self.cells) {
            *sum = sum.wrapping_add(cell.get());
        }
        counts.sum_us = counts.sum_us.wrapping_add(self.sum_us.get());
    }
}

/// What histograms counted, added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    cells: [u64; BOUNDS + 1],
    sum_us: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            cells: [0; BOUNDS + 1],
            sum_us: 0,
        }
    }
}

impl Counted {
    /// The upper end of each cell but the last, in microseconds, and how many times took no longer.
    pub fn up_to(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut total = 0;
        self.cells
            .iter()
            .take(BOUNDS)
            .enumerate()
            .map(move |(index, count)| {
                total += count;
                (bound(index), total)
            })
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// Their sum, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }
}

/// The upper end of a cell in microseconds: 64, 96, 128, 192, 256, ...
fn bound(index: usize) -> u64 {
    let half = 1_u64 << (FIRST as usize - 1 + index / 2);
    half * (2 + index as u64 % 2)
}

/// The first cell whose upper end is not below.
fn cell(us: u64) -> usize {
    let Some(below) = us.checked_sub(1).filter(|below| *below >= 1 << FIRST) else {
        return 0;
    };
    let doubling = below.ilog2();
    let upper_half = usize::from(below >= 3 << (doubling - 1));
    let index = 2 * (doubling - FIRST) as usize + 1 + upper_half;
    index.min(BOUNDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_first_cell_that_reaches_it() {
        let bounds: Vec<u64> = (0..BOUNDS).map(bound).collect();
        assert_eq!(bounds[..5], [64, 96, 128, 192, 256]);
        assert_eq!(bounds.last(), Some(&(64 << 20)));
        let near = bounds.iter().flat_map(|b| [b - 1, *b, b + 1]);
        for us in (0..1_000).chain(near).chain([u64::MAX]) {
            let expected = bounds.iter().position(|b| us <= *b);
            assert_eq!(cell(us), expected.unwrap_or(BOUNDS), "{us}");
        }
    }

    #[test]
    fn counts_of_several_workers_are_added_up() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.note(Duration::from_micros(64));
        one.note(Duration::from_secs(3600));
        two.note_us(65);
        let mut counted = Counted::default();
        one.add_to(&mut counted);
        two.add_to(&mut counted);
        assert_eq!((counted.count(), counted.sum_us()), (3, 3_600_000_129));
        let up_to: Vec<_> = counted.up_to().take(2).collect();
        assert_eq!(up_to, [(64, 1), (96, 2)]);
        assert_eq!(counted.up_to().last(), Some((64 << 20, 2)));
    }
}
