//! A decision about a statement whose shape was seen before allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

mod decider;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "the only way to count allocations")]
// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn a_decision_that_is_remembered_allocates_nothing() {
    for router in [
        "",
        "read_your_writes = \"global\"",
        "disable_load_balance_on_write = \"dml_adaptive_global\"",
        "statement_level_load_balance = true",
    ] {
        let mut world = decider::world(Some(router));
        for (first, again) in [
            ("SELECT 1", "SELECT 2"),
            (
                "SELECT balance FROM accounts WHERE id = 1",
                "SELECT balance FROM accounts WHERE id = 4711",
            ),
            (
                "SELECT lower(name) FROM accounts WHERE id IN (1, 2)",
                "SELECT lower(name) FROM accounts WHERE id IN (3, 4, 5)",
            ),
            (
                "UPDATE accounts SET balance = 1 WHERE id = 2",
                "UPDATE accounts SET balance = 3 WHERE id = 4",
            ),
        ] {
            let node = world.decider.decide(first.as_bytes());
            let mut same = None;
            let count = allocations(|| same = world.decider.decide(again.as_bytes()));
            assert_eq!(count, 0, "{router}: {again}");
            let is_write = first.starts_with("UPDATE");
            assert_eq!(
                node.is_some_and(|n| n.0 == 0),
                is_write,
                "{router}: {first}"
            );
            assert_eq!(
                same.is_some_and(|n| n.0 == 0),
                is_write,
                "{router}: {again}"
            );
        }
    }
}
