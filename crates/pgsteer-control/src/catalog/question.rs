//! What a database is asked for its catalog. Everything is in `pg_catalog` by name, so that no search
//! path matters.

use std::fmt::Write as _;

/// All names in one string and one transaction. The first column says what a row is about. At most
/// `rows_max` rows of each kind come.
pub(super) fn names(rows_max: usize) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;{SERVER};{GUARDS};\
         {RELATIONS} LIMIT {rows_max};{FUNCTIONS} LIMIT {rows_max};{SETTINGS} LIMIT {rows_max};\
         COMMIT"
    )
}

/// The queries of some views. Each call locks the relations a view names until the transaction ends,
/// so a transaction asks for some only, or a server with thousands of views would run out of room
/// for locks.
pub(super) fn views(oids: &[u32]) -> String {
    let mut list = String::new();
    for oid in oids {
        let separator = if list.is_empty() { "" } else { "," };
        let _infallible = write!(list, "{separator}{oid}");
    }
    format!(
        "BEGIN READ ONLY;{GUARDS};\
         SELECT 'view', v, pg_catalog.pg_get_viewdef(v) FROM \
         pg_catalog.unnest('{{{list}}}'::pg_catalog.oid[]) v;COMMIT"
    )
}

/// `search_path` as the configuration files of the server set it, for a probe role that has a value
/// of its own. Only superusers may ask, unless somebody let others.
pub(super) const FILE: &str = "\
SELECT 'file', setting FROM pg_catalog.pg_file_settings \
WHERE name = 'search_path' AND applied";

/// The value of `search_path` this session began with, and where it came from. Before
/// [`GUARDS`], which set it.
const SERVER: &str = "\
SELECT 'server', source, reset_val, boot_val FROM pg_catalog.pg_settings \
WHERE name = 'search_path'";

/// The empty path makes `pg_get_viewdef` qualify every name. The lock timeout is shorter than any
/// `deadlock_timeout` in use (1 s by default): a load that waits for somebody's ALTER TABLE gives up
/// before a deadlock with it could be resolved at the other's cost.
const GUARDS: &str = "\
SET LOCAL search_path = '';SET LOCAL lock_timeout = '200ms';\
SET LOCAL statement_timeout = '30s'";

/// A write runs code of users where there are triggers that are not PostgreSQL's own, rules, policies,
/// or another server.
///
/// A partition or child that is not on replicas makes its parents so. Only views of users have a
/// query worth looking at (16384 is PostgreSQL's `FirstNormalObjectId`).
const RELATIONS: &str = "\
WITH RECURSIVE elsewhere(oid) AS (\
  SELECT oid FROM pg_catalog.pg_class WHERE relpersistence <> 'p' \
  UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i \
    JOIN elsewhere e ON i.inhrelid = e.oid) \
SELECT 'relation', c.oid, n.nspname, c.relname, \
  CASE WHEN c.relpersistence = 'p' AND e.oid IS NOT NULL THEN 'u' ELSE c.relpersistence END, \
  c.relkind = 'v' AND c.oid >= 16384, \
  c.relhasrules OR c.relrowsecurity OR c.relkind = 'f' OR (c.relhastriggers AND EXISTS (\
    SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)) \
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
  LEFT JOIN elsewhere e ON e.oid = c.oid \
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY c.oid";

/// The text of a function says whether it may leave something in the session; see
/// `pgsteer_sql::may_leave_something`, which looks for the same.
///
/// An aggregate says that it is immutable whatever the functions do that it is made of. The direct
/// arguments of an ordered-set aggregate are the ones between its parentheses.
const FUNCTIONS: &str = "\
SELECT 'function', n.nspname, p.proname, p.pronargs, p.pronargdefaults, p.provariadic <> 0, \
  COALESCE(a.volatility, p.provolatile::pg_catalog.text), a.direct, \
  p.oid >= 16384 AND p.prosrc OPERATOR(pg_catalog.~*) '(set_config|advisory|\\mtemp(orary)?\\M|\\mlisten\\M|\\mhold\\M|\
(^|;|\\m(begin|then|else|loop)\\M)\\s*(re)?set\\M)' \
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
  LEFT JOIN (\
    SELECT a.aggfnoid, pg_catalog.max(s.provolatile::pg_catalog.text COLLATE \"C\") AS volatility, \
      pg_catalog.max(CASE WHEN a.aggkind <> 'n' THEN a.aggnumdirectargs END) AS direct \
    FROM pg_catalog.pg_aggregate a CROSS JOIN pg_catalog.unnest(ARRAY[\
        a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, \
        a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]) u \
      JOIN pg_catalog.pg_proc s ON s.oid = u \
    GROUP BY a.aggfnoid) a ON a.aggfnoid = p.oid \
ORDER BY p.oid";

/// What ALTER ROLE and ALTER DATABASE set.
const SETTINGS: &str = "\
SELECT 'setting', s.setdatabase <> 0, r.rolname, \
  pg_catalog.substr(c, pg_catalog.length('search_path=') + 1) \
FROM pg_catalog.pg_db_role_setting s \
  CROSS JOIN pg_catalog.unnest(s.setconfig) c \
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
WHERE pg_catalog.starts_with(c, 'search_path=') \
  AND (s.setrole = 0 OR r.rolname IS NOT NULL) \
  AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database \
                            WHERE datname = pg_catalog.current_database()))";
