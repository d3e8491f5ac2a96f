//! The configuration.

use pgsteer_plugin_sdk::config::{self, switch, text};
use pgsteer_plugin_sdk::json::{self, Json};
use pgsteer_plugin_sdk::{Class, Needs, Session, Statement};

use crate::orders;
use crate::rule::{Action, Conditions, Name, Rate, Rule, Target};

/// What the operator can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Nothing is refused or rerouted; the log says what would be.
    pub(crate) log_only: bool,
    /// The first that fits counts.
    pub(crate) rules: Vec<Rule>,
}

impl Settings {
    /// Reads a JSON object; what it does not set has its default.
    pub(crate) fn from_json(json: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for (key, value) in json::object(json)? {
            match (key.as_str(), &value) {
                ("log_only", value) => settings.log_only = switch(&key, value)?,
                ("rules", Json::List(rules)) => {
                    let numbered = rules.iter().enumerate();
                    let read = numbered.map(|(index, value)| {
                        rule(value).map_err(|error| format!("rule {}: {error}", index + 1))
                    });
                    settings.rules = read.collect::<Result<_, _>>()?;
                }
                ("rules", value) => return Err(config::wrong(&key, value, "must be a list")),
                _ => return Err(config::unknown(&key, &value, &KEYS)),
            }
        }
        let sessions = settings.about_sessions().count();
        if sessions > CLASS_BITS {
            return Err(format!(
                "rules: {sessions} of them are about user or application_name; allowed are {CLASS_BITS}"
            ));
        }
        Ok(settings)
    }

    /// What the conditions are about.
    pub(crate) fn needs(&self) -> Needs {
        let any = |asks: fn(&Conditions) -> bool| self.rules.iter().any(|r| asks(&r.conditions));
        let mut needs = Needs::none();
        if any(|c| c.begins.is_some() || c.contains.is_some()) {
            needs = needs.sql();
        }
        if any(|c| c.relation.is_some()) {
            needs = needs.relations();
        }
        if any(|c| c.function.is_some()) {
            needs = needs.functions();
        }
        needs
    }

    /// A bit for each rule that is about sessions, set if it is about this one.
    pub(crate) fn class(&self, session: &Session) -> u32 {
        let mut class = 0;
        for (bit, (_, rule)) in self.about_sessions().enumerate() {
            let asked = &rule.conditions;
            let is_user = asked.user.as_ref().is_none_or(|u| *u == session.user);
            let application = asked.application_name.as_ref();
            let is_application = application.is_none_or(|a| *a == session.application_name);
            class |= u32::from(is_user && is_application) << bit;
        }
        class
    }

    /// The first rule that fits.
    pub(crate) fn matching(&self, statement: &Statement) -> Option<usize> {
        let mut bit = 0;
        self.rules.iter().position(|rule| {
            let mut is_session = true;
            if rule.conditions.has_session() {
                is_session = statement.session_class >> bit & 1 == 1;
                bit += 1;
            }
            is_session && rule.conditions.fit(statement)
        })
    }

    fn about_sessions(&self) -> impl Iterator<Item = (usize, &Rule)> {
        let rules = self.rules.iter().enumerate();
        rules.filter(|(_, rule)| rule.conditions.has_session())
    }
}

fn rule(value: &Json) -> Result<Rule, String> {
    let Json::Object(fields) = value else {
        return Err(format!("must be a table, got {value}"));
    };
    let mut conditions = Conditions::default();
    let (mut word, mut because) = (None, String::new());
    let (mut rate, mut target) = (None, None);
    for (key, value) in fields {
        match key.as_str() {
            "fingerprint" => conditions.fingerprint = Some(fingerprint(key, value)?),
            "class" => conditions.class = Some(class(key, value)?),
            "relation" => conditions.relation = Some(Name::parse(text(key, value)?)),
            "function" => conditions.function = Some(Name::parse(text(key, value)?)),
            "user" => conditions.user = Some(text(key, value)?.to_owned()),
            "application_name" => conditions.application_name = Some(text(key, value)?.to_owned()),
            "begins" => conditions.begins = Some(text(key, value)?.to_lowercase()),
            "contains" => conditions.contains = Some(text(key, value)?.to_lowercase()),
            "action" => word = Some(text(key, value)?),
            "to" => {
                let words: Vec<&str> = text(key, value)?.split_whitespace().collect();
                (rate, target) = (
                    words.first().and_then(|w| Rate::parse(w)),
                    Target::parse(&words),
                );
                if rate.is_none() && target.is_none() {
                    return Err(config::wrong(key, value, TO));
                }
            }
            "because" => text(key, value)?.clone_into(&mut because),
            _ => return Err(config::unknown(key, value, &RULE_KEYS)),
        }
    }
    if conditions == Conditions::default() {
        return Err("it has no condition and would be about everything".to_owned());
    }
    let action = match (word, rate, target) {
        (Some("block"), None, None) => Action::Block,
        (Some("throttle"), Some(rate), None) => Action::Throttle(rate),
        (Some("reroute"), None, Some(target)) => Action::Reroute(target),
        _ => return Err(ACTIONS.to_owned()),
    };
    Ok(Rule {
        conditions,
        action,
        because,
    })
}

fn fingerprint(key: &str, value: &Json) -> Result<u64, String> {
    let digits = match value {
        Json::Number(digits) | Json::Text(digits) => orders::fingerprint(digits),
        _ => None,
    };
    digits.ok_or_else(|| config::wrong(key, value, "must be a fingerprint"))
}

fn class(key: &str, value: &Json) -> Result<Class, String> {
    config::choice(key, value, &CLASSES)
}

const CLASSES: [(&str, Class); 13] = [
    ("select", Class::Select),
    ("insert", Class::Insert),
    ("update", Class::Update),
    ("delete", Class::Delete),
    ("merge", Class::Merge),
    ("schema", Class::Schema),
    ("copy", Class::Copy),
    ("utility", Class::Utility),
    ("call", Class::Call),
    ("explain", Class::Explain),
    ("cursor", Class::Cursor),
    ("listen", Class::Listen),
    ("lock", Class::Lock),
];

const ACTIONS: &str = "action must be \"block\", \"throttle\" with to = \"5/s\" or \"90/min\", or \
                       \"reroute\" with to = \"primary\", \"replicas\" or \"node 2\"";

const TO: &str = "allowed are a rate such as \"5/s\" or \"90/min\", and \"primary\", \"replicas\" \
                  and \"node NUMBER\"";

/// All keys, in the order of the documentation.
pub(crate) const KEYS: [&str; 2] = ["log_only", "rules"];

const RULE_KEYS: [&str; 11] = [
    "fingerprint",
    "class",
    "relation",
    "function",
    "user",
    "application_name",
    "begins",
    "contains",
    "action",
    "to",
    "because",
];

/// The class of a session is a number of 32 bits.
const CLASS_BITS: usize = 32;
