//! Who has which tenant, and what sessions may say.

use pgsteer_plugin_sdk::testing::{self, statement};
use pgsteer_plugin_sdk::{
    Admission, Admitted, Class, Gatekeeper, Plugin, Reuse, Rewriter, Rewritten, Session, Statement,
    Traits,
};

use super::TenantIsolation;

fn plugin(json: &str) -> TenantIsolation {
    TenantIsolation::configure(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn admitted(json: &str, session: &Session) -> Result<Admission, String> {
    match plugin(json).admit(session) {
        Admitted::Admit(admission) => Ok(admission),
        Admitted::Refuse(rejection) => Err(rejection.sqlstate),
    }
}

/// What is said about a refused text.
fn refusal(json: &str, asked: Statement) -> Option<String> {
    let answer = plugin(json).rewrite(&asked);
    assert_eq!(answer.reuse, Reuse::Statement);
    match answer.rewritten {
        Rewritten::Keep => None,
        Rewritten::Reject(rejection) => {
            assert_eq!(rejection.sqlstate, "42501");
            Some(rejection.message)
        }
        other => panic!("{other:?}"),
    }
}

fn text(sql: &str) -> Statement {
    // Whatever the class: the text decides.
    statement(Class::Select).with_sql(sql)
}

#[test]
fn the_tenant_of_a_session() {
    let session = testing::session("t_acme_rw", "acme_db").with_application_name("web:acme");
    for (json, tenant) in [
        ("{}", Some("t_acme_rw")),
        (r#"{"prefix": "t_", "suffix": "_rw"}"#, Some("acme")),
        (r#"{"from": "database", "suffix": "_db"}"#, Some("acme")),
        (
            r#"{"from": "application_name", "prefix": "web:"}"#,
            Some("acme"),
        ),
        (r#"{"from": "application_name", "prefix": "cron:"}"#, None),
        (
            r#"{"prefix": "t_", "suffix": "_rw", "tenants": {"acme": "17"}}"#,
            Some("17"),
        ),
        (r#"{"tenants": {"acme": "17"}}"#, None),
        (r#"{"prefix": "t_acme_rw"}"#, None),
    ] {
        match (admitted(json, &session), tenant) {
            (Ok(admission), Some(tenant)) => {
                let expected = [("app.tenant".to_owned(), tenant.to_owned())];
                assert_eq!(admission.enforced, expected, "{json}");
                assert_eq!(admission.role, None, "{json}");
            }
            (Err(sqlstate), None) => assert_eq!(sqlstate, "42501", "{json}"),
            (got, expected) => panic!("{json}: {got:?}, not {expected:?}"),
        }
    }
}

#[test]
fn setting_and_role_have_the_names_they_are_given() {
    let json = r#"{"prefix": "t_", "setting": "My.Tenant", "role": "tenant_{tenant}"}"#;
    let admission = admitted(json, &testing::session("t_acme", "shop")).expect("a tenant");
    assert_eq!(admission.role.as_deref(), Some("tenant_acme"));
    assert_eq!(admission.enforced[0].0, "my.tenant");
}

#[test]
fn exempt_users_do_as_they_like() {
    let json = r#"{"prefix": "t_", "exempt_users": ["dba"]}"#;
    let session = testing::session("dba", "shop");
    assert_eq!(admitted(json, &session), Ok(Admission::default()));
    let class = plugin(json).classify(&session);
    assert_eq!(
        refusal(json, text("SET app.tenant = 'x'").with_session_class(class)),
        None
    );
    let class = plugin(json).classify(&testing::session("t_acme", "shop"));
    assert!(refusal(json, text("SET app.tenant = 'x'").with_session_class(class)).is_some());
}

#[test]
fn what_would_change_the_tenant_is_refused() {
    for sql in [
        "SET app.tenant = 'x'",
        "set /* now */ LOCAL App . Tenant to 'x'",
        "SET SESSION app.tenant TO DEFAULT",
        "SET \"app\".\"tenant\" = 'x'",
        "SET \"app.tenant\" = 'x'",
        "SET U&\"app\".tenant = 'x'",
        "SET app.U&\"tenant\" = 'x'",
        "RESET app.tenant",
        "SET ROLE admin",
        "SET LOCAL role = 'admin'",
        "SET SESSION ROLE admin",
        "RESET ROLE",
        "SET \"role\" = admin",
        "SET SESSION AUTHORIZATION admin",
        "SET LOCAL SESSION AUTHORIZATION admin",
        "SET session_authorization = admin",
        "RESET SESSION AUTHORIZATION",
        "SET standard_conforming_strings = off",
        "SELECT 1; SET app.tenant = 'x'",
        "SELECT set_config('app.tenant', 'x', false)",
        "SELECT pg_catalog.set_config('App.Tenant', 'x', true)",
        "SELECT \"set_config\"('role', 'admin', false)",
        "SELECT set_config($1, $2, false)",
        "SELECT set_config('app' || '.tenant', 'x', false)",
        "SELECT set_config('app.'\n'tenant', 'x', false)",
        "SELECT set_config(E'app\\x2etenant', 'x', false)",
        "SELECT set_config(setting_name => 'app.tenant', new_value => 'x', is_local => false)",
        "PREPARE p AS SELECT set_config('app.tenant', 'x', false)",
        "EXPLAIN ANALYZE SELECT set_config('app.tenant', 'x', false)",
        "CREATE VIEW v AS SELECT set_config('app.tenant', 'x', false)",
        "ALTER ROLE me SET app.tenant = 'x'",
        "DO $$ BEGIN NULL; END $$",
        "CALL p()",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION f() SET work_mem = '1MB'",
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON x FOR EACH ROW EXECUTE FUNCTION f()",
        "LOAD 'something'",
        "SELECT E'\u{3042}\\', set_config($$app.tenant$$, 'x', true), '",
    ] {
        assert!(refusal("{}", text(sql)).is_some(), "{sql}");
    }
    let computed = text("SELECT U&\"set\\005fconfig\"('x', 'y', false)");
    assert!(refusal("{}", computed.with_function(None, "set_config")).is_some());
    let update = statement(Class::Update).with_relation(None, "pg_settings", true);
    assert!(
        refusal(
            "{}",
            update.with_sql("UPDATE pg_settings SET setting = 'x'")
        )
        .is_some()
    );
}

#[test]
fn a_literal_in_two_lines_does_not_hide_a_statement() {
    for sql in [
        "SELECT E'a'\n'b\\' || '; SET app.tenant = $$evil$$; -- '",
        "SELECT E'a' -- '\n'\\', $$'; SET app.tenant = 'evil'; --$$",
        "SELECT set_config(U&'app.'\n'ten\\0061nt', 'x', false)",
    ] {
        assert!(refusal("{}", text(sql)).is_some(), "{sql}");
    }
    let literals = "SELECT E'a'\n'b\\'', '; SET app.tenant = $$evil$$; -- '";
    assert_eq!(
        refusal("{}", text(literals)),
        None,
        "there are only two literals"
    );
    let sql = "CALL refresh('app.' -- here\n'tenant')";
    assert!(refusal(r#"{"strict": false}"#, text(sql)).is_some());
}

#[test]
fn a_name_that_must_be_decoded_is_refused_beside_a_harmless_call() {
    for sql in [
        "SELECT set_config('a.b','x',false), U&\"set\\005fconfig\"('app.tenant','evil',false)",
        "SELECT 1 AS u&\"x\"",
    ] {
        let asked = text(sql).with_function(None, "set_config");
        assert!(refusal("{}", asked).is_some(), "{sql}");
    }
    assert_eq!(refusal("{}", text("SELECT U&'d\\0061ta'")), None);
}

#[test]
fn sql_given_as_text_to_a_function_is_refused() {
    for call in [
        "ts_stat('SELECT to_tsvector(set_config($$app.tenant$$, $$x$$, false))')",
        "pg_catalog.TS_STAT('SELECT 1')",
        "pg_catalog.\"query_to_xml\"($1, true, true, '')",
        "query_to_xmlschema('SELECT 1', true, true, '')",
        "query_to_xml_and_xmlschema('SELECT 1', true, true, '')",
        "cursor_to_xml('c', 1, true, true, '')",
        "cursor_to_xmlschema('c', true, true, '')",
        "ts_rewrite /* . */ ('a', 'SELECT 1')",
        "dblink('', 'SELECT 1')",
        "dblink_exec('', 'SELECT 1')",
        "crosstab('SELECT 1')",
    ] {
        for front in ["SELECT", "EXPLAIN ANALYZE SELECT", "PREPARE p AS SELECT"] {
            let sql = format!("{front} {call}");
            assert!(refusal("{}", text(&sql)).is_some(), "{sql}");
        }
    }
    let operator = "CREATE OPERATOR ### (FUNCTION = ts_stat, RIGHTARG = text)";
    assert!(refusal("{}", text(operator)).is_some());
    let found = text("SELECT 1").with_function(Some("pg_catalog"), "ts_stat");
    let said = refusal("{}", found).unwrap_or_default();
    assert!(said.starts_with("ts_stat, which runs SQL"), "{said}");
    for sql in [
        "SELECT table_to_xml('t', true, true, '')",
        "SELECT 'ts_stat(1)'",
    ] {
        assert_eq!(refusal("{}", text(sql)), None, "{sql}");
    }
}

#[test]
fn policies_and_views_of_settings_are_left_alone() {
    for sql in [
        "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE orders NO FORCE row /* */ level security",
        "CREATE POLICY all_of_it ON orders USING (true)",
        "ALTER POLICY tenant ON orders USING (true)",
        "DROP POLICY tenant ON orders",
        "CREATE TEMP VIEW v AS SELECT * FROM pg_settings",
        "CREATE VIEW v AS SELECT * FROM pg_catalog.\"pg_settings\"",
        "EXPLAIN ANALYZE UPDATE pg_settings SET setting = 'x' WHERE name = 'app.tenant'",
        "ALTER ROLE ALL SET app.tenant = 'x'",
        "ALTER DATABASE shop SET \"app.tenant\" = 'x'",
        "ALTER ROLE me IN DATABASE shop SET role = 'admin'",
    ] {
        assert!(refusal("{}", text(sql)).is_some(), "{sql}");
    }
    for sql in [
        "CREATE TABLE policy (id int)",
        "ALTER TABLE orders ADD COLUMN policy text",
        "DROP TABLE orders",
        "SELECT name FROM pg_settings",
        "ALTER ROLE me SET work_mem = '1MB'",
    ] {
        assert_eq!(refusal("{}", text(sql)), None, "{sql}");
    }
}

#[test]
fn what_leaves_it_alone_is_not() {
    for sql in [
        "SELECT 1",
        "SELECT 'SET app.tenant = 1' AS \"set role\"",
        "SELECT 1 -- ; SET app.tenant = 'x'",
        "SELECT current_setting('app.tenant')",
        "SHOW app.tenant",
        "SELECT E'\u{e9} \\n', '\u{e9}\\'",
        "SET work_mem = '64MB'",
        "SET app.theme = 'dark'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET TRANSACTION READ ONLY",
        "SET search_path TO role, public",
        "SELECT set_config('work_mem', '64MB', false)",
        "RESET work_mem",
        "RESET ALL",
        "DISCARD ALL",
        "UPDATE accounts SET role = 'admin' WHERE id = 1",
        "CREATE TABLE roles (role text)",
        "CREATE TABLE rule (id int)",
        "ALTER TABLE roles ADD COLUMN app text",
        "",
        ";",
    ] {
        assert_eq!(refusal("{}", text(sql)), None, "{sql}");
    }
    let read = text("SELECT * FROM pg_settings").with_relation(None, "pg_settings", false);
    assert_eq!(refusal("{}", read), None);
}

#[test]
fn without_strict_code_is_refused_if_it_mentions_the_tenant() {
    let json = r#"{"strict": false}"#;
    for (sql, is_refused) in [
        ("DO $$ BEGIN NULL; END $$", false),
        ("DO $$ BEGIN SET app.tenant = 'x'; END $$", true),
        (
            "DO $$ BEGIN PERFORM SET_CONFIG(n, 'x', false); END $$",
            true,
        ),
        ("DO $$ BEGIN SET LOCAL ROLE admin; END $$", true),
        ("CALL refresh('app.tenant')", true),
        ("CALL refresh()", false),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            false,
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET app.tenant = 'x' AS 'SELECT 1'",
            true,
        ),
        ("ALTER FUNCTION f() SET app . tenant = 'x'", true),
        ("ALTER FUNCTION f() SET work_mem = '1MB'", false),
    ] {
        assert_eq!(refusal(json, text(sql)).is_some(), is_refused, "{sql}");
    }
}

#[test]
fn a_setting_may_be_called_like_a_keyword() {
    let json = r#"{"setting": "session.tenant"}"#;
    assert!(refusal(json, text("SET session.tenant = 'x'")).is_some());
    assert!(refusal(json, text("SET SESSION session.tenant = 'x'")).is_some());
    assert_eq!(refusal(json, text("SET session.theme = 'x'")), None);
}

#[test]
fn what_cannot_be_looked_at_is_refused() {
    let (strict, lenient) = (r#"{"exempt_users": ["dba"]}"#, r#"{"strict": false}"#);
    let unknown = || statement(Class::Unknown).with_sql("SELECT 1");
    // A function call of the fast path has no text.
    let withheld = || statement(Class::Unknown).with_traits(Traits::TEXT_WITHHELD);
    let class = plugin(strict).classify(&testing::session("dba", "shop"));
    for (json, asked, is_refused) in [
        (strict, unknown(), true),
        (strict, withheld(), true),
        (strict, withheld().with_session_class(class), false),
        (lenient, unknown(), false),
        (lenient, withheld(), true),
    ] {
        let shown = format!("{json} {:?} {:?}", asked.traits, asked.session_class);
        assert_eq!(refusal(json, asked).is_some(), is_refused, "{shown}");
    }
}

#[test]
fn a_refusal_says_what_it_is_about() {
    let said = refusal("{}", text("SET LOCAL app.tenant = 'x'"));
    let expected = "SET app.tenant is not allowed in a session of a tenant";
    assert_eq!(said.as_deref(), Some(expected));
}

#[test]
fn configuration_errors_name_key_value_and_what_is_allowed() {
    for (json, words) in [
        (r#"{"from": "host"}"#, ["from", "host", "application_name"]),
        (r#"{"setting": "tenant"}"#, ["setting", "tenant", "dot"]),
        (
            r#"{"setting": "app.te nant"}"#,
            ["setting", "te nant", "dot"],
        ),
        (r#"{"tenants": {"a": 1}}"#, ["tenants", "1", "texts"]),
        (r#"{"tenant": "x"}"#, ["tenant", "x", "exempt_users"]),
    ] {
        let error = TenantIsolation::configure(json).err().unwrap_or_default();
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{json}: {error:?}"
        );
    }
}
