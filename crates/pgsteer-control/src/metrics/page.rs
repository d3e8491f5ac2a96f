//! The page that is shown, made anew a few times a second at most: those who ask without end must not
//! keep the control plane from its work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::collect::collect;
use super::text::Text;
use crate::doors::House;

/// The page, shared by all addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page(Arc<Mutex<Option<(Instant, Bytes)>>>);

impl Page {
    /// The page of now, or of a moment ago.
    pub(super) fn get(&self, house: &House) -> Bytes {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, page)) = &*made
            && at.elapsed() < GOOD_FOR
        {
            return page.clone();
        }
        let mut text = Text::default();
        collect(&house.facts, &house.now(), &mut text);
        let page = Bytes::from(text.finish());
        *made = Some((Instant::now(), page.clone()));
        page
    }
}

/// How long a page is good for; ours.
const GOOD_FOR: Duration = Duration::from_millis(250);
