//! Servers that ask for something odd, or for what is not known.

use std::time::Duration;

use pgsteer_wire::scram::{ServerExchange, Verifier};
use tokio::net::UnixStream;

use super::*;
use crate::Stream;

fn channel() -> Channel {
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    Channel::new(Stream::Unix(ours))
}

fn request(code: u32, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), data].concat()
}

/// What is said about these requests, one after the other: the first error, if there is one.
async fn refusal(credential: &Credential, requests: &[Vec<u8>]) -> Option<ErrorReply> {
    let user: Rc<str> = "ann".into();
    let login = Login {
        user: &user,
        database: "shop",
        credential,
        parameters: &[],
    };
    let (prover, mut channel) = (Prover::default(), channel());
    let mut attempt = LoggingIn::new(login);
    for body in requests {
        let mut body = body.clone();
        if body.starts_with(&request(11, b"")) {
            // The nonce is ours to continue.
            let nonce = attempt.exchange.as_ref().map(ClientExchange::first);
            let nonce = nonce.as_deref().and_then(|first| first.split_once("r="));
            let nonce = nonce.map(|(_, nonce)| nonce.to_owned()).unwrap_or_default();
            let text = String::from_utf8(body.split_off(4)).expect("text");
            body.extend_from_slice(text.replace("NONCE", &nonce).as_bytes());
        }
        match prover.answer(&mut attempt, &body, &mut channel).await {
            Ok(()) => {}
            Err(ConnectError::Unsupported(reply) | ConnectError::OtherSecret(reply)) => {
                return Some(reply);
            }
            Err(other) => panic!("{other}"),
        }
    }
    None
}

fn sasl(challenge: &str) -> Vec<Vec<u8>> {
    vec![
        request(10, b"SCRAM-SHA-256\0\0"),
        request(11, challenge.as_bytes()),
    ]
}

fn password() -> Credential {
    Credential::Password("secret".into())
}

/// Keys as a client's login gives them away, of the salt `salt`.
fn keys() -> Credential {
    let verifier = Verifier::from_salt("secret", b"salt");
    let mut client = ClientExchange::new().expect("random numbers");
    let mut server = ServerExchange::new(&verifier);
    let first = server.first(client.first().as_bytes()).expect("first");
    let challenge = client.challenge(first.as_bytes()).expect("a challenge");
    let salted = SaltedPassword::derive("secret", &challenge.salt, challenge.iterations);
    let last = client.last(&salted, &challenge);
    let accepted = server.last(last.as_bytes()).expect("the right password");
    Credential::Scram(Arc::new(accepted.keys))
}

#[tokio::test]
async fn a_server_cannot_make_the_proxy_work_for_ever() {
    for iterations in ["2147483647", "4294967296", "1000001", "0", "-1", "x"] {
        let challenge = format!("r=NONCEx,s=c2FsdA==,i={iterations}");
        let limit = Duration::from_secs(5);
        let password = password();
        let requests = sasl(&challenge);
        let said = tokio::time::timeout(limit, refusal(&password, &requests)).await;
        let reply = said.expect("at once").expect("it is refused");
        assert_eq!(reply.message, "malformed SCRAM message", "{iterations}");
    }
}

#[tokio::test]
async fn keys_log_in_with_their_own_salt_alone() {
    let keys = keys();
    let same = sasl("r=NONCEx,s=c2FsdA==,i=4096");
    assert_eq!(refusal(&keys, &same).await, None);
    for other in ["r=NONCEx,s=b3RoZXI=,i=4096", "r=NONCEx,s=c2FsdA==,i=4097"] {
        let reply = refusal(&keys, &sasl(other)).await.expect("refused");
        assert_eq!(reply.sqlstate, SqlState::INVALID_PASSWORD);
        assert!(
            reply.message.contains("SCRAM secret of user \"ann\""),
            "{reply}"
        );
        assert_eq!(refusal(&password(), &sasl(other)).await, None);
    }
}

#[tokio::test]
async fn what_is_known_must_do_for_what_is_asked() {
    let md5 = Credential::Md5("md532e12f215ba27cb750c9e093ce4b5127".into());
    let cleartext = || vec![request(3, b"")];
    let hashed = || vec![request(5, b"salt")];
    let scram = || sasl("r=NONCEx,s=c2FsdA==,i=4096");
    for (credential, requests, expected) in [
        (password(), cleartext(), None),
        (password(), hashed(), None),
        (md5.clone(), hashed(), None),
        (
            md5.clone(),
            cleartext(),
            Some("asks for the password in clear text"),
        ),
        (md5, scram(), Some("asks for SCRAM-SHA-256")),
        (
            keys(),
            cleartext(),
            Some("asks for the password in clear text"),
        ),
        (keys(), hashed(), Some("asks for MD5")),
        (
            Credential::Nothing,
            scram(),
            Some("no password is known for user \"ann\""),
        ),
        (Credential::Nothing, vec![request(0, b"")], None),
        (
            password(),
            vec![request(7, b"")],
            Some("authentication method 7"),
        ),
        (
            password(),
            vec![request(11, b"x")],
            Some("unexpected SASL message"),
        ),
        (
            password(),
            vec![request(12, b"v=x")],
            Some("unexpected SASL message"),
        ),
        (
            password(),
            vec![vec![0, 0]],
            Some("malformed login message"),
        ),
    ] {
        let said = refusal(&credential, &requests)
            .await
            .map(|reply| reply.message);
        match expected {
            None => assert_eq!(said, None),
            Some(text) => assert!(said.as_ref().is_some_and(|s| s.contains(text)), "{said:?}"),
        }
    }
}
