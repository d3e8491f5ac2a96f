//! Certificates and keys as PEM files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::x509::Certificate;

/// Reads a small file.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Where certificates and keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Our certificate, with those between it and its root behind it.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Certificates whose signature on a peer's is trusted.
    pub ca: Option<PathBuf>,
}

/// TLS cannot be used as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The setting it is about, without its section.
    pub setting: &'static str,
    /// Which file, and what is wrong with it.
    pub problem: String,
    /// What to do.
    pub advice: &'static str,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.setting, self.problem, self.advice)
    }
}

impl std::error::Error for TlsError {}

/// What the files hold.
pub(crate) struct Contents {
    pub(crate) own: Option<Arc<CertifiedKey>>,
    pub(crate) trusted: Vec<CertificateDer<'static>>,
    /// Of all files, so that a change is seen without keeping a key in memory.
    pub(crate) digest: [u8; 32],
}

impl Contents {
    /// The certificates that others may be signed by; `None` if there is no file of them.
    pub(crate) fn roots(&self, files: &Files) -> Result<Option<RootCertStore>, TlsError> {
        let Some(path) = &files.ca else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in &self.trusted {
            let added = roots.add(certificate.clone());
            added.map_err(|error| unfit("ca_file", path, &error.to_string()))?;
        }
        Ok(Some(roots))
    }
}

impl Files {
    /// Reads the files, all of which must be fit for use.
    pub(crate) fn read(&self, read_file: ReadFile<'_>) -> Result<Contents, TlsError> {
        let mut digest = Sha256::new();
        let mut read = |setting, path: &Option<PathBuf>| -> Result<_, TlsError> {
            let Some(path) = path else { return Ok(None) };
            let text = read_file(path).map_err(|error| TlsError {
                setting,
                problem: format!("{} cannot be read: {error}", path.display()),
                advice: "name a file the proxy may read",
            })?;
            digest.update(setting);
            digest.update(Sha256::digest(&text));
            Ok(Some((path.clone(), text)))
        };
        let cert = read("cert_file", &self.cert)?;
        let key = read("key_file", &self.key)?;
        let ca = read("ca_file", &self.ca)?;
        let own = match (cert, key) {
            (Some(cert), Some(key)) => Some(Arc::new(own(&cert, &key)?)),
            (Some(_), None) => return Err(alone("key_file", "cert_file")),
            (None, Some(_)) => return Err(alone("cert_file", "key_file")),
            (None, None) => None,
        };
        let trusted = match ca {
            Some((path, text)) => certificates("ca_file", &path, &text)?,
            None => Vec::new(),
        };
        Ok(Contents {
            own,
            trusted,
            digest: digest.finalize().into(),
        })
    }
}

fn alone(missing: &'static str, given: &str) -> TlsError {
    TlsError {
        setting: missing,
        problem: format!("is missing while `{given}` is given"),
        advice: "a certificate and its key go together",
    }
}

fn unfit(setting: &'static str, path: &Path, what: &str) -> TlsError {
    TlsError {
        setting,
        problem: format!("{}: {what}", path.display()),
        advice: "put a valid file in its place",
    }
}

fn certificates(
    setting: &'static str,
    path: &Path,
    text: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| unfit(setting, path, &format!("is no PEM file: {error}")))?;
    if all.is_empty() {
        return Err(unfit(setting, path, "holds no PEM certificate"));
    }
    if all.iter().any(|der| Certificate::parse(der).is_none()) {
        return Err(unfit(setting, path, "holds a malformed certificate"));
    }
    Ok(all)
}

fn own(cert: &(PathBuf, String), key: &(PathBuf, String)) -> Result<CertifiedKey, TlsError> {
    let chain = certificates("cert_file", &cert.0, &cert.1)?;
    let private = PrivateKeyDer::from_pem_slice(key.1.as_bytes()).map_err(|_| {
        let what = if key.1.contains("ENCRYPTED") {
            "is protected by a passphrase, which the proxy cannot ask for"
        } else {
            "holds no PEM private key"
        };
        unfit("key_file", &key.0, what)
    })?;
    let signing = rustls::crypto::ring::sign::any_supported_type(&private)
        .map_err(|error| unfit("key_file", &key.0, &error.to_string()))?;
    // Not by the library, which refuses certificates of X.509 version 1 at this point.
    let leaf = chain.first().and_then(|der| Certificate::parse(der));
    let public = signing.public_key();
    let differs = leaf.zip(public).is_some_and(|(l, p)| l.key.whole != &*p);
    if differs {
        let what = format!("is not the key of the certificate in {}", cert.0.display());
        return Err(unfit("key_file", &key.0, &what));
    }
    Ok(CertifiedKey::new(chain, signing))
}
