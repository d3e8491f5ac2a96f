//! The little the proxy reads in a certificate itself: the name of its subject, its key, and which
//! hash channel binding takes of it. Whether it is to be trusted is decided elsewhere.

use sha2::{Digest, Sha256, Sha384, Sha512};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const BIT_STRING: u8 = 0x03;
/// Context-specific, constructed.
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 1.2.840.113549.1.1, signatures of PKCS #1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4, ECDSA.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
/// 2.16.840.1.101.3.4.2, hashes of SHA-2.
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// DER, element by element.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Element<'a>> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (len, header) = match first {
            0..=0x7f => (usize::from(first), 2),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let digits = rest.get(..count)?.iter();
                let len = digits.fold(0_usize, |len, &digit| len << 8 | usize::from(digit));
                (len, 2 + count)
            }
            _ => return None,
        };
        let end = header.checked_add(len)?;
        let (whole, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        let content = whole.get(header..)?;
        Some(Element {
            tag,
            content,
            whole,
        })
    }

    fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }
}

/// The key of a certificate.
#[derive(Clone, Copy)]
pub(crate) struct PublicKey<'a> {
    /// SubjectPublicKeyInfo.
    pub(crate) whole: &'a [u8],
    /// Its AlgorithmIdentifier without tag and length.
    pub(crate) algorithm: &'a [u8],
    /// The key itself.
    pub(crate) bits: &'a [u8],
}

/// The parts of a certificate.
#[derive(Clone, Copy)]
pub(crate) struct Certificate<'a> {
    subject: &'a [u8],
    pub(crate) key: PublicKey<'a>,
    extensions: Option<&'a [u8]>,
    signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Takes it apart; `None` if it is malformed.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(Reader(der).expect(SEQUENCE)?.content);
        let mut inner = Reader(outer.expect(SEQUENCE)?.content);
        let signature = outer.expect(SEQUENCE)?.content;
        let mut ahead = inner;
        if ahead.next()?.tag == CONTEXT_0 {
            inner = ahead;
        }
        // Serial number, signature algorithm, issuer, validity.
        for _ in 0..4 {
            inner.next()?;
        }
        let subject = inner.expect(SEQUENCE)?.content;
        let key = inner.expect(SEQUENCE)?;
        let mut parts = Reader(key.content);
        let algorithm = parts.expect(SEQUENCE)?.content;
        let (&unused, bits) = parts.expect(BIT_STRING)?.content.split_first()?;
        let key = PublicKey {
            whole: key.whole,
            algorithm,
            bits: (unused == 0).then_some(bits)?,
        };
        let rest = std::iter::from_fn(|| inner.next());
        let extensions = rest.filter(|e| e.tag == CONTEXT_3).last();
        let extensions = match extensions {
            Some(element) => Some(Reader(element.content).expect(SEQUENCE)?.content),
            None => None,
        };
        Some(Self {
            subject,
            key,
            extensions,
            signature,
        })
    }

    /// The first common name of the subject; `None` without one, and for one with a NUL in it, which
    /// somebody would read up to there.
    pub(crate) fn common_name(&self) -> Option<&'a str> {
        let mut names = Reader(self.subject);
        while let Some(set) = names.expect(SET) {
            let mut attributes = Reader(set.content);
            while let Some(attribute) = attributes.expect(SEQUENCE) {
                let mut pair = Reader(attribute.content);
                if pair.expect(OID)?.content != COMMON_NAME {
                    continue;
                }
                let value = pair.next()?;
                // UTF8String, PrintableString, TeletexString, IA5String.
                let plain = matches!(value.tag, 0x0c | 0x13 | 0x14 | 0x16);
                let text = std::str::from_utf8(value.content).ok()?;
                return (plain && !text.contains('\0')).then_some(text);
            }
        }
        None
    }

    /// Whether it says in another place than its subject what it is for.
    pub(crate) fn has_alt_names(&self) -> bool {
        let mut extensions = Reader(self.extensions.unwrap_or_default());
        std::iter::from_fn(|| extensions.next()).any(|extension| {
            let id = Reader(extension.content).next();
            id.is_some_and(|id| id.content == SUBJECT_ALT_NAME)
        })
    }

    /// Whether it can have extensions: version 1 has none, and libraries but OpenSSL refuse it.
    pub(crate) fn has_extensions(&self) -> bool {
        self.extensions.is_some()
    }

    fn hash(&self) -> Option<Hash> {
        let mut parts = Reader(self.signature);
        let id = parts.expect(OID)?.content;
        if let Some(kind) = id.strip_prefix(RSA) {
            return match kind {
                // With MD5 and SHA-1, which RFC 5929 has replaced here.
                [4 | 5 | 11] => Some(Hash::Sha256),
                [12] => Some(Hash::Sha384),
                [13] => Some(Hash::Sha512),
                [10] => pss_hash(parts),
                _ => None,
            };
        }
        match id.strip_prefix(ECDSA)? {
            [1] | [3, 2] => Some(Hash::Sha256),
            [3, 3] => Some(Hash::Sha384),
            [3, 4] => Some(Hash::Sha512),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The hash that RSASSA-PSS names in its parameters; SHA-1 if it names none.
fn pss_hash(mut parts: Reader<'_>) -> Option<Hash> {
    let mut parameters = Reader(parts.expect(SEQUENCE)?.content);
    let Some(first) = parameters.expect(CONTEXT_0) else {
        return Some(Hash::Sha256);
    };
    let id = Reader(Reader(first.content).expect(SEQUENCE)?.content).expect(OID)?;
    match id.content.strip_prefix(SHA2) {
        Some([1]) => Some(Hash::Sha256),
        Some([2]) => Some(Hash::Sha384),
        Some([3]) => Some(Hash::Sha512),
        Some(_) => None,
        None => Some(Hash::Sha256),
    }
}

/// The first common name of a certificate's subject.
#[must_use]
pub fn common_name(der: &[u8]) -> Option<&str> {
    Certificate::parse(der)?.common_name()
}

/// What `tls-server-end-point` binds to (RFC 5929, section 4.1): a hash of the server's
/// certificate. `None` where none is defined, as for Ed25519.
#[must_use]
pub fn end_point(der: &[u8]) -> Option<Box<[u8]>> {
    Some(match Certificate::parse(der)?.hash()? {
        Hash::Sha256 => Box::from(Sha256::digest(der).as_slice()),
        Hash::Sha384 => Box::from(Sha384::digest(der).as_slice()),
        Hash::Sha512 => Box::from(Sha512::digest(der).as_slice()),
    })
}

#[cfg(test)]
#[path = "x509_tests.rs"]
mod tests;
