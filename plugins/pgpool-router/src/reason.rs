//! Why a statement goes where it goes: one number for each rule, and the rule in words.

macro_rules! reasons {
    ($($name:ident = $text:literal,)+) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason {
            $($name,)+
        }

        impl Reason {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $text),)+];
        }
    };
}

reasons! {
    NotARead = "this kind of statement goes to the primary",
    SessionState = "every node the session uses must know it",
    SeveralStatements = "a string of several statements goes to the primary",
    LoadBalanceMode = "load_balance_mode is off",
    Writes = "it writes, locks or takes part in a WITH list that does",
    LeadingText = "its text does not begin like a read (allow_sql_comments, ignore_leading_white_space)",
    WritingFlag = "an earlier statement wrote (disable_load_balance_on_write)",
    Isolation = "the isolation level of the transaction needs one node",
    Catalog = "it reads a system catalog",
    Temporary = "it names a temporary relation (check_temp_table)",
    Unlogged = "it names an unlogged relation (check_unlogged_table)",
    UnknownRelation = "the catalog facts about a relation are missing",
    ThroughView = "a view in it reads something that needs the primary",
    Pattern = "its text matches primary_routing_query_pattern_list",
    NotReadOnlyFunction = "it calls a function that is not in read_only_function_list",
    WriteFunction = "it calls a function of write_function_list",
    VolatileFunction = "it calls a volatile function",
    UnknownFunction = "it calls a function about which nothing is known",
    WrittenRelation = "this transaction wrote a relation it names (dml_adaptive)",
    Balanced = "a read: balanced",
}

impl Reason {
    /// The number that goes into the answer.
    pub(crate) fn code(self) -> u32 {
        let position = Self::ALL.iter().position(|(reason, _)| *reason == self);
        position
            .and_then(|p| u32::try_from(p).ok())
            .unwrap_or(u32::MAX)
    }

    /// The rule in words.
    pub(crate) fn text(code: u32) -> &'static str {
        let index = usize::try_from(code).unwrap_or(usize::MAX);
        Self::ALL.get(index).map_or("", |(_, text)| text)
    }
}
