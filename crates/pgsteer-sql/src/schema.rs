//! Which statements may change what names mean to others.

use pg_query::NodeEnum;
use pg_query::protobuf::{RangeVar, TransactionStmtKind};

/// Whether a statement may make another relation or function stand behind a name, or change what is
/// known of it. Temporary relations concern their session alone, which knows them.
pub(crate) fn may_change(statement: &NodeEnum) -> bool {
    use NodeEnum as N;
    let permanent = |relation: Option<&RangeVar>| relation.is_some_and(|r| r.relpersistence != "t");
    match statement {
        N::CreateStmt(s) => permanent(s.relation.as_ref()),
        N::CreateSeqStmt(s) => permanent(s.sequence.as_ref()),
        N::ViewStmt(s) => permanent(s.view.as_ref()),
        N::CreateTableAsStmt(s) => permanent(s.into.as_ref().and_then(|i| i.rel.as_ref())),
        N::SelectStmt(s) => permanent(s.into_clause.as_ref().and_then(|i| i.rel.as_ref())),
        N::ExplainStmt(s) => s
            .query
            .as_deref()
            .and_then(|q| q.node.as_ref())
            .is_some_and(may_change),
        // What it did is not known.
        N::TransactionStmt(s) => s.kind() == TransactionStmtKind::TransStmtCommitPrepared,
        // A block of code may do anything; migrations are often written as one.
        N::DoStmt(_) => true,
        N::AlterTableStmt(_)
        | N::AlterTableMoveAllStmt(_)
        | N::AlterDomainStmt(_)
        | N::AlterExtensionStmt(_)
        | N::AlterExtensionContentsStmt(_)
        | N::AlterFunctionStmt(_)
        | N::AlterObjectSchemaStmt(_)
        | N::AlterOwnerStmt(_)
        | N::AlterRoleSetStmt(_)
        | N::AlterDatabaseSetStmt(_)
        | N::AlterSeqStmt(_)
        | N::AlterSystemStmt(_)
        | N::CreateExtensionStmt(_)
        | N::CreateForeignTableStmt(_)
        | N::ImportForeignSchemaStmt(_)
        | N::CreateFunctionStmt(_)
        | N::CreateSchemaStmt(_)
        | N::DefineStmt(_)
        | N::DropStmt(_)
        | N::DropOwnedStmt(_)
        | N::DropRoleStmt(_)
        | N::RenameStmt(_)
        | N::RuleStmt(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::analyze;

    #[test]
    fn what_changes_the_meaning_of_names() {
        for (text, expected) in [
            ("CREATE TABLE t (a int)", true),
            ("CREATE TEMP TABLE t (a int)", false),
            ("CREATE TABLE t AS SELECT 1", true),
            ("SELECT 1 INTO t", true),
            ("SELECT 1 INTO TEMP t", false),
            ("ALTER TABLE t SET UNLOGGED", true),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", true),
            (
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                true,
            ),
            ("DROP TABLE t", true),
            ("ALTER ROLE r SET search_path = a", true),
            ("DO 'BEGIN END'", true),
            ("SELECT 1; DROP TABLE t", true),
            ("EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1", true),
            ("COMMIT PREPARED 'x'", true),
            ("COMMIT", false),
            ("CREATE INDEX ON t (a)", false),
            ("TRUNCATE t", false),
            ("GRANT SELECT ON t TO r", false),
            ("INSERT INTO t VALUES (1)", false),
            ("SELECT 1", false),
        ] {
            assert_eq!(analyze(text.as_bytes()).changes_schema, expected, "{text}");
        }
    }
}
