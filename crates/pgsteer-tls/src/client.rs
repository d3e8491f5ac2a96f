//! What clients of the proxy meet.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;

use crate::{ALPN, Files, Mode, Protocol, ReadFile, TlsError, end_point, provider};

/// TLS towards clients, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSpec {
    /// When it is used.
    pub mode: Mode,
    /// The certificate that is shown, and those that clients' may be signed by.
    pub files: Files,
    /// The oldest version.
    pub min_protocol: Protocol,
}

/// TLS towards clients, ready for use. Cheap to clone.
#[derive(Clone, Default)]
pub struct ClientTls(Option<Arc<Ready>>);

struct Ready {
    spec: ClientSpec,
    digest: [u8; 32],
    config: Arc<ServerConfig>,
    end_point: Option<Box<[u8]>>,
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => a.spec == b.spec && a.digest == b.digest,
            (None, None) => true,
            _ => false,
        }
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spec = self.0.as_ref().map(|ready| &ready.spec);
        f.debug_tuple("ClientTls").field(&spec).finish()
    }
}

impl ClientTls {
    /// Reads the files. In mode `disable` none is read.
    ///
    /// # Errors
    /// A file is missing or unfit.
    pub fn load(spec: ClientSpec, read_file: ReadFile<'_>) -> Result<Self, TlsError> {
        if spec.mode == Mode::Disable {
            return Ok(Self(None));
        }
        let contents = spec.files.read(read_file)?;
        let roots = contents.roots(&spec.files)?;
        let own = contents.own.ok_or_else(|| TlsError {
            setting: "cert_file",
            problem: "is missing".to_owned(),
            advice: "name the certificate that clients are shown, and its key in `key_file`",
        })?;
        let end_point = own.cert.first().and_then(|der| end_point(der));
        let unusable = |setting, error: &dyn std::fmt::Display| TlsError {
            setting,
            problem: error.to_string(),
            advice: "use other certificates",
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(spec.min_protocol.versions())
            .map_err(|error| unusable("min_protocol", &error))?;
        let builder = match roots {
            None if spec.mode >= Mode::VerifyCa => {
                return Err(TlsError {
                    setting: "ca_file",
                    problem: "is missing".to_owned(),
                    advice: "name the certificates that those of clients are signed by",
                });
            }
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                // As PostgreSQL with `ssl_ca_file`: a client may do without a certificate unless it
                // is told not to, but one that it shows must be good.
                let verifier = if spec.mode >= Mode::VerifyCa {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                let verifier = verifier.build().map_err(|e| unusable("ca_file", &e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // No client of PostgreSQL resumes a session, and PostgreSQL does not let them.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Some(Arc::new(Ready {
            spec,
            digest: contents.digest,
            config: Arc::new(config),
            end_point,
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

    /// What a handshake is done with; `None` if TLS is not offered.
    #[must_use]
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.0.as_ref().map(|ready| Arc::clone(&ready.config))
    }

    /// Whether a client that does not use it is turned away.
    #[must_use]
    pub fn is_required(&self) -> bool {
        let mode = self.0.as_ref().map(|ready| ready.spec.mode);
        mode.is_some_and(|mode| mode >= Mode::Require)
    }

    /// What clients bind to.
    #[must_use]
    pub fn end_point(&self) -> Option<&[u8]> {
        self.0.as_ref()?.end_point.as_deref()
    }
}
