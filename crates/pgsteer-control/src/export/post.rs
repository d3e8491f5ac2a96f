//! One HTTP request to a collector.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use pgsteer_core::settings::Endpoint;
use tokio::net::TcpStream;

/// Sends it on a connection of its own.
///
/// # Errors
/// In words: it cannot be reached, or does not take it.
///
/// # Cancel safety
/// The connection is closed; whether the collector got it is not known.
pub(super) async fn post(endpoint: &Endpoint, json: String) -> Result<(), String> {
    let Endpoint { host, port, path } = endpoint;
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect((&**host, *port)).await;
    let stream = stream.map_err(|error| said(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| said(&error))?;
    let request = Request::post(format!("{path}/v1/traces"))
        .header(HOST, format!("{host}:{port}"))
        .header(USER_AGENT, concat!("pgsteer/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(json)))
        .map_err(|error| said(&error))?;
    let response = tokio::select! {
        response = sender.send_request(request) => response.map_err(|error| said(&error))?,
        ended = connection => {
            let why = ended.err().map(|error| said(&error));
            return Err(why.unwrap_or_else(|| "the connection was closed".to_owned()));
        }
    };
    let status = response.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("it answered {status}"))
    }
}
