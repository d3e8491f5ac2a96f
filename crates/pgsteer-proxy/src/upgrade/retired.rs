//! The rest of the life of a process from which another one took over: its sessions go on, and cancel
//! requests for them come over the link.

use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::Subscription;
use pgsteer_session::Shared;
use tokio::task::JoinSet;

use super::elder::CANCELS_MAX;
use super::heir::Heir;
use super::link::{Hearing, Message, Telling};

/// What became of the process that took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was stopped, and this one is to stop, too.
    Stop,
    /// It is gone.
    Gone,
}

/// Carries out what the process that took over asks for, until that ends.
///
/// # Cancel safety
/// Cancel safe, but cancel requests on their way are lost.
pub(crate) async fn retire(
    heir: &mut Heir,
    shared: &Arc<Shared>,
    mut subscription: Subscription,
) -> Heard {
    let Heir {
        hearing, telling, ..
    } = heir;
    serve(hearing, telling, shared, &mut subscription).await
}

async fn serve(
    hearing: &mut Hearing,
    telling: &mut Telling,
    shared: &Arc<Shared>,
    subscription: &mut Subscription,
) -> Heard {
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            heard = hearing.next(), if under_way.len() < CANCELS_MAX => match heard {
                Some(Message::Cancel { number, pid, key }) => {
                    let shared = Arc::clone(shared);
                    let settings = Arc::clone(&subscription.get().settings);
                    under_way.spawn(async move {
                        // A server that does not answer must not keep the client waiting for ever.
                        let _ = tokio::time::timeout(CANCEL_MAX, shared.cancel(pid, &key, &settings.pool.tls)).await;
                        number
                    });
                }
                Some(Message::Stop) => return Heard::Stop,
                Some(_) => {}
                None => return Heard::Gone,
            },
            Some(landed) = under_way.join_next() => {
                if let Ok(number) = landed
                    && telling.say(&Message::Landed { number }).await.is_err()
                {
                    return Heard::Gone;
                }
            }
        }
    }
}

/// For one cancel request; ours.
const CANCEL_MAX: Duration = Duration::from_secs(30);
