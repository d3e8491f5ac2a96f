//! What the proxy asks of servers.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use crate::verify::{Level, Verifier};
use crate::{ALPN, Files, Mode, Negotiation, Protocol, ReadFile, TlsError, provider};

/// TLS towards servers, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSpec {
    /// When it is used, and what is asked of a server's certificate.
    pub mode: Mode,
    /// The certificates that those of servers may be signed by, and our own for those that ask.
    pub files: Files,
    /// The oldest version.
    pub min_protocol: Protocol,
    /// How it begins.
    pub negotiation: Negotiation,
}

/// How to try to connect to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// In clear.
    Plain,
    /// With TLS if the server can, else in clear.
    TlsIfOffered,
    /// With TLS.
    Tls,
}

/// TLS towards servers, ready for use. Cheap to clone.
#[derive(Clone, Default)]
pub struct ServerTls(Option<Arc<Ready>>);

struct Ready {
    spec: ServerSpec,
    digest: [u8; 32],
    config: Arc<ClientConfig>,
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => a.spec == b.spec && a.digest == b.digest,
            (None, None) => true,
            _ => false,
        }
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spec = self.0.as_ref().map(|ready| &ready.spec);
        f.debug_tuple("ServerTls").field(&spec).finish()
    }
}

impl ServerTls {
    /// Reads the files. In mode `disable` none is read.
    ///
    /// # Errors
    /// A file is missing or unfit.
    pub fn load(spec: ServerSpec, read_file: ReadFile<'_>) -> Result<Self, TlsError> {
        if spec.mode == Mode::Disable {
            return Ok(Self(None));
        }
        let contents = spec.files.read(read_file)?;
        let roots = contents.roots(&spec.files)?;
        if roots.is_none() && spec.mode >= Mode::VerifyCa {
            return Err(TlsError {
                setting: "ca_file",
                problem: "is missing".to_owned(),
                advice: "name the certificates that those of servers are signed by",
            });
        }
        let level = match (&roots, spec.mode) {
            (_, Mode::VerifyFull) => Level::Name,
            // As libpq: who has certificates to check against wants to have it checked.
            (Some(_), _) => Level::Signature,
            (None, _) => Level::Nothing,
        };
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let trusted = contents.trusted;
        let verifier = Verifier::new(
            level,
            roots.unwrap_or_else(rustls::RootCertStore::empty),
            trusted,
            algorithms,
        );
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(spec.min_protocol.versions())
            .map_err(|error| TlsError {
                setting: "min_protocol",
                problem: error.to_string(),
                advice: "use another version",
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match contents.own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // PostgreSQL does not resume sessions.
        config.resumption = Resumption::disabled();
        Ok(Self(Some(Arc::new(Ready {
            spec,
            digest: contents.digest,
            config: Arc::new(config),
        }))))
    }

    /// Reads the files again; `None` if they are as they were.
    ///
    /// # Errors
    /// A file is missing or unfit.
    pub fn reread(&self, read_file: ReadFile<'_>) -> Result<Option<Self>, TlsError> {
        let Some(ready) = &self.0 else {
            return Ok(None);
        };
        let new = Self::load(ready.spec.clone(), read_file)?;
        Ok((new != *self).then_some(new))
    }

    /// How to connect to a host, one way after the other, until the server does not say that it
    /// wants another. A Unix socket needs no TLS, and PostgreSQL knows none there.
    #[must_use]
    pub fn attempts(&self, host: &str) -> &'static [Attempt] {
        let local = host.starts_with('/');
        let spec = self.0.as_ref().map(|ready| &ready.spec).filter(|_| !local);
        match spec.map_or(Mode::Disable, |spec| spec.mode) {
            Mode::Disable => &[Attempt::Plain],
            Mode::Allow => &[Attempt::Plain, Attempt::Tls],
            Mode::Prefer => &[Attempt::TlsIfOffered, Attempt::Plain],
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => &[Attempt::Tls],
        }
    }

    /// What a handshake is done with; `None` if there is none.
    #[must_use]
    pub fn config(&self) -> Option<Arc<ClientConfig>> {
        self.0.as_ref().map(|ready| Arc::clone(&ready.config))
    }

    /// Whether it begins without asking.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        let spec = self.0.as_ref().map(|ready| &ready.spec);
        spec.is_some_and(|spec| spec.negotiation == Negotiation::Direct)
    }

    /// What a server's certificate is held against. A host that is no name TLS knows has none;
    /// nothing is compared then but in mode `verify-full`, which it fails.
    #[must_use]
    pub fn name(&self, host: &str) -> ServerName<'static> {
        let nameless = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        ServerName::try_from(host.to_owned()).unwrap_or(nameless)
    }
}
