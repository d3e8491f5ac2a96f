//! Whether a server is who it should be, as libpq judges it.
//!
//! Two kinds of certificates that the library refuses are common in front of PostgreSQL and taken by
//! libpq: a self-signed one that is trusted itself, and one that has its host name in its subject
//! alone. They are taken here, too.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore, SignatureScheme,
};

use crate::x509::Certificate;

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// That the server has the key of the certificate it shows, whatever that is.
    Nothing,
    /// That somebody signed it who is trusted.
    Signature,
    /// That it is for this host, too.
    Name,
}

/// Checks certificates of servers.
#[derive(Debug)]
pub(crate) struct Verifier {
    level: Level,
    roots: RootCertStore,
    trusted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(crate) fn new(
        level: Level,
        roots: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self {
            level,
            roots,
            trusted,
            algorithms,
        }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let malformed = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let key = Certificate::parse(certificate).ok_or_else(malformed)?.key;
        let mut known = self.algorithms.mapping.iter();
        let (_, algorithms) = known
            .find(|(scheme, _)| *scheme == signature.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let fitting = algorithms
            .iter()
            .filter(|a| *a.public_key_alg_id() == *key.algorithm);
        let mut checked =
            fitting.map(|a| a.verify_signature(key.bits, message, signature.signature()));
        if checked.any(|result| result.is_ok()) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    }
}

/// Whether a certificate is of version 1, which the library does not read.
fn is_old(certificate: &CertificateDer<'_>) -> bool {
    Certificate::parse(certificate).is_some_and(|parsed| !parsed.has_extensions())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.level == Level::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        if is_old(end_entity) {
            let text = "the server's certificate has no extensions (X.509 version 1), so that it \
                        cannot be verified; issue it anew with a subjectAltName";
            return Err(Error::General(text.to_owned()));
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let signed = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        match signed {
            // Comes after the dates were checked: a certificate that may sign others is shown as
            // its own, which is all right for one that is trusted itself.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.trusted.contains(end_entity) => {}
            other => other?,
        }
        if self.level == Level::Name {
            verify_name(&parsed, end_entity, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if is_old(cert) {
            return self.verify_signature(message, cert, dss);
        }
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if is_old(cert) {
            return self.verify_signature(message, cert, dss);
        }
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn verify_name(
    parsed: &ParsedCertificate<'_>,
    der: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<(), Error> {
    let Err(error) = verify_server_name(parsed, name) else {
        return Ok(());
    };
    let read = Certificate::parse(der).filter(|read| !read.has_alt_names());
    let common = read.and_then(|read| read.common_name());
    match common {
        Some(common) if names_host(common, &name.to_str()) => Ok(()),
        _ => Err(error),
    }
}

/// Whether a common name is this host, or a pattern for it: a star stands for one label in front.
fn names_host(common: &str, host: &str) -> bool {
    if common.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some((_, domain)) = host.split_once('.') else {
        return false;
    };
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let pattern = common.strip_prefix("*.");
    !is_address && pattern.is_some_and(|pattern| pattern.eq_ignore_ascii_case(domain))
}

#[cfg(test)]
mod tests {
    use super::names_host;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(names_host("db.example.org", "DB.example.org"));
        assert!(names_host("*.example.org", "db.example.org"));
        assert!(!names_host("*.example.org", "a.db.example.org"));
        assert!(!names_host("*.example.org", "example.org"));
        assert!(!names_host("*.0.0.1", "127.0.0.1"));
        assert!(!names_host("*", "localhost"));
    }
}
