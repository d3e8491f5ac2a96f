//! Rows of Pgpool-II's measured behaviour, as far as the parameters that exist reach.

use pgsteer_plugin_sdk::testing::{self, statement};
use pgsteer_plugin_sdk::{
    Candidate, Class, NodeId, NodeRole, Plugin, Reuse, Route, Routed, Router, Spread, Statement,
    Traits,
};

use super::{Parameters, PgpoolRouter};

const LB: Route = Route::Balanced(Spread::Session);
const P: Route = Route::Primary;
const BOTH: Route = Route::Everywhere;

fn router(json: &str) -> PgpoolRouter {
    PgpoolRouter::configure(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn read() -> Statement {
    statement(Class::Select).with_traits(Traits::READS)
}

fn insert() -> Statement {
    statement(Class::Insert).with_traits(Traits::WRITES)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row per statement")]
fn statements_outside_transactions() {
    let reading = |class| statement(class).with_traits(Traits::READS);
    let rows = [
        ("SELECT 1", read(), LB),
        ("  SELECT 1", read().with_traits(Traits::LEADING_SPACE), LB),
        (
            "/* c */ SELECT 3",
            read().with_traits(Traits::LEADING_COMMENT),
            P,
        ),
        ("VALUES (1)", read().with_traits(Traits::NOT_LIKE_A_READ), P),
        (
            "SELECT 6 FOR UPDATE",
            read().with_traits(Traits::LOCKING),
            P,
        ),
        (
            "SELECT 7 INTO TEMP zz",
            statement(Class::Select).with_traits(Traits::WRITES),
            P,
        ),
        ("EXPLAIN SELECT 8", reading(Class::Explain), P),
        ("SHOW work_mem", statement(Class::Show), LB),
        (
            "/* x */ SHOW work_mem",
            statement(Class::Show).with_traits(Traits::LEADING_COMMENT),
            LB,
        ),
        ("SET work_mem = 1", statement(Class::SessionSetting), BOTH),
        (";", statement(Class::Empty), LB),
        (
            "/* x */ COPY t1 TO STDOUT",
            reading(Class::Copy).with_traits(Traits::LEADING_COMMENT | Traits::NOT_LIKE_A_READ),
            LB,
        ),
        (
            "COPY t1 FROM STDIN",
            statement(Class::Copy).with_traits(Traits::WRITES),
            P,
        ),
        ("DECLARE c CURSOR FOR SELECT 1", reading(Class::Cursor), P),
        ("LISTEN a", statement(Class::Listen), P),
        ("DO $$ $$", statement(Class::Call), P),
        ("LOCK t1", statement(Class::Lock), P),
        (
            "PREPARE p AS SELECT 10",
            reading(Class::Prepare).with_traits(Traits::NOT_LIKE_A_READ),
            P,
        ),
        (
            "PREPARE q AS INSERT",
            statement(Class::Prepare).with_traits(Traits::WRITES),
            P,
        ),
        (
            "EXECUTE p",
            reading(Class::Execute).with_traits(Traits::NOT_LIKE_A_READ),
            P,
        ),
        ("EXECUTE nosuch", statement(Class::Execute), P),
        (
            "SELECT random()",
            read().with_traits(Traits::VOLATILE_FUNCTION),
            P,
        ),
        (
            "SELECT unheard_of()",
            read().with_traits(Traits::UNKNOWN_FUNCTION),
            P,
        ),
        (
            "SELECT * FROM pg_class",
            read().with_traits(Traits::CATALOG),
            P,
        ),
        (
            "SELECT * FROM temporary",
            read().with_traits(Traits::TEMPORARY),
            P,
        ),
        (
            "COPY temporary TO STDOUT",
            reading(Class::Copy).with_traits(Traits::TEMPORARY),
            P,
        ),
        ("SELECT 1; SELECT 2", read().with_traits(Traits::SEVERAL), P),
        (
            "SET a = 1; SET b = 2",
            statement(Class::SessionSetting).with_traits(Traits::SEVERAL),
            P,
        ),
        ("SELEC 1", statement(Class::Unknown), P),
        (
            "a newer host's class",
            statement(Class::from_code(999)).with_traits(Traits::READS),
            P,
        ),
        ("BEGIN", statement(Class::TransactionControl), BOTH),
        ("INSERT", insert(), P),
        ("CREATE TABLE", statement(Class::Schema), P),
    ];
    let mut router = router("{}");
    for (sql, asked, route) in rows {
        let answer = router.decide(&asked);
        assert_eq!(answer.route, route, "{sql}");
        assert_eq!(answer.reuse, Reuse::Statement, "{sql}");
    }
}

#[test]
fn parameters_change_the_text_test() {
    let comment = read().with_traits(Traits::LEADING_COMMENT | Traits::NOT_LIKE_A_READ);
    let space = read().with_traits(Traits::LEADING_SPACE);
    assert_eq!(
        router(r#"{"allow_sql_comments": true}"#)
            .decide(&comment)
            .route,
        LB
    );
    assert_eq!(
        router(r#"{"ignore_leading_white_space": false}"#)
            .decide(&space)
            .route,
        P
    );
    assert_eq!(
        router(r#"{"load_balance_mode": false}"#)
            .decide(&read())
            .route,
        P
    );
    let statement_level = router(r#"{"statement_level_load_balance": true}"#).decide(&read());
    assert_eq!(statement_level.route, Route::Balanced(Spread::Statement));
}

#[test]
fn isolation_levels() {
    let within = |traits| read().with_traits(Traits::IN_TRANSACTION | traits);
    let read_only = Traits::TRANSACTION_READ_ONLY;
    let rows = [
        (within(Traits::empty()), LB),
        (within(read_only), LB),
        (within(Traits::SERIALIZABLE), P),
        (within(Traits::SERIALIZABLE | read_only), P),
        (within(Traits::REPEATABLE_READ), P),
        (within(Traits::REPEATABLE_READ | read_only), LB),
    ];
    for (asked, route) in rows {
        assert_eq!(
            router("{}").decide(&asked).route,
            route,
            "{:?}",
            asked.traits
        );
    }
    let repeatable = within(Traits::REPEATABLE_READ | read_only);
    let json = r#"{"statement_level_load_balance": true}"#;
    assert_eq!(
        router(json).decide(&repeatable).route,
        LB,
        "one snapshot, one node"
    );
}

/// Plays statements one after the other, keeping the marks as the host does.
struct Play {
    router: PgpoolRouter,
    in_transaction: Option<Traits>,
    marks: (u32, u32),
}

impl Play {
    fn new(mode: &str) -> Self {
        Self::with(&format!(r#"{{"disable_load_balance_on_write": "{mode}"}}"#))
    }

    fn with(json: &str) -> Self {
        let router = router(json);
        Self {
            router,
            in_transaction: None,
            marks: (0, 0),
        }
    }

    fn ask(&mut self, asked: Statement) -> Route {
        let traits = self.in_transaction.unwrap_or_default();
        let asked = asked
            .with_traits(traits)
            .with_marks(self.marks.0, self.marks.1);
        let Routed { route, marks, .. } = self.router.decide(&asked);
        self.marks = (
            (self.marks.0 | marks.transaction) & !marks.clear_transaction,
            self.marks.1 | marks.session,
        );
        route
    }

    fn begin(&mut self) {
        assert_eq!(self.ask(statement(Class::TransactionControl)), BOTH);
        self.in_transaction = Some(Traits::IN_TRANSACTION);
    }

    fn commit(&mut self) {
        assert_eq!(self.ask(statement(Class::TransactionControl)), BOTH);
        (self.in_transaction, self.marks.0) = (None, 0);
    }
}

/// The measured sequence of Pgpool-II for `disable_load_balance_on_write`; `S` is balanced.
#[test]
fn writing_flag_in_each_mode() {
    let rows = [
        ("off", "SSSSSSS"),
        ("transaction", "SSSSPSS"),
        ("trans_transaction", "SSSSPSP"),
        ("always", "SPPPPPP"),
    ];
    for (mode, expected) in rows {
        let mut play = Play::new(mode);
        let mut reads = vec![play.ask(read())];
        play.ask(statement(Class::SessionSetting));
        reads.push(play.ask(read()));
        play.ask(insert());
        reads.push(play.ask(read()));
        play.begin();
        reads.push(play.ask(read()));
        play.ask(insert());
        reads.push(play.ask(read()));
        play.commit();
        reads.push(play.ask(read()));
        play.begin();
        reads.push(play.ask(read()));
        let seen: String = reads
            .iter()
            .map(|r| if *r == LB { 'S' } else { 'P' })
            .collect();
        assert_eq!(seen, expected, "{mode}");
    }
}

#[test]
fn what_raises_the_flag_in_a_transaction() {
    let reading = |class| statement(class).with_traits(Traits::READS);
    let control = statement(Class::TransactionControl);
    let rows = [
        ("SELECT", read(), LB),
        ("SHOW", statement(Class::Show), LB),
        ("EXPLAIN SELECT", reading(Class::Explain), LB),
        (
            "EXPLAIN ANALYZE INSERT",
            statement(Class::Explain).with_traits(Traits::WRITES),
            P,
        ),
        ("COPY TO", reading(Class::Copy), LB),
        ("PREPARE of a read", reading(Class::Prepare), LB),
        ("EXECUTE of a read", reading(Class::Execute), P),
        ("SET LOCAL", statement(Class::SessionSetting), P),
        (
            "SAVEPOINT",
            control.clone().with_traits(Traits::SAVEPOINT),
            P,
        ),
        (
            "SELECT nextval",
            read().with_traits(Traits::VOLATILE_FUNCTION),
            P,
        ),
        ("VALUES", read().with_traits(Traits::NOT_LIKE_A_READ), P),
        ("DECLARE", reading(Class::Cursor), P),
        ("LOCK", statement(Class::Lock), P),
        ("LISTEN", statement(Class::Listen), P),
        (
            "SELECT from a catalog",
            read().with_traits(Traits::CATALOG),
            LB,
        ),
    ];
    for (name, first, route_of_next_read) in rows {
        let mut play = Play::new("transaction");
        play.begin();
        play.ask(first);
        assert_eq!(play.ask(read()), route_of_next_read, "{name}");
    }
}

#[test]
fn transactions_the_host_knows_about() {
    let mut play = Play::new("transaction");
    play.begin();
    play.ask(statement(Class::SessionSetting));
    play.in_transaction = Some(Traits::IN_TRANSACTION | Traits::TRANSACTION_READ_ONLY);
    assert_eq!(
        play.ask(read()),
        LB,
        "SET TRANSACTION READ ONLY wrote nothing"
    );
    play.in_transaction = Some(Traits::IN_TRANSACTION | Traits::TRANSACTION_WROTE);
    assert_eq!(play.ask(read()), P, "the host saw a write");
}

#[test]
fn sessions_draw_from_usable_nodes() {
    let mut router = router("{}");
    let nodes = [
        (NodeRole::Primary, 0.5),
        (NodeRole::Replica, 1.0),
        (NodeRole::Replica, 2.0),
    ];
    router.topology_changed(&testing::topology(&nodes).without(NodeId(1)));
    let opening = router.open(&testing::session("alice", "shop"));
    let drawn = |node, weight| Candidate {
        node: NodeId(node),
        weight,
    };
    assert_eq!(opening.candidates, [drawn(0, 0.5), drawn(2, 2.0)]);
    assert_eq!(opening.class, 0);
}

#[test]
fn configuration_errors_name_key_value_and_what_is_allowed() {
    let rows = [
        (
            r#"{"load_balance": true}"#,
            ["load_balance", "true", "load_balance_mode"],
        ),
        (
            r#"{"load_balance_mode": "on"}"#,
            ["load_balance_mode", "\"on\"", "true and false"],
        ),
        (
            r#"{"disable_load_balance_on_write": "sometimes"}"#,
            [
                "disable_load_balance_on_write",
                "sometimes",
                "trans_transaction",
            ],
        ),
        ("[]", ["object", "[]", ""]),
        ("{", ["JSON", "", ""]),
    ];
    for (json, words) in rows {
        let error = Parameters::from_json(json).err().unwrap_or_default();
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{json}: {error:?}"
        );
    }
}

/// The class of a session with these settings, and whether its commented reads are balanced and its
/// reads of unlogged tables.
fn overridden(router: &mut PgpoolRouter, settings: &[(&str, &str)]) -> (u32, bool, bool) {
    let session = settings.iter().fold(
        testing::session("alice", "shop"),
        |session, (name, value)| session.with_setting(name, value),
    );
    let class = router.open(&session).class;
    let mut balanced = |traits| {
        let asked = read().with_traits(traits).with_session_class(class);
        router.decide(&asked).route == LB
    };
    (
        class,
        balanced(Traits::LEADING_COMMENT),
        balanced(Traits::UNLOGGED),
    )
}

#[test]
fn sessions_may_override_two_switches() {
    let mut router = router("{}");
    for (settings, expected) in [
        (&[][..], (0, false, false)),
        (&[("allow_sql_comments", "on")], (1, true, false)),
        (&[("allow_sql_comments", "off")], (0, false, false)),
        (&[("check_unlogged_table", "off")], (2, false, true)),
        (
            &[
                ("check_unlogged_table", "off"),
                ("allow_sql_comments", "on"),
            ],
            (3, true, true),
        ),
        (
            &[
                ("allow_sql_comments", "maybe"),
                ("load_balance_mode", "off"),
            ],
            (0, false, false),
        ),
    ] {
        assert_eq!(overridden(&mut router, settings), expected, "{settings:?}");
    }
    let mut other = self::router(r#"{"allow_sql_comments": true}"#);
    assert_eq!(overridden(&mut other, &[]), (0, true, false));
    let off = [("allow_sql_comments", "off")];
    assert_eq!(overridden(&mut other, &off), (1, false, false));
}

#[test]
fn a_class_that_nobody_has_is_as_configured() {
    let mut router = router("{}");
    let asked = read()
        .with_traits(Traits::LEADING_COMMENT)
        .with_session_class(99);
    assert_eq!(router.decide(&asked).route, P);
}
