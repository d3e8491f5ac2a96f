//! Prepared statements that sessions share: equal ones have one name on the servers, whatever their
//! clients call them, so that a server that knows one knows it for all.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::rc::Rc;

use bytes::BytesMut;
use pgsteer_wire::frontend::tag;
use pgsteer_wire::{FrameError, HEADER_LEN, encode, frame};

use crate::journal::Settings;
use crate::transaction::Transaction;

/// What a text was parsed under, as far as it matters to what it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Context {
    /// Stands for parameters.
    pub(crate) parameters: u64,
    /// Version of what is known of the schema.
    pub(crate) schema: u64,
}

/// Parameters that PostgreSQL looks at while it parses, for literals, names and types. It notices by
/// itself when the search path or the user is another one later, but not what that does to a client
/// that has a description of the rows.
const LOOKED_AT: [&str; 16] = [
    "search_path",
    "role",
    "session_authorization",
    "datestyle",
    "intervalstyle",
    "timezone",
    "client_encoding",
    "standard_conforming_strings",
    "backslash_quote",
    "escape_string_warning",
    "transform_null_equals",
    "array_nulls",
    "lc_monetary",
    "lc_numeric",
    "xmloption",
    "default_text_search_config",
];

/// A number for the parameters a session parses under; worked out anew only when it set one.
#[derive(Debug, Default)]
pub(crate) struct ParseParameters {
    books: (u64, u64, usize),
    number: u64,
}

impl ParseParameters {
    /// The number.
    pub(crate) fn number(
        &mut self,
        hasher: &impl BuildHasher,
        settings: &Settings,
        transaction: &Transaction,
    ) -> u64 {
        let books = transaction.books_stand(settings);
        if books != self.books {
            self.books = books;
            let set = |name: &&'static str| {
                let text = transaction.last_set(settings, name)?;
                Some((*name, text))
            };
            let mut all = LOOKED_AT.iter().filter_map(set).peekable();
            self.number = 0;
            if all.peek().is_some() {
                let mut state = hasher.build_hasher();
                all.for_each(|set| set.hash(&mut state));
                self.number = state.finish();
            }
        }
        self.number
    }
}

/// A statement as servers are sent it.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) name: Rc<[u8]>,
    /// The Parse.
    pub(crate) frame: Rc<[u8]>,
}

/// Bytes of statements that are kept although no session has them; ours.
const UNUSED_BYTES_MAX: usize = 16 << 20;

/// All that are shared in a worker.
///
/// Keys are 128-bit hashes under seeds of this process, so nobody can make two texts collide.
#[derive(Debug, Default)]
pub(crate) struct StatementBook {
    known: HashMap<(u64, u64), Rc<Shared>, foldhash::fast::RandomState>,
    bytes: usize,
    seeds: [foldhash::quality::RandomState; 2],
}

/// Begins the names of shared statements on servers.
pub(crate) const NAME_PREFIX: &str = "pgsteer_";

impl StatementBook {
    /// The shared form of a Parse; `next` gives the number of a new one.
    pub(crate) fn shared(
        &mut self,
        parse: &[u8],
        context: Context,
        next: impl FnOnce() -> u64,
    ) -> Result<Rc<Shared>, FrameError> {
        let body = parse.get(HEADER_LEN..).unwrap_or_default();
        let (_, rest) = frame::cstr(body).ok_or(FrameError::Truncated('P'))?;
        let hash = |seed: &foldhash::quality::RandomState| {
            let mut hasher = seed.build_hasher();
            context.hash(&mut hasher);
            hasher.write(rest);
            hasher.finish()
        };
        let [a, b] = &self.seeds;
        let key = (hash(a), hash(b));
        if let Some(known) = self.known.get(&key) {
            return Ok(Rc::clone(known));
        }
        let id = next();
        let name = format!("{NAME_PREFIX}{id:x}").into_bytes();
        let mut frame = BytesMut::with_capacity(parse.len() + name.len());
        let mut body = BytesMut::with_capacity(parse.len() + name.len());
        body.extend_from_slice(&name);
        body.extend_from_slice(b"\0");
        body.extend_from_slice(rest);
        encode::frame(&mut frame, tag::PARSE, &body);
        let shared = Rc::new(Shared {
            id,
            name: name.into(),
            frame: frame.as_ref().into(),
        });
        self.bytes += shared.frame.len();
        if self.bytes > UNUSED_BYTES_MAX {
            self.known
                .retain(|_, known| Rc::strong_count(&known.frame) > 1);
            self.bytes = self.known.values().map(|known| known.frame.len()).sum();
        }
        self.known.insert(key, Rc::clone(&shared));
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Vec<u8> {
        let mut frame = BytesMut::new();
        let body = [name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"].concat();
        encode::frame(&mut frame, tag::PARSE, &body);
        frame.to_vec()
    }

    #[test]
    fn equal_statements_have_one_name() {
        let mut book = StatementBook::default();
        let context = Context::default();
        let mut numbers = 0..;
        let mut shared = |name: &str, text: &str, context| {
            let next = || numbers.next().expect("endless");
            let shared = book.shared(&parse(name, text), context, next);
            shared.expect("a Parse").id
        };
        let first = shared("a", "SELECT 1", context);
        assert_eq!(first, shared("b", "SELECT 1", context));
        assert_ne!(first, shared("a", "SELECT 2", context));
        let other = Context {
            parameters: 1,
            ..context
        };
        assert_ne!(first, shared("a", "SELECT 1", other));
        let shared = book.shared(&parse("x", "SELECT 1"), context, || 9);
        let shared = shared.expect("a Parse");
        assert_eq!(*shared.name, *b"pgsteer_0");
        assert_eq!(*shared.frame, *parse("pgsteer_0", "SELECT 1"));
        assert!(book.shared(b"P\0\0\0\x04", context, || 9).is_err());
    }

    #[test]
    fn only_what_matters_to_parsing_makes_another_number() {
        let hasher = foldhash::quality::RandomState::default();
        let mut parameters = ParseParameters::default();
        let mut settings = Settings::default();
        let mut number =
            |settings: &Settings| parameters.number(&hasher, settings, &Transaction::None);
        assert_eq!(number(&settings), 0);
        settings.set("statement_timeout", "SET statement_timeout = 1");
        assert_eq!(number(&settings), 0);
        settings.set("datestyle", "SET datestyle = german");
        let german = number(&settings);
        assert_ne!(german, 0);
        settings.set("datestyle", "RESET \"datestyle\"");
        assert_ne!(number(&settings), german);
    }
}
