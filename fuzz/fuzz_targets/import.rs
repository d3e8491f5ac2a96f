//! Configuration files of others.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsteer_control::import::{FileKind, InputFile, import, references};

const NAMES: [&str; 7] = [
    "pgpool.conf",
    "pool_hba.conf",
    "pool_passwd",
    "pcp.conf",
    "pgbouncer.ini",
    "userlist.txt",
    "pgcat.toml",
];

fuzz_target!(|data: (u8, &str)| {
    let (which, text) = data;
    let name = NAMES[usize::from(which) % NAMES.len()];
    let file = InputFile {
        name: name.to_owned(),
        kind: FileKind::of_name(name).expect("a known name"),
        text: text.to_owned(),
    };
    let _ = references(&file);
    let _ = import(&[file]);
});
