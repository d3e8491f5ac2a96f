//! TLS: one switch and the files that belong to it.

use super::Work;
use super::items::{Answer, Items};
use super::report::Verdict::{CarriedOver, NotNeeded, NotThere, OtherMeaning};
use super::rules::part_of_what_is_off;

/// Answers these parameters. The others that belong to the switch have no setting here.
pub(crate) fn answer(items: &Items, work: &mut Work) {
    if !items.is_on("ssl") {
        if let Some((index, _)) = items.get("ssl") {
            work.draft.set("tls.mode", "disable");
            work.answers
                .insert(index, Answer::to(CarriedOver, "tls.mode", ""));
        }
        for (name, _) in FILES {
            if let Some((index, _)) = items.get(name) {
                work.answers.insert(index, part_of_what_is_off("ssl"));
            }
        }
        return;
    }
    let mut given = 0;
    for (name, settings) in FILES {
        let Some((index, item)) = items.get(name) else {
            continue;
        };
        let path = item.entry.value.trim();
        if path.is_empty() {
            work.answers
                .insert(index, Answer::new(NotNeeded, "it is empty"));
            continue;
        }
        given += usize::from(*name != CA);
        for setting in *settings {
            work.draft.set(setting, path);
        }
        let text = match path.starts_with('/') {
            true => "",
            false => "a path that is not absolute begins where the new file is",
        };
        work.answers
            .insert(index, Answer::to(CarriedOver, &settings.join(", "), text));
    }
    let Some((index, _)) = items.get("ssl") else {
        return;
    };
    let answer = if given == 2 {
        work.draft.set("tls.mode", "prefer");
        let text = "clients may use TLS, as in Pgpool-II; `require` makes them. Nodes that can are talked to with it";
        Answer::to(OtherMeaning, "tls.mode", text)
    } else {
        let text = "give `tls.cert_file` and `tls.key_file`, and set `tls.mode` to `prefer`: ssl_cert and ssl_key do \
                    not say where they are, and without them clients talk in clear text";
        Answer::new(NotThere, text).warn()
    };
    work.answers.insert(index, answer);
}

const CA: &str = "ssl_ca_cert";

/// Parameters with a path, and where it goes.
const FILES: &[(&str, &[&str])] = &[
    ("ssl_cert", &["tls.cert_file"]),
    ("ssl_key", &["tls.key_file"]),
    (CA, &["tls.ca_file", "server_tls.ca_file"]),
];
