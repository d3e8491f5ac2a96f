//! `[[failover]]` in a file of cases: what happens to which node when, and the answers expected.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::Standing;
use pgsteer_core::{NodeId, Role};
use serde::Deserialize;

/// One scenario, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// As they are before the first step.
    pub(crate) nodes: Vec<Change>,
    /// Configuration of the plugin as JSON, if not the one beside it.
    pub(crate) config: Option<String>,
    /// In the order of their time.
    pub(crate) steps: Vec<Step>,
}

/// Something happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) at_ms: u64,
    pub(crate) changes: Vec<(NodeId, Change)>,
    /// Answers that the proxy does not follow until the next step, and those that it follows in vain.
    pub(crate) refuses: Vec<String>,
    pub(crate) fails: Vec<String>,
    /// Answers until the next step; equal ones in a row are one.
    pub(crate) expected: Vec<String>,
}

/// What is said about a node; the rest is as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Change {
    pub(crate) role: Option<Role>,
    pub(crate) up: Option<bool>,
    pub(crate) flag: Option<NodeFlag>,
    pub(crate) standing: Option<Standing>,
    pub(crate) system: Option<u64>,
    pub(crate) timeline: Option<u32>,
    pub(crate) replayed: Option<u64>,
    pub(crate) received: Option<u64>,
    pub(crate) follows: Option<NodeId>,
    pub(crate) sync: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawScenario {
    name: Option<String>,
    nodes: Option<Vec<RawNode>>,
    config: Option<toml::Table>,
    #[serde(default)]
    step: Vec<RawStep>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    at: String,
    #[serde(default)]
    node: BTreeMap<String, RawChange>,
    refuse: Option<OneOrMore>,
    fail: Option<OneOrMore>,
    expect: Option<OneOrMore>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawNode {
    Role(String),
    Described(RawChange),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChange {
    role: Option<String>,
    up: Option<bool>,
    flag: Option<String>,
    standing: Option<String>,
    system: Option<u64>,
    timeline: Option<u32>,
    replayed: Option<Position>,
    received: Option<Position>,
    follows: Option<u16>,
    sync: Option<String>,
}

/// `0/3000060`, or a number of bytes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Position {
    Bytes(u64),
    Text(String),
}

impl Scenario {
    /// Checks one; `number` names it if it has no name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn checked(raw: RawScenario, number: usize) -> Result<Self> {
        let name = raw.name.clone();
        let name = name.unwrap_or_else(|| format!("failover {number}"));
        let about = format!("failover \"{name}\"");
        Self::named(name, raw).context(about)
    }

    fn named(name: String, raw: RawScenario) -> Result<Self> {
        let usual = || ["primary", "replica", "replica"].map(|role| RawNode::Role(role.to_owned()));
        let nodes = raw.nodes.unwrap_or_else(|| usual().into()).into_iter();
        let nodes = nodes.map(|node| match node {
            RawNode::Role(role) => change(RawChange {
                role: Some(role),
                ..RawChange::default()
            }),
            RawNode::Described(described) => change(described),
        });
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        if !(1..=NODES_MAX).contains(&nodes.len()) {
            bail!("nodes: there must be 1 to {NODES_MAX}");
        }
        let steps = raw.step.into_iter().map(|raw| step(raw, nodes.len()));
        let steps = steps.collect::<Result<Vec<_>>>()?;
        if steps.is_empty() {
            bail!("there is no [[failover.step]] in it");
        }
        if !steps.is_sorted_by_key(|step| step.at_ms) {
            bail!("its steps are not in the order of their times");
        }
        let config = raw.config.as_ref().map(serde_json::to_string).transpose()?;
        Ok(Self {
            name,
            nodes,
            config,
            steps,
        })
    }
}

fn step(raw: RawStep, nodes: usize) -> Result<Step> {
    let at_ms = milliseconds(&raw.at);
    let at_ms = at_ms.with_context(|| format!("at = \"{}\": write \"500ms\", \"10s\"", raw.at))?;
    let about = || format!("step at {}", raw.at);
    let expect = raw
        .expect
        .with_context(|| format!("{}: it expects nothing: add expect", about()))?;
    let changes = raw
        .node
        .into_iter()
        .map(|(key, described)| -> Result<(NodeId, Change)> {
            let id = key
                .parse::<u16>()
                .ok()
                .filter(|id| usize::from(*id) < nodes);
            let id = id.with_context(|| format!("node.{key}: there is no such node"))?;
            Ok((NodeId(id), change(described)?))
        });
    let changes = changes.collect::<Result<Vec<_>>>().with_context(about)?;
    let answers = |given: Option<OneOrMore>| -> Result<Vec<String>> {
        let given = match given {
            None => Vec::new(),
            Some(OneOrMore::One(answer)) => vec![answer],
            Some(OneOrMore::More(answers)) => answers,
        };
        if let Some(answer) = given.iter().find(|answer| !is_answer(answer, nodes)) {
            bail!("{}: \"{answer}\" is no answer; {ANSWERS}", about());
        }
        Ok(given)
    };
    let mut expected = answers(Some(expect))?;
    expected.retain(|answer| answer != NOTHING);
    Ok(Step {
        at_ms,
        changes,
        refuses: answers(raw.refuse)?,
        fails: answers(raw.fail)?,
        expected,
    })
}

fn is_answer(text: &str, nodes: usize) -> bool {
    let about_node = ["promote ", "follow ", "detach ", "reattach "];
    let id = about_node.iter().find_map(|verb| text.strip_prefix(verb));
    let is_node = id.is_some_and(|id| {
        let number = id.parse::<usize>().ok().filter(|n| n.to_string() == id);
        number.is_some_and(|number| number < nodes)
    });
    is_node
        || matches!(text, "wait" | "abstain" | "give up" | NOTHING)
        || text.starts_with("give up: ")
}

fn change(raw: RawChange) -> Result<Change> {
    let role = raw.role.as_deref().map(|role| match role {
        "primary" => Ok(Role::Primary),
        "replica" => Ok(Role::Replica),
        "unknown" => Ok(Role::Unknown),
        other => bail!("role = \"{other}\" is none; write \"primary\", \"replica\" or \"unknown\""),
    });
    let flag = raw.flag.as_deref().map(|flag| match flag {
        "ALLOW_TO_FAILOVER" => Ok(NodeFlag::AllowToFailover),
        "DISALLOW_TO_FAILOVER" => Ok(NodeFlag::DisallowToFailover),
        "ALWAYS_PRIMARY" => Ok(NodeFlag::AlwaysPrimary),
        other => bail!("flag = \"{other}\" is none; they are written as nodes[].flag is"),
    });
    let standings = [
        Standing::InService,
        Standing::Detached,
        Standing::Closing,
        Standing::Fenced,
    ];
    let standing = raw.standing.as_deref().map(|name| {
        let found = standings
            .into_iter()
            .find(|standing| standing.name() == name);
        found.with_context(|| {
            format!(
                "standing = \"{name}\" is none; write \"in service\", \"detached\" or \"fenced\""
            )
        })
    });
    Ok(Change {
        role: role.transpose()?,
        up: raw.up,
        flag: flag.transpose()?,
        standing: standing.transpose()?,
        system: raw.system,
        timeline: raw.timeline,
        replayed: raw.replayed.map(position).transpose()?,
        received: raw.received.map(position).transpose()?,
        follows: raw.follows.map(NodeId),
        sync: raw.sync,
    })
}

fn position(given: Position) -> Result<u64> {
    let text = match given {
        Position::Bytes(bytes) => return Ok(bytes),
        Position::Text(text) => text,
    };
    let halves = text.split_once('/').and_then(|(high, low)| {
        let half = |digits| u32::from_str_radix(digits, 16).ok();
        Some(u64::from(half(high)?) << 32 | u64::from(half(low)?))
    });
    halves.with_context(|| format!("\"{text}\" is no position; write \"0/3000060\""))
}

fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" | "m" => 60_000,
        _ => return None,
    };
    let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    (ms <= TIME_MS_MAX).then_some(ms)
}

/// As in the configuration of the proxy.
const NODES_MAX: usize = 128;

/// A day.
const TIME_MS_MAX: u64 = 86_400_000;

/// It is expected that the plugin is not asked at all.
const NOTHING: &str = "nothing";

const ANSWERS: &str = "use promote 1, follow 1, detach 1, reattach 1, wait, abstain, give up, \
    give up: with these words in its reason, or nothing";

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Reads one that is valid.
    pub(in super::super) fn scenario(text: &str) -> Scenario {
        read(text).unwrap_or_else(|error| panic!("{text}: {error:#}"))
    }

    fn read(text: &str) -> Result<Scenario> {
        Scenario::checked(toml::from_str(text)?, 7)
    }

    #[test]
    fn a_scenario_is_read_with_its_defaults() {
        let scenario = scenario(
            r#"
            config = { promotion = "lowest-id" }
            [[step]]
            at = "500ms"
            node.0 = { up = false }
            node.2 = { received = "1/10", replayed = 5, sync = "quorum", standing = "in service" }
            refuse = "promote 1"
            expect = ["promote 2", "wait"]
            [[step]]
            at = "1min"
            expect = "nothing"
            "#,
        );
        assert_eq!(scenario.name, "failover 7");
        assert_eq!(
            scenario.config.as_deref(),
            Some(r#"{"promotion":"lowest-id"}"#)
        );
        let roles: Vec<_> = scenario.nodes.iter().map(|node| node.role).collect();
        let (primary, replica) = (Some(Role::Primary), Some(Role::Replica));
        assert_eq!(roles, [primary, replica, replica]);
        let [first, second] = scenario.steps.as_slice() else {
            panic!("two steps: {scenario:?}");
        };
        assert_eq!((first.at_ms, second.at_ms), (500, 60_000));
        assert_eq!(first.changes.len(), 2);
        let change = &first.changes[1].1;
        assert_eq!(
            (change.received, change.replayed),
            (Some(0x1_0000_0010), Some(5))
        );
        assert_eq!(change.standing, Some(Standing::InService));
        assert_eq!(first.refuses, ["promote 1"]);
        assert_eq!(first.expected, ["promote 2", "wait"]);
        assert!(second.expected.is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        let step = |rest: &str| format!("[[step]]\nat = \"0s\"\n{rest}");
        for (text, expected) in [
            (String::new(), "no [[failover.step]]"),
            (step(""), "step at 0s: it expects nothing"),
            (step("expect = \"promote\""), "\"promote\" is no answer"),
            (step("expect = \"promote 3\""), "\"promote 3\" is no answer"),
            (step("expect = \"follow 01\""), "is no answer"),
            (
                step("expect = \"wait\"\nnode.3 = {}"),
                "node.3: there is no such node",
            ),
            (
                step("expect = \"wait\"\nnode.1 = { lsn = 1 }"),
                "unknown field `lsn`",
            ),
            (
                step("expect = \"wait\"\nnode.1 = { replayed = \"1\" }"),
                "no position",
            ),
            (
                step("expect = \"wait\"\nnode.1 = { flag = \"NO\" }"),
                "flag = \"NO\"",
            ),
            (
                step("expect = \"wait\"\nnode.1 = { role = \"standby\" }"),
                "role = \"standby\"",
            ),
            (
                step("expect = \"wait\"\nnode.1 = { standing = \"up\" }"),
                "standing = \"up\"",
            ),
            (
                "[[step]]\nat = \"1\"\nexpect = \"wait\"".to_owned(),
                "at = \"1\"",
            ),
            (
                "nodes = []\n[[step]]\nat = \"1s\"\nexpect = \"wait\"".to_owned(),
                "1 to 128",
            ),
            (
                format!(
                    "[[step]]\nat = \"1s\"\nexpect = \"wait\"\n{}",
                    step("expect = \"wait\"")
                ),
                "order of their times",
            ),
        ] {
            let error = format!("{:#}", read(&text).expect_err(&text));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
