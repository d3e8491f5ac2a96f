//! Plugins that behave while they are tried out and misbehave for real sessions, each in one way.

use pgsteer_testkit::guest::{Guest, WIT};

/// A plugin and what is wrong with it.
pub(super) struct Hostile {
    pub(super) what: &'static str,
    pub(super) guest: Guest,
    /// The host notices. If not, it is a nuisance that has to be borne.
    pub(super) fails: bool,
}

impl Hostile {
    fn new(what: &'static str, guest: Guest) -> Self {
        Self {
            what,
            guest,
            fails: true,
        }
    }
}

/// All of them.
pub(super) fn all() -> Vec<Hostile> {
    let all = [
        deciding(),
        answering(),
        rewriting(),
        opening(),
        others(),
        flooding(),
    ];
    all.into_iter().flatten().collect()
}

/// One for each hook, and for each kind of failure.
pub(super) fn some() -> Vec<Hostile> {
    let chosen = [
        "loops in decide",
        "traps in decide",
        "grows its memory until that is refused",
        "answers with a wild pointer",
        "answers with a node that is not there",
        "loops in rewrite",
        "makes everything a CREATE TABLE",
        "loops in open",
        "traps in changed",
        "traps in observe",
        "loops in cabi_realloc",
        "writes to the log without end",
    ];
    let mut some = all();
    some.retain(|hostile| chosen.contains(&hostile.what));
    assert_eq!(some.len(), chosen.len(), "each is there");
    some
}

/// The number a session has if it is not one of those a plugin is tried out with.
const REAL: u32 = 77;
const LOOP: &str = "(loop br 0)";
const TRAP: &str = "unreachable";
const GROW: &str = "(loop i32.const 16 memory.grow i32.const -1 i32.ne br_if 0) unreachable";
const LOG: &str = r#"(import "pgsteer:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;
const METRICS: &str =
    r#"(import "pgsteer:plugin/metrics@0.1.0" "put" (func $count (param i32 f64)))"#;
const KV: &str = r#"
    (import "pgsteer:plugin/kv@0.1.0" "get" (func $get (param i32 i32 i32)))
    (import "pgsteer:plugin/kv@0.1.0" "put"
        (func $put (param i32 i32 i32 i32 i32 i64 i64 i32)))"#;
/// `describe` of a plugin that needs the text.
const NEEDS_TEXT: &str = "i32.const 88 i64.const 1 i64.store i32.const 64";

/// A guest with these hooks that may call whatever is granted.
fn only(hooks: &[&str]) -> Guest {
    let exports: String = hooks.iter().map(|h| format!("export {h}; ")).collect();
    let world = format!("world one {{ include host-api; export lifecycle; {exports} }}");
    Guest {
        wit: format!("{WIT}\n{world}\n"),
        world: "one".to_owned(),
        ..Guest::default()
    }
}

/// Does something for real sessions: those of trials have the number 0.
fn for_real_sessions(body: &str, result: u32) -> String {
    format!("local.get 0 i64.const 0 i64.ne (if (then {body})) i32.const {result}")
}

/// Does something for statements of real sessions.
fn for_real_statements(body: &str, result: u32) -> String {
    format!("local.get 3 i32.const {REAL} i32.eq (if (then {body})) i32.const {result}")
}

fn decide(body: &str) -> Guest {
    let class = format!("i32.const 192 i32.const {REAL} i32.store");
    Guest {
        open: for_real_sessions(&class, 192),
        decide: for_real_statements(body, 256),
        ..only(&["router"])
    }
}

fn rewrite(body: &str) -> Guest {
    let class = "local.get 0 i64.const 0 i64.ne (if (result i32) (then i32.const 77)
        (else i32.const 0))";
    Guest {
        open_rewriter: class.to_owned(),
        rewrite: for_real_statements(body, 512),
        ..only(&["rewriter"])
    }
}

/// Offers this text in the place of every other.
fn offer(text: &str) -> Guest {
    let length = text.len();
    let replace = format!(
        "i32.const 512 i32.const 1 i32.store8 i32.const 516 i32.const 1100 i32.store
         i32.const 520 i32.const {length} i32.store"
    );
    Guest {
        fields: format!(r#"(data (i32.const 1100) "{text}")"#),
        ..rewrite(&replace)
    }
}

fn deciding() -> Vec<Hostile> {
    // One call of `decide` more for each of its 16 parameters again.
    let again: String = (0..16).map(|n| format!("local.get {n} ")).collect();
    let tail = Guest {
        fields: "(func $again return_call $again)".to_owned(),
        ..decide("call $again")
    };
    let copy = "i32.const 224 memory.grow drop
        (loop i32.const 0 i32.const 0 i32.const 16777216 memory.copy br 0)";
    let realloc = |body: &str| Guest {
        describe: NEEDS_TEXT.to_owned(),
        fields: "(global $bad (mut i32) (i32.const 0))".to_owned(),
        realloc: format!(
            "global.get $bad (if (then {body})) {}",
            Guest::default().realloc
        ),
        ..decide("i32.const 1 global.set $bad")
    };
    vec![
        Hostile::new("loops in decide", decide(LOOP)),
        Hostile::new("calls itself as the last thing it does, without end", tail),
        Hostile::new("copies memory without end", decide(copy)),
        Hostile::new("traps in decide", decide(TRAP)),
        Hostile::new(
            "divides by zero",
            decide("i32.const 1 i32.const 0 i32.div_u drop"),
        ),
        Hostile::new(
            "reads what is not there",
            decide("i32.const -4 i32.load drop"),
        ),
        Hostile::new(
            "calls itself without end",
            decide(&format!("{again} call $decide drop")),
        ),
        Hostile::new("grows its memory until that is refused", decide(GROW)),
        Hostile::new("loops in cabi_realloc", realloc(LOOP)),
        Hostile::new("traps in cabi_realloc", realloc(TRAP)),
        Hostile::new(
            "has no memory for its parameters",
            realloc("i32.const -8 return"),
        ),
    ]
}

fn answering() -> Vec<Hostile> {
    let rejecting = "i32.const 256 i32.const 5 i32.store8";
    let invalid_text = format!(
        "{rejecting} i32.const 20 i32.const 0xff i32.store8
         i32.const 260 i32.const 20 i32.store i32.const 264 i32.const 1 i32.store"
    );
    let endless_text = format!("{rejecting} i32.const 264 i32.const -1 i32.store");
    let large_text = format!(
        "{rejecting} i32.const 264 i32.const 0 i32.store
         i32.const 268 i32.const 0 i32.store i32.const 272 i32.const 1048577 i32.store"
    );
    let node = "i32.const 256 i32.const 3 i32.store8 i32.const 260 i32.const 7 i32.store";
    vec![
        Hostile::new(
            "answers with a wild pointer",
            decide("i32.const 0x7ffffff0 return"),
        ),
        Hostile::new(
            "answers with a pointer that is not aligned",
            decide("i32.const 257 return"),
        ),
        Hostile::new(
            "answers with a route that does not exist",
            decide("i32.const 256 i32.const 17 i32.store8"),
        ),
        Hostile::new(
            "answers with a reuse that does not exist",
            decide("i32.const 288 i32.const 9 i32.store8"),
        ),
        Hostile::new("answers what is not UTF-8", decide(&invalid_text)),
        Hostile::new("answers with a text of 4 GiB", decide(&endless_text)),
        Hostile::new("answers with more than it may", decide(&large_text)),
        Hostile::new("answers with a node that is not there", decide(node)),
        Hostile::new(
            "answers with too many keys",
            decide("i32.const 316 i32.const 17 i32.store"),
        ),
        Hostile::new(
            "wants statements to wait too long",
            decide("i32.const 352 i32.const 10001 i32.store"),
        ),
    ]
}

fn rewriting() -> Vec<Hostile> {
    let large = "i32.const 512 i32.const 1 i32.store8 i32.const 516 i32.const 0 i32.store
        i32.const 520 i32.const 1048577 i32.store";
    vec![
        Hostile::new("loops in rewrite", rewrite(LOOP)),
        Hostile::new("traps in rewrite", rewrite(TRAP)),
        Hostile::new("offers more than it may", rewrite(large)),
        Hostile::new(
            "answers with a rewriting that does not exist",
            rewrite("i32.const 512 i32.const 3 i32.store8"),
        ),
        Hostile::new(
            "makes everything a CREATE TABLE",
            offer("CREATE TABLE must_not_be (id int)"),
        ),
        Hostile::new("makes two statements of one", offer("SELECT 1; SELECT 2")),
        Hostile::new("ends transactions", offer("COMMIT")),
        Hostile::new("offers what is not SQL", offer("SELECT FROM WHERE (")),
        Hostile::new("invents a parameter", offer("SELECT $9")),
    ]
}

fn opening() -> Vec<Hostile> {
    let candidate = |node: u32, weight: &str| {
        format!(
            "i32.const 196 i32.const 320 i32.store i32.const 200 i32.const 1 i32.store
             i32.const 320 i32.const {node} i32.store
             i32.const 328 f64.const {weight} f64.store"
        )
    };
    let open = |body: &str| Guest {
        open: for_real_sessions(body, 192),
        ..only(&["router"])
    };
    let open_rewriter = |body: &str| Guest {
        open_rewriter: for_real_sessions(body, 0),
        ..only(&["rewriter"])
    };
    let admit = |body: &str| Guest {
        admit: for_real_sessions(body, 576),
        ..only(&["session"])
    };
    let parameters = "i32.const 604 i32.const 4096 i32.store i32.const 608 i32.const 65 i32.store";
    vec![
        Hostile::new("loops in open", open(LOOP)),
        Hostile::new("traps in open", open(TRAP)),
        Hostile::new("names a node that is not there", open(&candidate(9, "1"))),
        Hostile::new("weighs a node with nan", open(&candidate(0, "nan"))),
        Hostile::new("loops in open of the rewriter", open_rewriter(LOOP)),
        Hostile::new("loops in admit", admit(LOOP)),
        Hostile::new("traps in admit", admit(TRAP)),
        Hostile::new(
            "answers with an admission that does not exist",
            admit("i32.const 576 i32.const 2 i32.store8"),
        ),
        Hostile::new("sets too many parameters", admit(parameters)),
    ]
}

/// Hooks that clients do not wait for.
fn others() -> Vec<Hostile> {
    // While it is tried out it is told that 7 were left out.
    let observe = |body: &str| Guest {
        observe: format!("local.get 2 i64.const 7 i64.ne (if (then {body}))"),
        ..only(&["observer"])
    };
    // What is written while it is tried out is thrown away, so what is there was written by a real
    // decision. The names of the keys are what is at 16, as long as this.
    let changed = |body: &str, key_length: u32| {
        let key = format!("i32.const 16 i32.const {key_length}");
        let put = format!(
            "{key} i32.const 32 i32.const 1 i32.const 0 i64.const 0 i64.const 0 i32.const 2048
             call $put unreachable"
        );
        Guest {
            imports: KV.to_owned(),
            changed: format!(
                "{key} i32.const 2048 call $get i32.const 2048 i32.load8_u (if (then {body}))"
            ),
            wit: only(&["router", "topology-listener"]).wit,
            ..decide(&put)
        }
    };
    let explain = Guest {
        explain: "local.get 0 i32.const 5 i32.eq (if (then unreachable)) i32.const 384".to_owned(),
        ..decide("i32.const 320 i32.const 5 i32.store")
    };
    let command = |body: &str| Guest {
        command: format!("local.get 1 i32.const 3 i32.eq (if (then {body})) i32.const 640"),
        ..only(&["operator"])
    };
    vec![
        Hostile::new("loops in observe", observe(LOOP)),
        Hostile::new("traps in observe", observe(TRAP)),
        Hostile::new("loops in changed", changed(LOOP, 7)),
        Hostile::new("traps in changed", changed(TRAP, 6)),
        Hostile::new("traps in explain", explain),
        Hostile::new("loops in command", command(LOOP)),
        Hostile::new("traps in command", command(TRAP)),
    ]
}

/// The interface has no resources, so there are no handles to pile up.
fn flooding() -> Vec<Hostile> {
    let flood = |imports: &str, body: &str| Guest {
        imports: imports.to_owned(),
        ..decide(body)
    };
    let write = "i32.const 2 i32.const 16 i32.const 7 call $log";
    let long = "i32.const 2 i32.const 0 i32.const 1048577 call $log";
    let count = "i32.const 0 f64.const 1 call $count i32.const 4711 f64.const nan call $count";
    let endless = |body: &str| format!("(loop {body} br 0)");
    let next = "local.get $n i32.const 1 i32.add local.tee $n";
    // Keys of two characters, of which there are more than the store takes.
    let put = format!(
        "i32.const 1024
         local.get $n i32.const 0x7f i32.and
         local.get $n i32.const 0x3f80 i32.and i32.const 1 i32.shl i32.or i32.store16
         i32.const 1024 i32.const 2 i32.const 32 i32.const 1 i32.const 0 i64.const 0 i64.const 0
         i32.const 2048 call $put {next} drop"
    );
    let counting = |mut guest: Guest| {
        guest.decide = format!("(local $n i32) {}", guest.decide);
        guest
    };
    let lines = format!("(loop {write} {next} i32.const 20 i32.lt_u br_if 0)");
    vec![
        Hostile {
            fails: false,
            ..Hostile::new(
                "writes twenty lines for each statement",
                counting(flood(LOG, &lines)),
            )
        },
        Hostile::new("writes to the log without end", flood(LOG, &endless(write))),
        Hostile::new("writes long lines without end", flood(LOG, &endless(long))),
        Hostile::new(
            "fills its store without end",
            counting(flood(KV, &endless(&put))),
        ),
        Hostile::new("counts without end", flood(METRICS, &endless(count))),
    ]
}
