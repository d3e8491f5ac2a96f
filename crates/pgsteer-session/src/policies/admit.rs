//! Who may begin a session, and with what.

use pgsteer_core::policy::{Admission, Admitted, Hooks, Rejection, SessionFacts};
use pgsteer_core::settings::OnFailure;

use super::{Policies, failure};

impl Policies {
    /// Asks all plugins with a say in it, in order.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) fn admit(
        &mut self,
        facts: &SessionFacts<'_>,
        is_operator: bool,
    ) -> Result<Admission, Rejection> {
        let mut all = Admission::default();
        for seat in &mut self.seats {
            if !seat.plugin.hooks.has(Hooks::SESSION) {
                continue;
            }
            match seat.ask(self.worker, &self.topology, |p| p.admit(facts)) {
                Some(Ok(Admitted::Admit(more))) => take_in(&mut all, more),
                Some(Ok(Admitted::Refuse(rejection))) => {
                    seat.plugin.counters(self.worker).refusals.add(1);
                    return Err(rejection);
                }
                // Somebody must be able to say what is to be done about it.
                Some(Err(_)) | None if is_operator => {}
                Some(Err(_)) | None if seat.plugin.on_failure != OnFailure::Skip => {
                    return Err(failure(&seat.plugin));
                }
                Some(Err(_)) | None => {}
            }
        }
        Ok(all)
    }
}

/// What an earlier plugin said stays.
fn take_in(all: &mut Admission, more: Admission) {
    all.pool = all.pool.take().or(more.pool);
    all.role = all.role.take().or(more.role);
    for (list, new) in [
        (&mut all.parameters, more.parameters),
        (&mut all.enforced, more.enforced),
    ] {
        for (name, value) in new {
            if !list.iter().any(|(known, _)| *known == name) {
                list.push((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_say_something_counts() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut all = Admission::default();
        take_in(
            &mut all,
            Admission {
                pool: Some("a".to_owned()),
                parameters: vec![pair("x.y", "1")],
                ..Admission::default()
            },
        );
        take_in(
            &mut all,
            Admission {
                pool: Some("b".to_owned()),
                role: Some("r".to_owned()),
                parameters: vec![pair("x.y", "2"), pair("x.z", "3")],
                enforced: vec![pair("x.t", "4")],
            },
        );
        let expected = Admission {
            pool: Some("a".to_owned()),
            role: Some("r".to_owned()),
            parameters: vec![pair("x.y", "1"), pair("x.z", "3")],
            enforced: vec![pair("x.t", "4")],
        };
        assert_eq!(all, expected);
    }
}
