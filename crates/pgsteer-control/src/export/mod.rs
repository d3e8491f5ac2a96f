//! Sends spans to a collector of traces, some at a time, by OTLP over HTTP in JSON. What cannot be
//! sent is dropped: nobody waits for it.
//!
//! Written against the protocol itself, which is small: `otlp` makes the text, `post` is one request.

mod otlp;
mod post;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgsteer_core::settings::Endpoint;
use pgsteer_core::spans::Span;
use pgsteer_core::{Facts, Settings};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

/// Sends what comes until the control plane ends.
pub(crate) async fn run(facts: Arc<Facts>, settings: watch::Receiver<Arc<Settings>>) {
    let Some(mut queue) = facts.spans.take() else {
        return std::future::pending().await;
    };
    let mut fails = false;
    loop {
        let batch = batch(&mut queue).await;
        let (endpoint, service) = {
            let settings = settings.borrow();
            let tracing = &settings.tracing;
            (tracing.endpoint.clone(), tracing.service_name.clone())
        };
        let count = batch.len() as u64;
        // Switched off since they were handed over.
        let Some(endpoint) = endpoint else { continue };
        match send(&endpoint, &service, &batch).await {
            Ok(()) => {
                facts.spans.sent.fetch_add(count, Ordering::Relaxed);
                if fails {
                    info!(host = %endpoint.host, "spans are sent again");
                }
                fails = false;
            }
            Err(error) => {
                facts.spans.failed.fetch_add(count, Ordering::Relaxed);
                // Once, not every second for as long as the collector is away.
                if !fails {
                    let host = &endpoint.host;
                    warn!(%host, port = endpoint.port, error, "spans cannot be sent and are lost");
                }
                fails = true;
            }
        }
    }
}

/// Waits for spans, then for more of them, for a while.
async fn batch(queue: &mut mpsc::Receiver<Vec<Span>>) -> Vec<Span> {
    let Some(mut batch) = queue.recv().await else {
        return std::future::pending().await;
    };
    let deadline = Instant::now() + BATCH_WITHIN;
    while batch.len() < BATCH_MAX {
        match timeout_at(deadline, queue.recv()).await {
            Ok(Some(more)) => batch.extend(more),
            Ok(None) | Err(_) => break,
        }
    }
    batch
}

async fn send(endpoint: &Endpoint, service: &str, spans: &[Span]) -> Result<(), String> {
    let text = otlp::request(service, spans);
    match timeout(SEND_MAX, post::post(endpoint, text)).await {
        Ok(sent) => sent,
        Err(_) => Err(format!("no answer within {} s", SEND_MAX.as_secs())),
    }
}

/// Spans that are sent together, about; ours.
const BATCH_MAX: usize = 512;

/// How long spans wait for others; ours.
const BATCH_WITHIN: Duration = Duration::from_secs(1);

/// For one request; the default of OTLP exporters.
const SEND_MAX: Duration = Duration::from_secs(10);
