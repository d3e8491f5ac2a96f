//! What was counted, for Prometheus: a small HTTP server on the thread of the control plane.
//!
//! `families` is the table of everything that is shown, `collect` reads the cells, `text` writes the
//! format, `page` keeps a page for those who ask again at once. Reading is all that happens to what
//! the data plane counts: a scrape takes no lock that a statement takes.

mod collect;
#[cfg(test)]
mod docs;
mod families;
mod page;
mod plugins;
mod pools;
mod states;
#[cfg(test)]
mod tests;
mod text;

use std::convert::Infallible;
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::{info, warn};

pub(crate) use page::Page;

use crate::doors::{House, Visitors, breathe};

/// Serves one address until the proxy ends.
pub(crate) async fn run(listener: TcpListener, house: House, page: Page) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%error, "the port for Prometheus cannot be served");
            return;
        }
    };
    if let Ok(address) = listener.local_addr() {
        info!(%address, "answering Prometheus");
    }
    let mut visitors = Visitors::new(CONNECTIONS_MAX);
    loop {
        // Both branches are cancel safe: who was not accepted is still in the queue.
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => visitors.admit(visit(stream, house.clone(), page.clone())),
                Err(_) => breathe().await,
            },
            () = house.closed() => break,
        }
    }
    visitors.leave().await;
}

/// One connection: one request, one answer, within a time.
async fn visit(stream: TcpStream, house: House, page: Page) {
    let served = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &house, &page);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), served);
    tokio::select! {
        // Whoever sends nonsense, or leaves, is nobody to complain about.
        _ = tokio::time::timeout(VISIT_MAX, connection) => {}
        () = house.closed() => {}
    }
}

fn answer<B>(request: &Request<B>, house: &House, page: &Page) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut response = Response::new(Full::new(page.get(house)));
            let kind = HeaderValue::from_static(text::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => match unready(house) {
            None => plain(StatusCode::OK, "ready\n"),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        _ => plain(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n",
        ),
    }
}

/// Why a client that comes now would not be served.
fn unready(house: &House) -> Option<&'static str> {
    let snapshot = house.now();
    let nodes = &snapshot.topology.nodes;
    if snapshot.draining {
        Some("the proxy is shutting down\n")
    } else if !nodes.iter().any(pgsteer_core::Node::is_usable) {
        Some("no node can serve\n")
    } else {
        None
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Connections at one time to one address; ours. One more is closed.
const CONNECTIONS_MAX: usize = 32;

/// From the connection to the last byte of the answer; ours. Prometheus waits ten seconds.
const VISIT_MAX: Duration = Duration::from_secs(10);

/// Longest request; ours, and the least that hyper takes.
const REQUEST_BYTES_MAX: usize = 8192;

/// Headers of a request; ours. Prometheus sends five.
const HEADERS_MAX: usize = 64;
