//! What a function set: its value may be a parameter or the result of another function, so the server
//! is asked for it, that once.

use pgsteer_core::NodeId;
use pgsteer_sql::PinReason;
use pgsteer_wire::backend::TransactionStatus;

use crate::journal::quote_literal;
use crate::login::set_text;
use crate::session::Session;

impl Session {
    /// Asks for what was set on a leg, if the statement that did it succeeded, and takes it over. A leg
    /// that does not say is kept.
    pub(crate) async fn learn(&mut self, node: NodeId, succeeded: bool) {
        if !self.learns.is_empty() {
            Box::pin(self.learn_some(node, succeeded)).await;
        }
    }

    async fn learn_some(&mut self, node: NodeId, succeeded: bool) {
        let names = std::mem::take(&mut self.learns);
        let Some(leg) = self.held(node).filter(|_| succeeded) else {
            return;
        };
        if leg.status() == TransactionStatus::Failed {
            return;
        }
        leg.told().statements.remove(b"");
        let asked = leg.connection().ask(&question(&names)).await;
        let (asides, server) = leg.take_asides();
        self.tell_aside(&asides, server);
        let row = match asked {
            Ok(Some(row)) if row.len() == names.len() => row,
            _ => {
                self.pin(node, PinReason::SetByFunction);
                return;
            }
        };
        for (name, value) in names.iter().zip(row) {
            let text = set_text(name, &value.unwrap_or_default());
            let name = name.to_lowercase();
            self.apply_set(node, (&name, false, &text));
        }
    }
}

fn question(names: &[String]) -> String {
    let ask = |name: &String| {
        let name = quote_literal(name);
        format!("pg_catalog.current_setting({name},true)")
    };
    let columns: Vec<String> = names.iter().map(ask).collect();
    format!("SELECT {}", columns.join(","))
}

#[cfg(test)]
mod tests {
    use super::question;

    #[test]
    fn all_are_asked_for_at_once() {
        let names = ["a.b".to_owned(), "it's".to_owned()];
        assert_eq!(
            question(&names),
            "SELECT pg_catalog.current_setting('a.b',true),pg_catalog.current_setting('it''s',true)"
        );
    }
}
