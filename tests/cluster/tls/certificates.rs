//! Certificates for the tests, made by the `openssl` command when they are needed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with certificates and keys.
#[derive(Clone)]
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    /// Below a directory that goes away by itself.
    pub(crate) fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a directory");
        Self(dir.to_path_buf())
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn openssl(&self, line: &str) {
        let mut words = vec![];
        let mut quoted = false;
        for part in line.split('\'') {
            if quoted {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
            quoted = !quoted;
        }
        let output = Command::new("openssl")
            .args(&words)
            .current_dir(&self.0)
            .output();
        let output = output.expect("the tests of TLS need the program openssl");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {line}: {said}");
    }

    /// An authority, whose certificate others are signed by.
    pub(crate) fn authority(&self, name: &str) {
        self.key(name, "EC -pkeyopt ec_paramgen_curve:P-256");
        self.openssl(&format!(
            "req -new -x509 -key {name}.key -out {name}.crt -days 30 -subj '/CN={name} authority'"
        ));
    }

    fn key(&self, name: &str, kind: &str) {
        self.openssl(&format!("genpkey -algorithm {kind} -out {name}.key"));
    }

    /// A certificate `name.crt` with its key `name.key`. Without alternative names it gets no
    /// extensions, and with that version 1.
    pub(crate) fn signed(&self, name: &str, common: &str, alternative: &str, by: &str) {
        self.key(name, "EC -pkeyopt ec_paramgen_curve:P-256");
        self.openssl(&format!(
            "req -new -key {name}.key -out {name}.csr -subj '/O=pgsteer/CN={common}'"
        ));
        let mut line = format!(
            "x509 -req -in {name}.csr -CA {by}.crt -CAkey {by}.key -CAcreateserial -days 30 \
             -out {name}.crt"
        );
        if !alternative.is_empty() {
            let text = format!("subjectAltName={alternative}\n");
            std::fs::write(self.path(&format!("{name}.ext")), text).expect("a file");
            let _ = write!(line, " -extfile {name}.ext");
        }
        self.openssl(&line);
    }

    /// A certificate that signs itself, made as PostgreSQL's manual does it (18.9.5): RSA, and the
    /// host in its subject alone.
    pub(crate) fn self_signed(&self, name: &str, common: &str) {
        self.openssl(&format!(
            "req -new -x509 -days 30 -nodes -newkey rsa:2048 -out {name}.crt -keyout {name}.key \
             -subj '/CN={common}'"
        ));
    }

    /// Puts a certificate and its key in the place of others.
    pub(crate) fn replace(&self, name: &str, by: &str) {
        for kind in ["crt", "key"] {
            let beside = self.path(&format!("{name}.{kind}.new"));
            std::fs::copy(self.path(&format!("{by}.{kind}")), &beside).expect("a copy");
            std::fs::rename(&beside, self.path(&format!("{name}.{kind}"))).expect("in place");
        }
    }
}
