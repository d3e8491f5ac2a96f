//! Puts another text in the place of statements, or refuses them, by rules in the configuration.

use pgsteer_plugin_sdk::{
    Manifest, Needs, Plugin, Rejection, Rewriter, Rewriting, Session, Statement, export, manifest,
};

mod rules;

use rules::{Action, Rule};

/// The plugin.
pub struct QueryRewrite {
    rules: Vec<Rule>,
    /// Users named in rules; a session's class is the position of its user, from 1.
    users: Vec<String>,
}

impl Plugin for QueryRewrite {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        let rules = rules::read(json)?;
        let mut users: Vec<_> = rules.iter().filter_map(|rule| rule.user.clone()).collect();
        users.sort();
        users.dedup();
        Ok(Self { rules, users })
    }

    fn needs(&self) -> Needs {
        Needs::none().sql()
    }
}

impl Rewriter for QueryRewrite {
    fn classify(&mut self, session: &Session) -> u32 {
        let position = self.users.iter().position(|user| *user == session.user);
        position.map_or(0, |at| u32::try_from(at + 1).unwrap_or(0))
    }

    fn rewrite(&mut self, statement: &Statement) -> Rewriting {
        let class = usize::try_from(statement.session_class).unwrap_or(0);
        let user = class.checked_sub(1).and_then(|at| self.users.get(at));
        let mut rules = self.rules.iter();
        let rule = rules.find(|rule| rule.matches(&statement.sql, user));
        let answer = match rule.map(|rule| &rule.action) {
            None => Rewriting::keep(),
            Some(Action::Replace { from, to, map }) => {
                let sql = match from {
                    Some(from) => statement.sql.replacen(from, to, 1),
                    None => to.clone(),
                };
                match map {
                    Some(map) => Rewriting::replace_with(sql, map.clone()),
                    None => Rewriting::replace(sql),
                }
            }
            Some(Action::Refuse { message, hint }) => {
                let rejection = Rejection::forbidden(message);
                Rewriting::reject(match hint {
                    Some(hint) => rejection.hint(hint),
                    None => rejection,
                })
            }
        };
        answer.reusable()
    }
}

export!(QueryRewrite: Rewriter);

#[cfg(test)]
mod tests;
