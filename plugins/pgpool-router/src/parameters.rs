//! The configuration, with the names and defaults of Pgpool-II.

use pgsteer_plugin_sdk::config::{choice, number, switch};
use pgsteer_plugin_sdk::{
    config,
    json::{self, Json},
};

use crate::lists::{FunctionList, Patterns};
use crate::redirect::Redirects;
use crate::relationships::Relationships;

/// What the operator can set.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of Pgpool-II with its name"
)]
pub struct Parameters {
    /// Reads are balanced at all.
    pub load_balance_mode: bool,
    /// A node is drawn for every statement instead of once for the session.
    pub statement_level_load_balance: bool,
    /// What a write does to the reads after it.
    pub disable_load_balance_on_write: DisableOnWrite,
    /// The text of a statement is not looked at: a leading comment does not force the primary.
    pub allow_sql_comments: bool,
    /// White space in front of a statement is skipped before its text is looked at.
    pub ignore_leading_white_space: bool,
    /// If there are any: only these functions are no writes.
    pub read_only_function_list: FunctionList,
    /// These functions are writes.
    pub write_function_list: FunctionList,
    /// Texts that go to the primary.
    pub primary_routing_query_pattern_list: Patterns,
    /// Preferred nodes by user.
    pub user_redirect_preference_list: Redirects,
    /// Preferred nodes by database.
    pub database_redirect_preference_list: Redirects,
    /// Preferred nodes by application name.
    pub app_name_redirect_preference_list: Redirects,
    /// Relations that are written along with others.
    pub dml_adaptive_object_relationship_list: Relationships,
    /// How temporary relations are recognised.
    pub check_temp_table: CheckTempTable,
    /// Unlogged relations are read on the primary.
    pub check_unlogged_table: bool,
    /// Bytes a replica may be behind; 0 for any number.
    pub delay_threshold: u64,
    /// Milliseconds a replica may be behind; 0 for any number.
    pub delay_threshold_by_time: u64,
    /// A replica that is too far behind is replaced by the one that lags least, not by the primary.
    pub prefer_lower_delay_standby: bool,
    /// Whose writes a read must see.
    pub read_your_writes: ReadYourWrites,
    /// Whether the defects of Pgpool-II that only change where a read goes are wanted back.
    pub exact: bool,
}

/// How far a write keeps reads on the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisableOnWrite {
    /// Not at all.
    Off,
    /// To the end of its transaction.
    Transaction,
    /// Also in every later explicit transaction of the session.
    TransTransaction,
    /// To the end of the session.
    Always,
    /// To the end of its transaction, reads of what it wrote only.
    DmlAdaptive,
    /// The same, and reads of any session until a replica has replayed the write.
    DmlAdaptiveGlobal,
}

/// How temporary relations are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckTempTable {
    /// By the catalog and by the statements of the session.
    Catalog,
    /// By the statements of the session.
    Trace,
    /// Not at all.
    None,
}

/// Whose acknowledged writes a balanced read must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadYourWrites {
    /// Nobody's.
    Off,
    /// Those of its session, and those of the database before the session began.
    Session,
    /// Those of all sessions of the database.
    Global,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            load_balance_mode: true,
            statement_level_load_balance: false,
            disable_load_balance_on_write: DisableOnWrite::Transaction,
            allow_sql_comments: false,
            ignore_leading_white_space: true,
            read_only_function_list: FunctionList::default(),
            write_function_list: FunctionList::default(),
            primary_routing_query_pattern_list: Patterns::default(),
            user_redirect_preference_list: Redirects::default(),
            database_redirect_preference_list: Redirects::default(),
            app_name_redirect_preference_list: Redirects::default(),
            dml_adaptive_object_relationship_list: Relationships::default(),
            check_temp_table: CheckTempTable::Catalog,
            check_unlogged_table: true,
            delay_threshold: 0,
            delay_threshold_by_time: 0,
            prefer_lower_delay_standby: false,
            read_your_writes: ReadYourWrites::Session,
            exact: false,
        }
    }
}

impl Parameters {
    /// Reads a JSON object; what it does not set has its default.
    ///
    /// # Errors
    /// A sentence with the key, its value and what is allowed.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let mut parameters = Self::default();
        let fields = json::object(json)?;
        // First, because it decides how lists are read and which defaults others have.
        for (key, value) in fields.iter().filter(|(key, _)| key == "compatibility") {
            let words = [("safe", false), ("exact", true)];
            parameters.exact = choice(key, value, &words)?;
            if parameters.exact {
                parameters.read_your_writes = ReadYourWrites::Off;
            }
        }
        for (key, value) in &fields {
            parameters.set(key, value)?;
        }
        Ok(parameters)
    }

    fn set(&mut self, key: &str, value: &Json) -> Result<(), String> {
        let exact = self.exact;
        let redirects = |text: &str| Redirects::parse(text, exact);
        match key {
            "compatibility" => {}
            "load_balance_mode" => self.load_balance_mode = switch(key, value)?,
            "statement_level_load_balance" => {
                self.statement_level_load_balance = switch(key, value)?;
            }
            "disable_load_balance_on_write" => {
                self.disable_load_balance_on_write = choice(key, value, DISABLE_ON_WRITE)?;
            }
            "allow_sql_comments" => self.allow_sql_comments = switch(key, value)?,
            "ignore_leading_white_space" => self.ignore_leading_white_space = switch(key, value)?,
            "read_only_function_list" => {
                self.read_only_function_list = list(key, value, FunctionList::parse)?;
            }
            "write_function_list" => {
                self.write_function_list = list(key, value, FunctionList::parse)?;
            }
            "primary_routing_query_pattern_list" => {
                self.primary_routing_query_pattern_list = list(key, value, Patterns::parse)?;
            }
            "user_redirect_preference_list" => {
                self.user_redirect_preference_list = list(key, value, redirects)?;
            }
            "database_redirect_preference_list" => {
                self.database_redirect_preference_list = list(key, value, redirects)?;
            }
            "app_name_redirect_preference_list" => {
                self.app_name_redirect_preference_list = list(key, value, redirects)?;
            }
            "dml_adaptive_object_relationship_list" => {
                self.dml_adaptive_object_relationship_list =
                    list(key, value, Relationships::parse)?;
            }
            "check_temp_table" => self.check_temp_table = choice(key, value, CHECK_TEMP_TABLE)?,
            "check_unlogged_table" => self.check_unlogged_table = switch(key, value)?,
            "delay_threshold" => self.delay_threshold = number(key, value)?,
            "delay_threshold_by_time" => self.delay_threshold_by_time = number(key, value)?,
            "prefer_lower_delay_standby" => self.prefer_lower_delay_standby = switch(key, value)?,
            "read_your_writes" => self.read_your_writes = choice(key, value, READ_YOUR_WRITES)?,
            _ => return Err(config::unknown(key, value, &KEYS)),
        }
        Ok(())
    }
}

fn list<T>(
    key: &str,
    value: &Json,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, String> {
    let text = value
        .as_text()
        .ok_or_else(|| format!("{key} = {value}: must be a text, as in pgpool.conf"))?;
    read(text).map_err(|reason| format!("{key} = {value}: {reason}"))
}

const DISABLE_ON_WRITE: &[(&str, DisableOnWrite)] = &[
    ("off", DisableOnWrite::Off),
    ("transaction", DisableOnWrite::Transaction),
    ("trans_transaction", DisableOnWrite::TransTransaction),
    ("always", DisableOnWrite::Always),
    ("dml_adaptive", DisableOnWrite::DmlAdaptive),
    ("dml_adaptive_global", DisableOnWrite::DmlAdaptiveGlobal),
];

const CHECK_TEMP_TABLE: &[(&str, CheckTempTable)] = &[
    ("catalog", CheckTempTable::Catalog),
    ("trace", CheckTempTable::Trace),
    ("none", CheckTempTable::None),
];

const READ_YOUR_WRITES: &[(&str, ReadYourWrites)] = &[
    ("off", ReadYourWrites::Off),
    ("session", ReadYourWrites::Session),
    ("global", ReadYourWrites::Global),
];

/// All keys, in the order of the documentation.
pub const KEYS: [&str; 19] = [
    "load_balance_mode",
    "statement_level_load_balance",
    "disable_load_balance_on_write",
    "dml_adaptive_object_relationship_list",
    "read_your_writes",
    "delay_threshold",
    "delay_threshold_by_time",
    "prefer_lower_delay_standby",
    "allow_sql_comments",
    "ignore_leading_white_space",
    "read_only_function_list",
    "write_function_list",
    "primary_routing_query_pattern_list",
    "user_redirect_preference_list",
    "database_redirect_preference_list",
    "app_name_redirect_preference_list",
    "check_temp_table",
    "check_unlogged_table",
    "compatibility",
];
