//! The redirect lists: which node the reads of a session prefer, by user, database or application.
//!
//! An element is `regex:node(ratio)`; `node` is `primary`, `standby` or a number, and the share
//! `ratio` of the sessions goes there.

use pgsteer_plugin_sdk::{Candidate, NodeId, NodeRole, Topology};
use regex_lite::Regex;

use crate::lists::whole;

/// A list.
#[derive(Clone, Debug, Default)]
pub struct Redirects(Vec<Redirect>);

#[derive(Clone, Debug)]
struct Redirect {
    names: Regex,
    target: Target,
    /// `0.0 <= ratio <= 1.0`.
    ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Primary,
    Standby,
    Node(u32),
    /// A number of no node: in Pgpool-II that is the node with the lowest number.
    Main,
}

/// A preference that holds for a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preference {
    target: Target,
    ratio: f64,
}

impl Redirects {
    /// Reads a list. `exact`: blanks are part of an expression, and words are compared as
    /// Pgpool-II compares them.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn parse(text: &str, exact: bool) -> Result<Self, String> {
        let elements = text.split(',').filter(|e| !e.trim().is_empty());
        let redirects = elements.map(|e| redirect(if exact { e } else { e.trim() }, exact));
        Ok(Self(redirects.collect::<Result<_, _>>()?))
    }

    /// The first element that fits a name; an empty name has none.
    pub(crate) fn find(&self, name: &str) -> Option<Preference> {
        let fits = |redirect: &&Redirect| !name.is_empty() && redirect.names.is_match(name);
        let found = self.0.iter().find(fits)?;
        Some(Preference {
            target: found.target,
            ratio: found.ratio,
        })
    }
}

fn redirect(element: &str, exact: bool) -> Result<Redirect, String> {
    let wrong = || format!("\"{element}\" must be regex:node or regex:node(ratio)");
    let (names, target) = element.rsplit_once(':').ok_or_else(wrong)?;
    let (node, ratio) = match target.split_once('(') {
        Some((node, ratio)) => {
            let ratio = ratio.strip_suffix(')').ok_or_else(wrong)?;
            (node, ratio.trim().parse::<f64>().map_err(|_| wrong())?)
        }
        None => (target, 1.0),
    };
    if !(0.0..=1.0).contains(&ratio) {
        return Err(format!(
            "the ratio in \"{element}\" must be from 0.0 to 1.0"
        ));
    }
    let word = if exact {
        node
    } else {
        &node.to_ascii_lowercase()
    };
    let target = match word {
        "primary" => Target::Primary,
        "standby" => Target::Standby,
        number => match number.parse() {
            Ok(id) => Target::Node(id),
            // Pgpool-II allows these in any case and then reads them as the number 0.
            Err(_) if exact && is_word(number) => Target::Node(0),
            Err(_) => {
                return Err(format!(
                    "\"{element}\" names no node: allowed are primary, standby and numbers"
                ));
            }
        },
    };
    Ok(Redirect {
        names: whole(names)?,
        target,
        ratio,
    })
}

fn is_word(text: &str) -> bool {
    ["primary", "standby"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// The nodes of a session with this preference and their shares; `None` if the preference cannot
/// be kept, and the choice is as if there were none.
pub(crate) fn candidates(preference: Preference, topology: &Topology) -> Option<Vec<Candidate>> {
    let all = topology.candidates();
    let role = |id: NodeId| topology.nodes.iter().find(|n| n.id == id).map(|n| n.role);
    let is_primary = |c: &Candidate| role(c.node) == Some(NodeRole::Primary);
    let target = match preference.target {
        Target::Node(id) if topology.nodes.iter().all(|n| n.id != NodeId(id)) => Target::Main,
        target => target,
    };
    match target {
        Target::Standby => {
            let standbys = all.iter().filter(|c| !is_primary(c)).copied();
            let standbys = share(standbys.collect(), preference.ratio);
            let rest = all.iter().filter(|c| is_primary(c));
            let primary = rest.map(|c| weighted(c, 1.0 - preference.ratio));
            Some(standbys.into_iter().chain(primary).collect())
        }
        Target::Primary => {
            let primary = all.iter().find(|c| is_primary(c))?.node;
            Some(preferring(primary, preference.ratio, &all))
        }
        Target::Node(id) => {
            let node = all.iter().find(|c| c.node == NodeId(id))?.node;
            Some(preferring(node, preference.ratio, &all))
        }
        Target::Main => Some(preferring(all.first()?.node, preference.ratio, &all)),
    }
}

/// One node with its ratio, all others with the rest.
fn preferring(node: NodeId, ratio: f64, all: &[Candidate]) -> Vec<Candidate> {
    let others: Vec<_> = all.iter().filter(|c| c.node != node).copied().collect();
    let can_others = others.iter().any(|c| c.weight > 0.0);
    let own = Candidate {
        node,
        weight: if can_others { ratio } else { 1.0 },
    };
    let others = share(others, 1.0 - ratio);
    std::iter::once(own).chain(others).collect()
}

/// Scales weights so that they add up to `total`.
fn share(candidates: Vec<Candidate>, total: f64) -> Vec<Candidate> {
    let sum: f64 = candidates.iter().map(|c| c.weight).sum();
    let factor = if sum > 0.0 { total / sum } else { 0.0 };
    let scaled = candidates.iter().map(|c| weighted(c, c.weight * factor));
    scaled.collect()
}

fn weighted(candidate: &Candidate, weight: f64) -> Candidate {
    Candidate {
        node: candidate.node,
        weight,
    }
}
