//! What kind of statement it is.

/// Kind of a statement. More may be added: match with `_`, and treat what you do not know with the
/// care you give to a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// Not known, or newer than this crate.
    #[default]
    Unknown,
    /// SELECT, TABLE, VALUES, WITH ... SELECT.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// MERGE.
    Merge,
    /// A schema change (DDL).
    Schema,
    /// COPY, in either direction.
    Copy,
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT and the like.
    TransactionControl,
    /// SET, RESET, DISCARD.
    SessionSetting,
    /// Any other utility command.
    Utility,
    /// CALL or DO.
    Call,
    /// EXPLAIN.
    Explain,
    /// SHOW.
    Show,
    /// DECLARE, FETCH, MOVE, CLOSE.
    Cursor,
    /// PREPARE.
    Prepare,
    /// EXECUTE.
    Execute,
    /// DEALLOCATE.
    Deallocate,
    /// LISTEN, NOTIFY, UNLISTEN.
    Listen,
    /// LOCK.
    Lock,
    /// No statement at all.
    Empty,
}

impl Class {
    /// The class with this code in `wit/v0.1/plugin.wit`.
    #[must_use]
    pub fn from_code(code: u16) -> Self {
        BY_CODE.get(usize::from(code)).copied().unwrap_or_default()
    }

    /// Its code in `wit/v0.1/plugin.wit`.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }
}

/// Position is the code.
const BY_CODE: [Class; 21] = [
    Class::Unknown,
    Class::Select,
    Class::Insert,
    Class::Update,
    Class::Delete,
    Class::Merge,
    Class::Schema,
    Class::Copy,
    Class::TransactionControl,
    Class::SessionSetting,
    Class::Utility,
    Class::Call,
    Class::Explain,
    Class::Show,
    Class::Cursor,
    Class::Prepare,
    Class::Execute,
    Class::Deallocate,
    Class::Listen,
    Class::Lock,
    Class::Empty,
];

#[cfg(test)]
mod tests {
    use super::{BY_CODE, Class};

    #[test]
    fn codes_and_classes_agree() {
        for (code, class) in (0u16..).zip(BY_CODE) {
            assert_eq!(class.code(), code);
            assert_eq!(Class::from_code(code), class);
        }
        assert_eq!(Class::from_code(9999), Class::Unknown);
    }
}
