//! Random statements and short transactions: what nobody thought of writing down.
//!
//! A program is known by its seed. `PGSTEER_PGPOOL_SEED=17` runs that program alone, with all that
//! both proxies did if anything differs.

use anyhow::{Context, Result};

use crate::compare::Group;
use crate::lab::create_database;
use crate::matrix::SETUP;
use crate::program::{Part, Program, Step};

const PROGRAMS: u64 = 500;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).expect("small");
        usize::try_from((z ^ (z >> 31)) % limit).expect("below a small number")
    }

    fn pick(&mut self, texts: &[&str]) -> String {
        texts[self.below(texts.len())].to_owned()
    }

    /// A query, up to two levels deep.
    fn query(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.pick(LEAVES);
        }
        let shape = self.pick(SHAPES);
        let with_query = if shape.contains("{q}") {
            shape.replacen("{q}", &self.query(depth - 1), 1)
        } else {
            shape
        };
        let expression = self.pick(EXPRESSIONS);
        let table = self.pick(TABLES);
        with_query
            .replace("{e}", &expression)
            .replace("{t}", &table)
    }

    fn statement(&mut self) -> String {
        match self.below(10) {
            0..=4 => {
                let depth = 1 + self.below(2);
                self.query(depth)
            }
            5..=6 => self.pick(WRITES),
            7 => {
                let depth = self.below(2);
                let wrapper = self.pick(WRAPPERS);
                wrapper.replace("{q}", &self.query(depth))
            }
            _ => self.pick(OTHERS),
        }
    }

    fn transaction(&mut self) -> Vec<String> {
        let count = 1 + self.below(5);
        let begin = self.pick(BEGINS);
        let end = self.pick(ENDS);
        let mut texts = vec![begin];
        texts.extend((0..count).map(|_| match self.below(6) {
            0 => self.pick(INSIDE),
            _ => self.statement(),
        }));
        texts.push(end);
        texts
    }
}

const TABLES: &[&str] = &["t1", "t2", "public.t1", "t1 AS x", "catalog_v"];
const EXPRESSIONS: &[&str] = &[
    "1",
    "now()",
    "'a'::text",
    "count(*)",
    "lower('A')",
    "CURRENT_USER",
    "random()",
    "nextval('sq')",
    "version()",
    "current_setting('work_mem')",
    "CASE WHEN true THEN 1 END",
    "pg_is_in_recovery()",
    "coalesce(NULL, 1)",
    "extract(year FROM now())",
    "1 + 1",
    "'pg_class'::regclass",
    "ARRAY[1, 2]",
    "pg_backend_pid()",
    "clock_timestamp()",
];
const LEAVES: &[&str] = &[
    "SELECT 1 AS i",
    "SELECT i FROM t1",
    "SELECT max(i) AS i FROM t2",
    "TABLE t1",
    "SELECT 1 AS i FROM pg_class",
    "SELECT nextval('sq')::int AS i",
    "SELECT i FROM t1 FOR SHARE",
    "VALUES (1)",
];
const SHAPES: &[&str] = &[
    "SELECT {e} FROM {t}",
    "SELECT {e}",
    "SELECT {e} FROM ({q}) AS q",
    "({q})",
    "WITH w AS ({q}) SELECT {e} FROM w",
    "SELECT 1 WHERE 1 IN ({q})",
    "SELECT EXISTS ({q})",
    "SELECT {e} FROM {t} WHERE i IN ({q})",
    "({q}) UNION ALL SELECT 1",
    "SELECT ({q} LIMIT 1)",
    "SELECT {e} FROM {t} GROUP BY 1 ORDER BY 1 LIMIT 3",
    "SELECT * FROM {t}, LATERAL ({q}) AS q",
    "SELECT {e} FROM t1 JOIN t2 USING (i)",
    "TABLE t2",
    "select {e} from {t}",
    "  SELECT {e}",
    "/* c */ SELECT {e}",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r",
];
const WRITES: &[&str] = &[
    "INSERT INTO t1 VALUES (1)",
    "INSERT INTO t2 SELECT i FROM t1 LIMIT 1",
    "UPDATE t1 SET i = i WHERE i = 3",
    "DELETE FROM t2 WHERE i = 77",
    "INSERT INTO t1 VALUES (2) RETURNING i",
    "TRUNCATE related",
    "WITH w AS (INSERT INTO t2 VALUES (5) RETURNING i) SELECT i FROM w",
    "MERGE INTO t1 USING (SELECT 77 AS i) s ON t1.i = s.i WHEN MATCHED THEN DO NOTHING",
    "SELECT i FROM t1 FOR UPDATE",
    "COPY t2 FROM STDIN",
    "CREATE TABLE g{n} (i int)",
    "SELECT 1 AS i INTO g{n}",
];
const WRAPPERS: &[&str] = &[
    "EXPLAIN {q}",
    "EXPLAIN ANALYZE {q}",
    "COPY ({q}) TO STDOUT",
    "DECLARE c CURSOR WITH HOLD FOR {q}",
    "PREPARE p AS {q}",
    "CREATE TEMP TABLE gt{n} AS {q}",
    "{q}; SELECT 1",
];
const OTHERS: &[&str] = &[
    "SHOW work_mem",
    "SHOW ALL",
    "SET work_mem = '5MB'",
    "RESET work_mem",
    "SET LOCAL work_mem = '6MB'",
    "COPY t1 TO STDOUT",
    "EXECUTE p",
    "DEALLOCATE p",
    "DEALLOCATE ALL",
    "LISTEN a",
    "NOTIFY a",
    "UNLISTEN *",
    "FETCH c",
    "CLOSE c",
    "SELECT 1/0",
    "SELECT * FROM nowhere",
    "SELEC 1",
    ";",
    "DO 'BEGIN END'",
    "CALL pr()",
    "ANALYZE related",
    "DISCARD PLANS",
    "SET search_path = public",
];
const BEGINS: &[&str] = &[
    "BEGIN",
    "BEGIN",
    "BEGIN",
    "START TRANSACTION",
    "BEGIN READ ONLY",
    "BEGIN READ WRITE",
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
];
const INSIDE: &[&str] = &[
    "SAVEPOINT a",
    "SAVEPOINT b",
    "RELEASE a",
    "ROLLBACK TO a",
    "SET TRANSACTION READ ONLY",
    "LOCK locked IN ACCESS SHARE MODE",
    "LOCK locked",
    "SET CONSTRAINTS ALL DEFERRED",
];
const ENDS: &[&str] = &["COMMIT", "COMMIT", "COMMIT", "END", "ROLLBACK", "ABORT"];

fn program(seed: u64) -> Program {
    let mut random = Random(seed);
    let mut texts = Vec::new();
    for _ in 0..1 + random.below(4) {
        if random.below(2) == 0 {
            texts.push(random.statement());
        } else {
            texts.extend(random.transaction());
        }
    }
    // COPY, DEALLOCATE and strings of several statements end the session or mean nothing there.
    let is_simple = |sql: &String| {
        ["COPY", "DEALLOCATE", "; "]
            .iter()
            .any(|word| sql.contains(word))
    };
    let step = |sql: String| match random.below(3) {
        0 if !is_simple(&sql) => Step::Batch(vec![Part::Whole(sql)]),
        _ => Step::Query(sql),
    };
    Program {
        title: format!("seed {seed}: "),
        steps: texts.into_iter().map(step).collect(),
        ..Program::default()
    }
}

#[test]
fn random_programs() -> Result<()> {
    create_database("generated", SETUP)?;
    let chosen = std::env::var("PGSTEER_PGPOOL_SEED").ok();
    let chosen = chosen.map(|text| text.parse().context("PGSTEER_PGPOOL_SEED is no number"));
    let programs: Vec<Program> = match chosen.transpose()? {
        Some(seed) => vec![program(seed)],
        None => (0..PROGRAMS).map(program).collect(),
    };
    let statements: usize = programs.iter().map(|program| program.steps.len()).sum();
    let group = Group {
        database: "generated",
        settings: &[],
        safer: &[
            "25P02",
            "D1",
            "D1: end",
            "D2",
            "D6",
            "missing",
            "READ WRITE",
            "several",
            "locking",
            "read only",
            "4.3: PREPARE",
        ],
        exact: &[
            "25P02",
            "D1",
            "D1: end",
            "READ WRITE",
            "missing",
            "locking copy",
            "several",
            "locking",
            "4.3: PREPARE",
        ],
    };
    assert!(
        programs.len() == 1 || statements >= 2000,
        "{statements} statements only"
    );
    group.run(&programs)?;
    Ok(())
}
