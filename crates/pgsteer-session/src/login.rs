//! From an accepted socket to a session that is ready for its first statement.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use pgsteer_pool::{Channel, Stream};
use pgsteer_wire::{ErrorReply, SqlState, encode};
use tokio::time::timeout;

use crate::auth::authenticate;
use crate::end::End;
use crate::flow::Flow;
use crate::handshake::{self, Wish};
use crate::journal::{Settings, quote_literal};
use crate::policies::SessionPolicies;
use crate::session::{LegError, Session};
use crate::steering::{Identity, Steering};
use crate::transaction::Transaction;
use crate::worker::{Control, Welcome, Worker};

/// Serves one connection from its first byte to its last.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Stream, address: String) {
    let limit = worker.snapshot().settings.login_timeout;
    let client = Channel::new(stream);
    let login = log_in(Rc::clone(&worker), client, address);
    // The future of a login is large and short-lived: it does not stay with the session.
    let session = match timeout(limit, Box::pin(login)).await {
        Ok(Some(session)) => session,
        Ok(None) | Err(_) => return,
    };
    let id = worker.next_session().0;
    worker.controls.borrow_mut().insert(id, Rc::clone(&session.control));
    session.run().await;
    worker.controls.borrow_mut().remove(&id);
}

async fn log_in(worker: Rc<Worker>, mut client: Channel, address: String) -> Option<Session> {
    let parameters = match handshake::wish(&mut client).await.ok()? {
        Wish::Session(parameters) => parameters,
        Wish::Cancel { pid, key } => {
            worker.shared.cancels.cancel(pid, &key).await;
            return None;
        }
        Wish::Nothing => return None,
    };
    match start(worker, &mut client, parameters, address).await {
        Ok(parts) => {
            let mut session = Session { client, ..*parts };
            session.client.flush().await.ok()?;
            Some(session)
        }
        Err(end) => {
            match end {
                End::Fatal(reply) => encode::error(&mut client.output, &reply),
                End::Message(message) => client.output.extend_from_slice(&message),
                End::Terminated | End::ClientGone | End::Broken => {}
            }
            let _ = client.flush().await;
            None
        }
    }
}
