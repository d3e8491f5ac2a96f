//! Certificates as `openssl` makes them, and as nobody should.

use proptest::prelude::*;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;

/// ECDSA with an alternative name; RSASSA-PSS with SHA-384; version 1, ECDSA with SHA-512; Ed25519.
const SAMPLES: &str = "\
-----BEGIN CERTIFICATE-----
MIIBnDCCAUKgAwIBAgIUdCrp1W1yxa1c7iPmeNqFggqL6mwwCgYIKoZIzj0EAwIw
HDEKMAgGA1UECgwBeDEOMAwGA1UEAwwFYWxpY2UwHhcNMjYxMTI4MTkxOTE2WhcN
MjYxMjI4MTkxOTE2WjAcMQowCAYDVQQKDAF4MQ4wDAYDVQQDDAVhbGljZTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABLPj60WBOuH9Ghckw83wN/4fjWoQ19BbRfPS
6Cw5oL2N7G30b1XlLyB15b3++YDH6P4DvmDcLuFf1THB5O5kg2ajYjBgMB0GA1Ud
DgQWBBRVjCsTfU9GANCCj2HpJOPqZETTTDAfBgNVHSMEGDAWgBRVjCsTfU9GANCC
j2HpJOPqZETTTDAPBgNVHRMBAf8EBTADAQH/MA0GA1UdEQQGMASCAmRiMAoGCCqG
SM49BAMCA0gAMEUCIQC3NNvx2Y/jAZ+zMphIV6D2RxI7VjDI+aTddahBt4L/UwIg
NsPPorva++55aUxLx7dWqF51h0hbfhpXtqT34Vy5vZw=
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIDZzCCAhqgAwIBAgIUCbTEBay9rqy7OGjzIK0v+JzfJ0IwQgYJKoZIhvcNAQEK
MDWgDzANBglghkgBZQMEAgIFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgIF
AKIEAgIAzjAOMQwwCgYDVQQDDANwc3MwHhcNMjYxMTI4MTkxOTE3WhcNMjYxMjI4
MTkxOTE3WjAOMQwwCgYDVQQDDANwc3MwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAw
ggEKAoIBAQC2VGzDaDodpONqpu3ZecpX/HCt0KfE1RdJXH6vooYtJKGNj5u078Y7
85s4ooK4gYFvwVy5vr7ahcBO+wCQYIY5VKWkRk6t9Me6TnwLVlfRrhgg9tzwe6r4
idQySe+ywkOp2/oTCkbhU9mPgIsA4EYK68ajiyDhM8PCa71Vd5C/nyDwF5Wd68rW
QxLjcWpT8wEidbnLQjgDBTOkObDoL2j9OokV14Bw0juyoiwHCD2rJ2MdtzpKhpis
fCetLeNCdQ35TfRzNdH+NubgbpRlJWNV46j3jB8dYBMP8zu9Arp5gUe7rcmZfxN1
cLAFqxyWLmI0OWJjJuah9VL4fE+73bkdAgMBAAGjUzBRMB0GA1UdDgQWBBQ0aJsf
/Cw0Yis7E6zMc9btmOt3aDAfBgNVHSMEGDAWgBQ0aJsf/Cw0Yis7E6zMc9btmOt3
aDAPBgNVHRMBAf8EBTADAQH/MEIGCSqGSIb3DQEBCjA1oA8wDQYJYIZIAWUDBAIC
BQChHDAaBgkqhkiG9w0BAQgwDQYJYIZIAWUDBAICBQCiBAICAM4DggEBAIXdWDkj
xE8Eu2yIeSbagUBD6yHAxQm110yFzt9G6q9mZE9/ddJv3xb43kElnTjqxoRi+/P+
BcO88WwNPOG5eryVHI2an2FFstxmcIvNnyMii/2y76H2jerMJgUwgC4oiv7i2Adr
hMoaoZe96ShR4JO2M7dkosOSy4q70dqsT7FnH0c6YVnON18lLakWAYPsgpictLgl
6TAdiJJdF8WcHuZ7I9HBylED1+U2SH8LiLDuJ4SwVXRu1ttH6VJEXqB3XRUsjHfr
KN/vIkmIYbe3fkUE0GYAgEWccIkavWvKoKK+ltz8iXCX66gyqW0iE171OG2rSyzA
epr+NSCQjsqKlFk=
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBJDCBywIUK6jhgPIvtm8uZxKSJk+g2WmVw1IwCgYIKoZIzj0EAwQwHDEKMAgG
A1UECgwBeDEOMAwGA1UEAwwFYWxpY2UwHhcNMjYxMTI4MTkxOTE3WhcNMjYxMjI4
MTkxOTE3WjAOMQwwCgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAT1mLQZbTi+iitQjJbTuC303S2I32LdqhR86YYPYrKfHzBuVYZivz9QsrQcB81N
lfPAQhPmlui3ZOn4p8/idrMHMAoGCCqGSM49BAMEA0gAMEUCIQDRmiIOHAJrCl3p
31THdsIENrLY4IDW9icxVoirVxUhrAIgbdyraINACojBuf/BU27/OVh59QN4xWNE
NUCJjG2JtxI=
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBLjCB4aADAgECAhRpp0xEjySUDthtc23iORkFFx5BejAFBgMrZXAwDTELMAkG
A1UEAwwCZWQwHhcNMjYxMTI4MTkxOTE3WhcNMjYxMjI4MTkxOTE3WjANMQswCQYD
VQQDDAJlZDAqMAUGAytlcAMhAHh/Ryl50ciNPJEkf8pnbHZyr5351UXUSkH0C/gf
e8dPo1MwUTAdBgNVHQ4EFgQUFJ/2kdKliZfquciepM6xnqgy2WswHwYDVR0jBBgw
FoAUFJ/2kdKliZfquciepM6xnqgy2WswDwYDVR0TAQH/BAUwAwEB/zAFBgMrZXAD
QQAnpNGzuMkCuhorQAXXvdOU6s1nqRajtrNJRZaR5ZgEbT47jbJHgXuhQCQTCVs/
S8UwzDYLF7oR5N0qzJjCmT0P
-----END CERTIFICATE-----
";

/// Their hashes by `sha256sum` and its relatives.
const HASHES: [&str; 3] = [
    "a8a36b6eb37f93bbb6d83aa5656ffc9fa55ccc357532f300da725ec125addecb",
    "46cb61ff753c08035569604a805e1b32b4263a7aa7a820e73f8838320edf13f9\
     11647df303ab8615f7cc3418e5dc06ad",
    "ef690f25eecb0b31526bfecf601629cb153c36bea49aaff0eca217141360e1fc\
     545cf1e4c18c1f7365c95ccf5b29ec77b3081bb55a2edc3d9d666ad12bf79635",
];

fn samples() -> Vec<Vec<u8>> {
    let all = CertificateDer::pem_slice_iter(SAMPLES.as_bytes());
    all.map(|der| der.expect("PEM").to_vec()).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn channels_are_bound_to_the_hash_of_the_signature() {
    let found: Vec<_> = samples().iter().map(|der| end_point(der)).collect();
    for (found, expected) in found.iter().zip(HASHES) {
        assert_eq!(found.as_deref().map(hexadecimal).as_deref(), Some(expected));
    }
    assert_eq!(found.last(), Some(&None), "Ed25519 has none");
}

#[test]
fn subjects_and_extensions_are_found() {
    let samples = samples();
    let parsed: Vec<_> = samples
        .iter()
        .filter_map(|der| Certificate::parse(der))
        .collect();
    let names: Vec<_> = parsed.iter().map(Certificate::common_name).collect();
    assert_eq!(names, [Some("alice"), Some("pss"), Some("old"), Some("ed")]);
    let kinds = parsed
        .iter()
        .map(|one| (one.has_extensions(), one.has_alt_names()));
    let expected = [(true, true), (true, false), (false, false), (true, false)];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}

#[test]
fn a_name_with_a_nul_in_it_is_none() {
    let mut der = samples().swap_remove(0);
    let at = der
        .windows(5)
        .rposition(|w| w == b"alice")
        .expect("the subject");
    der[at + 2] = 0;
    assert_eq!(common_name(&der), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (common_name(&bytes), end_point(&bytes));
    }

    #[test]
    fn no_change_of_a_certificate_makes_it_panic(
        which in 0_usize..4, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut der = samples().swap_remove(which);
        for (index, byte) in changes {
            let at = index.index(der.len());
            der[at] = byte;
        }
        let _ = (common_name(&der), end_point(&der));
        let _ = Certificate::parse(&der).map(|one| one.has_alt_names());
    }
}
