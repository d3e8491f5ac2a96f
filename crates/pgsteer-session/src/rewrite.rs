//! Another text in the place of a statement: asks the rewriters, one after the other, and holds what
//! they offer to the rules.

use std::cell::RefMut;
use std::rc::Rc;

use pgsteer_core::NodeId;
use pgsteer_core::policy::{Rewritten, traits};
use pgsteer_sql::{Analysis, Class};
use pgsteer_wire::{ErrorReply, Header, encode, frontend};

use crate::policies::{Offer, Passage, Policies, Replaced, compose};
use crate::session::{Session, query_text};
use crate::steering::{Situation, Statement, Steering, Values, refusal};

/// Whether no plugin is asked about it: the commands of the console, and the control of transactions,
/// without which a client could not get out of one.
fn is_exempt(analysis: &Analysis) -> bool {
    let alone = analysis.statement_count <= 1;
    analysis.console.is_some()
        || analysis.is_transaction_control()
        || (alone && matches!(analysis.class, Class::Deallocate | Class::Empty))
}

impl Steering {
    /// What runs in the place of a statement; `None` if it stays as it is.
    ///
    /// # Errors
    /// A plugin refused it.
    pub(crate) fn rewrite(
        &mut self,
        statement: &Statement<'_>,
        now: Situation<'_>,
    ) -> Result<Option<Rc<Replaced>>, ErrorReply> {
        self.refresh(now.is_unseen());
        let wanted = self.worker.policies.borrow().wanted();
        if !wanted.rewrites || is_exempt(statement.analysis) {
            return Ok(None);
        }
        let user = &self.identity.user;
        self.names
            .refresh(&self.worker, user, now.settings, now.transaction);
        let meaning = self.names.meaning(&self.worker, statement.analysis);
        let facts = self.facts(statement, now.transaction.open(), &meaning);
        let worker = Rc::clone(&self.worker);
        let key = worker.policies.borrow().rewrite_key(&self.policies, &facts);
        // Texts that are withheld all look the same.
        let is_shown = facts.traits & traits::TEXT_WITHHELD == 0;
        if is_shown && let Some(known) = worker.policies.borrow_mut().rewritten_before(key) {
            return Ok(known);
        }
        let mut way = worker.policies.borrow().begin_passage();
        let known = self.through_chain(statement, now, &mut way)?;
        if is_shown {
            let mut policies = worker.policies.borrow_mut();
            policies.remember_rewriting(key, &known, &way);
        }
        Ok(known)
    }

    fn through_chain(
        &mut self,
        statement: &Statement<'_>,
        now: Situation<'_>,
        way: &mut Passage,
    ) -> Result<Option<Rc<Replaced>>, ErrorReply> {
        let worker = Rc::clone(&self.worker);
        let mut newest: Option<Rc<Replaced>> = None;
        let rewriters = worker.policies.borrow().rewriters();
        for index in rewriters {
            let at = match &newest {
                None => *statement,
                Some(replaced) => Statement {
                    analysis: &replaced.analysis,
                    text: replaced.text.as_bytes(),
                    ..*statement
                },
            };
            let meaning = self.names.meaning(&worker, at.analysis);
            let facts = self.facts(&at, now.transaction.open(), &meaning);
            let rewritten = {
                let mut policies = worker.policies.borrow_mut();
                policies.rewrite_by(index, &self.policies, &facts, way)
            };
            let rewritten = match rewritten {
                Rewritten::Replace {
                    sql,
                    parameters: map,
                } => {
                    let before = newest.as_ref().and_then(|n| n.map.clone());
                    let shown = facts.traits & traits::TEXT_WITHHELD == 0;
                    match self.accept(index, (at.analysis, shown), &sql, map.as_deref()) {
                        Ok(analysis) => {
                            newest = Some(Rc::new(Replaced {
                                text: sql.into(),
                                analysis,
                                map: compose(before.as_deref(), map.as_deref()),
                            }));
                            continue;
                        }
                        Err(why) => worker.policies.borrow_mut().bad_rewrite(index, why, way),
                    }
                }
                other => other,
            };
            if let Rewritten::Reject(rejection) = rewritten {
                return Err(refusal(&rejection));
            }
        }
        Ok(newest)
    }

    /// The analysis of an offered text, unless it must not be taken.
    fn accept(
        &self,
        index: usize,
        (old, is_shown): (&Analysis, bool),
        sql: &str,
        map: Option<&[u16]>,
    ) -> Result<Rc<Analysis>, String> {
        if !is_shown {
            return Err("it replaces a text that it was not shown".to_owned());
        }
        let analysis = self.worker.analyze(sql.as_bytes());
        let policies = self.worker.policies.borrow();
        let offer = Offer {
            old,
            new: &analysis,
            map,
            grants: policies.grants(index),
        };
        match offer.violation() {
            Some(why) => Err(why),
            None => {
                policies.count_rewrite(index);
                drop(policies);
                Ok(analysis)
            }
        }
    }
}

impl Session {
    /// Asks the rewriters about a statement of this text.
    ///
    /// # Errors
    /// A plugin refused it.
    pub(crate) fn rewrite(
        &mut self,
        analysis: &Analysis,
        text: &[u8],
        extended: bool,
    ) -> Result<Option<Rc<Replaced>>, ErrorReply> {
        let answer = self.ask_rewriters(analysis, text, extended);
        if let Err(reply) = &answer {
            self.note_refusal(analysis, reply, extended);
        }
        answer
    }

    /// The same about a statement that is not run.
    ///
    /// # Errors
    /// A plugin would refuse it.
    pub(crate) fn ask_rewriters(
        &mut self,
        analysis: &Analysis,
        text: &[u8],
        extended: bool,
    ) -> Result<Option<Rc<Replaced>>, ErrorReply> {
        let executed = self.executed(analysis);
        let statement = Statement {
            analysis,
            executed: executed.as_deref(),
            text,
            extended,
            values: Values::None,
        };
        let now = Situation {
            settings: &self.settings,
            transaction: &self.transaction,
            legs: &self.legs,
            avoid: NOBODY,
            tied: None,
        };
        self.steering.rewrite(&statement, now)
    }

    /// The same for the simple query at the front of the input: a new text takes its place there.
    /// Answers what the statement is now.
    ///
    /// # Errors
    /// A plugin refused it.
    pub(crate) fn rewrite_query(
        &mut self,
        header: Header,
        analysis: Rc<Analysis>,
    ) -> Result<(Header, Rc<Analysis>), ErrorReply> {
        if !self.wants_rewrites() {
            return Ok((header, analysis));
        }
        let text: Box<[u8]> = query_text(self.client.input.bytes()).into();
        let Some(replaced) = self.rewrite(&analysis, &text, false)? else {
            return Ok((header, analysis));
        };
        let mut frame = bytes::BytesMut::with_capacity(replaced.text.len() + 6);
        encode::query(&mut frame, &replaced.text);
        self.client.input.replace(header.frame_len(), &frame);
        let body_len = frame.len() - pgsteer_wire::HEADER_LEN;
        let header = Header {
            tag: frontend::tag::QUERY,
            body_len,
        };
        Ok((header, Rc::clone(&replaced.analysis)))
    }

    /// Whether any plugin rewrites. Costs a look while none does.
    pub(crate) fn wants_rewrites(&self) -> bool {
        self.policies_now().wanted().rewrites
    }

    /// The plugins that are in force now.
    pub(crate) fn policies_now(&self) -> RefMut<'_, Policies> {
        let worker = &self.steering.worker;
        let mut policies = worker.policies.borrow_mut();
        policies.refresh(worker.subscription.borrow_mut().get());
        policies
    }
}

const NOBODY: &[NodeId] = &[];
