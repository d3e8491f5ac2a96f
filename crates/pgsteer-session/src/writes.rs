//! What was written and acknowledged: the moments that reads must not be older than.
//!
//! A moment is noted when a server says that it is idle again after something that may have
//! written, before a byte of that answer reaches the client: whoever hears of a write finds it
//! noted.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Instant;

use pgsteer_core::freshness::LatestMoment;
use pgsteer_core::{Database, Facts, Moment, NodeId};

/// Cells for relations, of all databases; two that share one are both taken for written.
const CELL_COUNT: usize = 1 << 16;

/// When each relation, and each key of a plugin's choice, was last written through the proxy, for all
/// workers.
#[derive(Debug)]
pub(crate) struct RelationWrites {
    cells: Box<[LatestMoment]>,
    hasher: foldhash::quality::RandomState,
}

/// Where a relation's moment is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellId(u16);

impl Default for RelationWrites {
    fn default() -> Self {
        Self {
            cells: (0..CELL_COUNT).map(|_| LatestMoment::default()).collect(),
            hasher: foldhash::quality::RandomState::default(),
        }
    }
}

impl RelationWrites {
    /// The cell of a relation. `oid` is zero for those that are not known: a database has one cell
    /// for all of them, which every read looks at.
    pub(crate) fn cell(&self, database: &Database, oid: u32) -> CellId {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(database.name().as_bytes());
        hasher.write_u32(oid);
        CellId(u16::try_from(hasher.finish() & 0xffff).unwrap_or(0))
    }

    /// The cell of a key; `None` stands for all keys of a database.
    fn key_cell(&self, database: &Database, key: Option<u64>) -> CellId {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(database.name().as_bytes());
        hasher.write_u8(u8::from(key.is_some()));
        hasher.write_u64(key.unwrap_or(0));
        CellId(u16::try_from(hasher.finish() & 0xffff).unwrap_or(0))
    }

    fn latest(&self, cell: CellId) -> &LatestMoment {
        // There are as many cells as there are numbers for them.
        self.cells
            .get(usize::from(cell.0))
            .unwrap_or_else(|| unreachable!("every cell exists"))
    }

    /// When any of these was last written.
    pub(crate) fn last_write(&self, cells: impl IntoIterator<Item = CellId>) -> Moment {
        let moments = cells.into_iter().map(|cell| self.latest(cell).get());
        moments.max().unwrap_or(Moment::NEVER)
    }
}

/// What one session has sent that may write and was not acknowledged yet, and its floor.
#[derive(Debug)]
pub(crate) struct Writes {
    facts: Arc<Facts>,
    relations: Arc<RelationWrites>,
    pub(crate) database: Arc<Database>,
    floor: Cell<Moment>,
    /// The node that is to acknowledge something.
    pending: Cell<Option<NodeId>>,
    changes_schema: Cell<bool>,
    cells: RefCell<Vec<CellId>>,
}

/// Cells noted for one transaction one by one; one that writes more relations counts as having
/// written those nobody knows.
const CELLS_MAX: usize = 256;

impl Writes {
    /// For a session that begins now. Its floor is the last write to the database it can have
    /// heard of.
    pub(crate) fn new(
        facts: Arc<Facts>,
        relations: Arc<RelationWrites>,
        database: Arc<Database>,
    ) -> Self {
        Self {
            floor: Cell::new(database.last_write()),
            facts,
            relations,
            database,
            pending: Cell::new(None),
            changes_schema: Cell::new(false),
            cells: RefCell::default(),
        }
    }

    /// Something that may write these relations is about to be sent to a node.
    pub(crate) fn begin(
        &self,
        node: NodeId,
        cells: impl IntoIterator<Item = CellId>,
        changes_schema: bool,
    ) {
        self.pending.set(Some(node));
        let mut pending = self.cells.borrow_mut();
        for cell in cells {
            if pending.contains(&cell) {
                continue;
            }
            if pending.len() < CELLS_MAX {
                pending.push(cell);
                continue;
            }
            for all in [self.cell(0), self.relations.key_cell(&self.database, None)] {
                if !pending.contains(&all) {
                    pending.push(all);
                }
            }
        }
        if changes_schema {
            self.changes_schema.set(true);
            self.database.schema_changed();
        }
    }

    /// Whether something that was sent was not acknowledged yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.get().is_some()
    }

    /// The server at a node is idle again: what was pending there has happened, or never will.
    pub(crate) fn acknowledged(&self, node: NodeId) {
        if self.pending.get() == Some(node) {
            self.note();
            self.pending.set(None);
            self.cells.borrow_mut().clear();
            self.changes_schema.set(false);
        }
    }

    /// The server at a node said that it has committed, and may go on.
    pub(crate) fn committed(&self, node: NodeId) {
        if self.pending.get() == Some(node) {
            self.note();
        }
    }

    /// What was about to be sent was not: there is nothing to wait for.
    pub(crate) fn forget(&self) {
        self.pending.set(None);
        self.cells.borrow_mut().clear();
        if self.changes_schema.take() {
            self.database.schema_changed();
        }
    }

    fn note(&self) {
        let now = self.facts.freshness.moment(Instant::now());
        self.floor.set(now);
        self.database.note_write(now);
        self.facts.freshness.note_write(now);
        for cell in self.cells.borrow().iter() {
            self.relations.latest(*cell).raise(now);
        }
        if self.changes_schema.get() {
            self.database.schema_changed();
        }
    }

    /// Everything this session wrote, and everything it can have heard of before it began, was
    /// acknowledged before this moment.
    pub(crate) fn floor(&self) -> Moment {
        self.floor.get()
    }

    /// When any of these relations, or one that nobody knows, was last written through the proxy.
    pub(crate) fn last_write(&self, cells: impl IntoIterator<Item = CellId>) -> Moment {
        let unknown = self.cell(0);
        self.relations
            .last_write(cells.into_iter().chain([unknown]))
    }

    /// When something was last noted under any of these keys.
    pub(crate) fn last_write_under(&self, keys: &[u64]) -> Moment {
        let all = self.relations.key_cell(&self.database, None);
        let cells = keys.iter().map(|key| self.key_cell(*key));
        self.relations.last_write(cells.chain([all]))
    }

    /// The cell of what is written under no key: whoever reads by key must see it.
    pub(crate) fn unsigned_cell(&self) -> CellId {
        self.relations.key_cell(&self.database, None)
    }

    /// The cell of a key, in this session's database.
    pub(crate) fn key_cell(&self, key: u64) -> CellId {
        self.relations.key_cell(&self.database, Some(key))
    }

    /// The cell of a relation of this session's database.
    pub(crate) fn cell(&self, oid: u32) -> CellId {
        self.relations.cell(&self.database, oid)
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        // The session is gone and nobody knows what became of it: it may have happened.
        if self.is_pending() {
            self.note();
        }
        self.facts.catalogs.leave(&self.database);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: NodeId = NodeId(0);

    fn session(facts: &Arc<Facts>, relations: &Arc<RelationWrites>) -> Writes {
        let database = facts.catalogs.enter("shop");
        Writes::new(Arc::clone(facts), Arc::clone(relations), database)
    }

    #[test]
    fn a_write_is_noted_when_it_is_acknowledged() {
        let facts = Arc::new(Facts::new(Instant::now(), 1));
        let relations = Arc::new(RelationWrites::default());
        let (writer, reader) = (session(&facts, &relations), session(&facts, &relations));
        let (t, other) = (writer.cell(4711), writer.cell(4712));
        writer.begin(PRIMARY, [t], false);
        assert_eq!(writer.floor(), Moment::NEVER);
        // A replica that is idle says nothing about what the primary was sent.
        writer.acknowledged(NodeId(1));
        assert_eq!(writer.floor(), Moment::NEVER);
        writer.acknowledged(PRIMARY);
        assert!(writer.floor() > Moment::NEVER);
        assert_eq!(reader.floor(), Moment::NEVER);
        assert_eq!(reader.last_write([t]), writer.floor());
        assert_eq!(reader.last_write([other]), Moment::NEVER);
        assert_eq!(reader.database.last_write(), writer.floor());
        // Who connects now may have heard of it.
        assert_eq!(session(&facts, &relations).floor(), writer.floor());
        writer.acknowledged(PRIMARY);
        assert_eq!(session(&facts, &relations).floor(), writer.floor());
    }

    #[test]
    fn a_write_is_noted_under_its_keys() {
        let facts = Arc::new(Facts::new(Instant::now(), 1));
        let relations = Arc::new(RelationWrites::default());
        let (writer, reader) = (session(&facts, &relations), session(&facts, &relations));
        writer.begin(PRIMARY, [writer.key_cell(1)], false);
        writer.acknowledged(PRIMARY);
        assert_eq!(reader.last_write_under(&[2, 1]), writer.floor());
        assert_eq!(reader.last_write_under(&[2]), Moment::NEVER);
        let many = (10..1000).map(|key| writer.key_cell(key));
        writer.begin(PRIMARY, many, false);
        writer.acknowledged(PRIMARY);
        assert_eq!(
            reader.last_write_under(&[2]),
            writer.floor(),
            "too many to tell apart"
        );
    }

    #[test]
    fn a_write_of_a_session_that_vanished_may_have_happened() {
        let facts = Arc::new(Facts::new(Instant::now(), 1));
        let relations = Arc::new(RelationWrites::default());
        let reader = session(&facts, &relations);
        let writer = session(&facts, &relations);
        writer.begin(PRIMARY, [writer.cell(0)], false);
        drop(writer);
        assert!(reader.last_write([reader.cell(1)]) > Moment::NEVER);
    }

    #[test]
    fn what_comes_after_a_commit_is_noted_too() {
        let facts = Arc::new(Facts::new(Instant::now(), 1));
        let writer = session(&facts, &Arc::default());
        writer.begin(PRIMARY, [], false);
        writer.committed(PRIMARY);
        let floor = writer.floor();
        assert!(floor > Moment::NEVER && writer.is_pending());
        writer.acknowledged(PRIMARY);
        assert!(writer.floor() >= floor && !writer.is_pending());
        let floor = writer.floor();
        writer.begin(PRIMARY, [], false);
        writer.forget();
        assert!(writer.floor() == floor && !writer.is_pending());
    }

    #[test]
    fn a_schema_change_is_told_when_it_is_sent_and_when_it_is_over() {
        let facts = Arc::new(Facts::new(Instant::now(), 1));
        let writer = session(&facts, &Arc::default());
        let before = writer.database.schema_epoch();
        writer.begin(PRIMARY, [], true);
        assert_eq!(writer.database.schema_epoch(), before + 1);
        writer.acknowledged(PRIMARY);
        assert_eq!(writer.database.schema_epoch(), before + 2);
        writer.acknowledged(PRIMARY);
        assert_eq!(writer.database.schema_epoch(), before + 2);
    }
}
