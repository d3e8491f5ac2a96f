//! What would take a session out of its tenant, as far as a text shows it.
//!
//! A text is looked at whatever kind of statement it is: a query can stand in PREPARE, EXPLAIN,
//! DECLARE, COPY or a view. What cannot be read (`U&"..."`, a setting whose name is computed) is refused.

use pgsteer_plugin_sdk::sql::{Token, tokens};
use pgsteer_plugin_sdk::{Class, Statement, Traits};

use crate::settings::Settings;

/// Decides how texts are read, so it must not change.
pub(crate) const STRINGS: &str = "standard_conforming_strings";

/// What is wrong with it, in words that continue as "... is not allowed".
pub(crate) fn found(settings: &Settings, statement: &Statement) -> Option<String> {
    if let Some(unseen) = unseen(settings, statement) {
        return Some(unseen.to_owned());
    }
    let is_written = |name: &str| {
        let mut relations = statement.relations.iter();
        relations.any(|relation| relation.written && relation.name == name)
    };
    // An update of this view is a SET.
    if is_written("pg_settings") || is_written("pg_db_role_setting") {
        return Some("changing settings through a catalog".to_owned());
    }
    let text: Vec<Token<'_>> = tokens(&statement.sql)
        .filter(|token| !matches!(token, Token::Comment(_)))
        .collect();
    if text.iter().any(is_ambiguous) {
        return Some("a backslash behind a character that is not ASCII".to_owned());
    }
    // It can be any name, and what is found out about one does not tell which of several it is.
    if text.iter().any(is_encoded_name) {
        return Some("a name that must be decoded first (U&\"...\")".to_owned());
    }
    let called = statement.functions.iter().map(|f| f.name.clone());
    let mut names = text.iter().filter_map(Token::as_name).chain(called);
    if let Some(name) = names.find(|name| runs_sql(name)) {
        return Some(format!("{name}, which runs SQL given as text,"));
    }
    let is_called = statement.functions.iter().any(|f| f.name == "set_config");
    if let Some(wrong) = set_config(settings, &text, is_called) {
        return Some(wrong);
    }
    let mut parts = text.split(|token| *token == Token::Symbol(';'));
    parts.find_map(|part| one(settings, part))
}

/// What cannot be looked at: a text that is too long, the fast path, which has none, and what the
/// proxy cannot read.
fn unseen(settings: &Settings, statement: &Statement) -> Option<&'static str> {
    if statement.traits.contains(Traits::TEXT_WITHHELD) {
        return Some("a text that is not there or too long to be looked at");
    }
    let is_unknown = statement.class == Class::Unknown;
    (is_unknown && settings.strict).then_some("a statement that the proxy cannot read")
}

/// Whether a setting is one that a session must leave alone.
fn is_protected(settings: &Settings, name: &str) -> bool {
    let others = ["role", "session_authorization", STRINGS];
    name.eq_ignore_ascii_case(&settings.setting)
        || others.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// In some encodings of clients (SJIS, BIG5, GBK and others) the backslash may belong to the character
/// in front of it; then the literal ends elsewhere.
fn is_ambiguous(token: &Token<'_>) -> bool {
    let Token::Escaped(text) = token else {
        return false;
    };
    let mut pairs = text.as_bytes().windows(2);
    pairs.any(|pair| matches!(pair, [first, b'\\'] if !first.is_ascii()))
}

fn is_encoded_name(token: &Token<'_>) -> bool {
    let Token::Escaped(text) = token else {
        return false;
    };
    text.starts_with("U&\"") || text.starts_with("u&\"")
}

/// Functions that run a text that they are given: of the server, and of extensions that come with it.
fn runs_sql(name: &str) -> bool {
    const NAMES: [&str; 5] = [
        "ts_stat",
        "ts_rewrite",
        "dblink",
        "connectby",
        "xpath_table",
    ];
    const BEGINNINGS: [&str; 4] = ["query_to_xml", "cursor_to_xml", "dblink_", "crosstab"];
    NAMES.contains(&name) || BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

/// DDL that changes what row-level security does.
fn changes_policies(rest: &[Token<'_>]) -> bool {
    let words = ["row", "level", "security"];
    let is_it = |three: &[Token<'_>]| three.iter().zip(words).all(|(t, word)| t.is_word(word));
    rest.first().is_some_and(|first| first.is_word("policy")) || rest.windows(3).any(is_it)
}

/// Whether a catalog is named whose update is a SET.
fn names_settings(text: &[Token<'_>]) -> bool {
    let mut names = text.iter().filter_map(Token::as_name);
    names.any(|name| matches!(name.as_str(), "pg_settings" | "pg_db_role_setting"))
}

/// Calls of `set_config`, wherever they stand: the name must be a plain literal, and another one.
fn set_config(settings: &Settings, text: &[Token<'_>], is_called: bool) -> Option<String> {
    let mut seen = false;
    for (at, token) in text.iter().enumerate() {
        let is_it = token.as_name().is_some_and(|name| name == "set_config");
        if !is_it {
            continue;
        }
        seen = true;
        let call = text.get(at + 1..at + 4).unwrap_or_default();
        match call {
            [Token::Symbol('('), Token::Text(name), Token::Symbol(',')] => {
                if is_protected(settings, name) {
                    return Some(format!("set_config('{name}', ...)"));
                }
            }
            _ => return Some("set_config with a name that is no plain literal".to_owned()),
        }
    }
    (is_called && !seen).then(|| "set_config by a name that is not spelt out".to_owned())
}

/// One statement of a text.
fn one(settings: &Settings, text: &[Token<'_>]) -> Option<String> {
    let [first, rest @ ..] = text else {
        return None;
    };
    if first.is_word("set") {
        return set(settings, rest);
    }
    if first.is_word("reset") {
        return reset(settings, rest);
    }
    let word = match first {
        Token::Word(word) => word.to_ascii_uppercase(),
        _ => return None,
    };
    let is_update = || rest.iter().any(|token| token.is_word("update"));
    match word.as_str() {
        "CREATE" | "ALTER" | "DROP" if changes_policies(rest) => {
            Some(format!("{word} of row-level security"))
        }
        // An update of such a view would be one of the catalog.
        "CREATE" | "ALTER" if names_settings(rest) => {
            Some(format!("{word} with a catalog of settings"))
        }
        // Also in PREPARE, EXPLAIN and COPY.
        _ if names_settings(rest) && is_update() => {
            Some("changing settings through a catalog".to_owned())
        }
        "DO" | "CALL" => code(settings, &word, rest),
        "CREATE" | "ALTER" if makes_code(rest) => code(settings, &format!("{word} of code"), rest),
        // Settings of a role or a database, among others.
        "ALTER" => mentions(settings, rest).then(|| format!("{word} with a protected setting")),
        "LOAD" => Some(word),
        _ => None,
    }
}

fn set(settings: &Settings, text: &[Token<'_>]) -> Option<String> {
    let scope = |token: &Token<'_>| token.is_word("session") || token.is_word("local");
    let text = match text {
        // SET SESSION AUTHORIZATION, SET SESSION CHARACTERISTICS.
        [first, second, ..] if first.is_word("session") && second.is_word("authorization") => {
            return Some("SET SESSION AUTHORIZATION".to_owned());
        }
        // SET SESSION.name would be a setting of that name.
        [first, rest @ ..] if scope(first) && rest.first() != Some(&Token::Symbol('.')) => rest,
        all => all,
    };
    // Once more behind the scope: SET LOCAL SESSION AUTHORIZATION.
    if let [first, second, ..] = text
        && first.is_word("session")
        && second.is_word("authorization")
    {
        return Some("SET SESSION AUTHORIZATION".to_owned());
    }
    protected_name(settings, "SET", text)
}

fn reset(settings: &Settings, text: &[Token<'_>]) -> Option<String> {
    if let [first, second, ..] = text
        && first.is_word("session")
        && second.is_word("authorization")
    {
        return Some("RESET SESSION AUTHORIZATION".to_owned());
    }
    // RESET ALL takes the tenant away until the next transaction; it does not give another.
    protected_name(settings, "RESET", text)
}

/// Whether what follows SET or RESET is a name that must stay, or cannot be read.
fn protected_name(settings: &Settings, word: &str, text: &[Token<'_>]) -> Option<String> {
    let mut name = String::new();
    for token in text {
        match token {
            Token::Symbol('.') => name.push('.'),
            Token::Word(_) | Token::Quoted(_) if name.is_empty() || name.ends_with('.') => {
                name.push_str(&token.as_name().unwrap_or_default());
            }
            Token::Escaped(_) if name.is_empty() || name.ends_with('.') => {
                return Some(format!("{word} of a name with escapes"));
            }
            _ => break,
        }
    }
    is_protected(settings, &name).then(|| format!("{word} {name}"))
}

/// CREATE or ALTER of something that holds code.
fn makes_code(text: &[Token<'_>]) -> bool {
    const KINDS: [&str; 7] = [
        "function",
        "procedure",
        "routine",
        "trigger",
        "rule",
        "aggregate",
        "extension",
    ];
    const IN_FRONT: [&str; 5] = ["or", "replace", "constraint", "event", "trusted"];
    let mut names = text.iter().filter_map(Token::as_name);
    let kind = names.find(|name| !IN_FRONT.contains(&name.as_str()));
    kind.is_some_and(|kind| KINDS.contains(&kind.as_str()))
}

fn code(settings: &Settings, what: &str, text: &[Token<'_>]) -> Option<String> {
    if settings.strict {
        return Some(what.to_owned());
    }
    mentions(settings, text).then(|| format!("{what} that mentions a protected setting"))
}

/// Whether a setting that must stay is spelt out somewhere in it, also inside of literals.
fn mentions(settings: &Settings, text: &[Token<'_>]) -> bool {
    let words = [
        "set_config",
        "session_authorization",
        "session authorization",
        STRINGS,
    ];
    let is_spelt = |part: &str| {
        let part = part.to_ascii_lowercase();
        let is_role = part.split_whitespace().collect::<Vec<_>>();
        let sets_role = is_role.windows(2).any(|pair| {
            matches!(pair, ["set" | "reset" | "local" | "session", role] if role.starts_with("role"))
        });
        part.contains(&settings.setting)
            || words.iter().any(|word| part.contains(word))
            || sets_role
    };
    // Names in several tokens: app . tenant.
    let joined: Vec<String> = text.iter().map(spelling).collect();
    is_spelt(&joined.concat()) || is_spelt(&joined.join(" "))
}

fn spelling(token: &Token<'_>) -> String {
    match token {
        // Also the parts of a literal in several lines, without what is in between.
        Token::Escaped(text) => {
            let parts: String = text.split('\'').skip(1).step_by(2).collect();
            format!("{text} {parts}")
        }
        Token::Word(text)
        | Token::Quoted(text)
        | Token::Text(text)
        | Token::Dollar(text)
        | Token::Number(text)
        | Token::Comment(text) => (*text).to_owned(),
        Token::Parameter(number) => format!("${number}"),
        Token::Symbol(symbol) => symbol.to_string(),
    }
}
