//! `pool_passwd` becomes `[[users]]`, `pcp.conf` `[[pcp_users]]`.

use super::draft::Draft;
use super::items::{Answer, Items};
use super::report::Line;
use super::report::Verdict::{CarriedOver, NotNeeded, NotThere, OtherMeaning};
use super::{FileKind, InputFile, Work, mistake};
use crate::config::ConfigError;
use crate::config::userlist::{self, Stored};
use crate::pcp;

/// An entry of `pool_passwd` with its file.
pub(crate) type Password = (String, userlist::Entry);

/// Reads all files of passwords and notes every line that cannot be read.
pub(crate) fn read(files: &[InputFile], mistakes: &mut Vec<ConfigError>) -> Vec<Password> {
    let mut all = Vec::new();
    for file in files {
        if ![FileKind::Passwd, FileKind::Pcp].contains(&file.kind) {
            continue;
        }
        let (entries, problems) = userlist::parse(&file.text);
        for (line, problem) in problems {
            mistakes.push(mistake(
                &file.name,
                line,
                problem,
                "correct it, or remove the line",
            ));
        }
        if file.kind == FileKind::Passwd {
            all.extend(entries.into_iter().map(|entry| (file.name.clone(), entry)));
        }
    }
    all
}

/// Takes over the users. Of several entries for one name Pgpool-II takes the first.
pub(crate) fn answer(passwords: &[Password], work: &mut Work) {
    for (file, entry) in passwords {
        let name = &entry.name;
        let draft = &mut work.draft;
        let is_known = draft.users.iter().any(|(known, _)| known == name)
            || draft.users_stored.iter().any(|(known, _)| known == name)
            || draft.users_without.iter().any(|(known, _)| known == name);
        let (verdict, text, is_warning) = match &entry.password {
            _ if is_known => (
                NotNeeded,
                "an earlier line is for this user and counts".to_owned(),
                false,
            ),
            Stored::Plain(password) => {
                draft.users.push((name.clone(), password.clone()));
                (
                    CarriedOver,
                    "[[users]] with name and password".to_owned(),
                    false,
                )
            }
            Stored::Md5(stored) | Stored::Scram(stored) => {
                draft.users_stored.push((name.clone(), stored.clone()));
                let how = entry.password.how();
                let text = format!(
                    "[[users]] with name and verifier, which is {how}: it logs in to nodes that store \
                     the same"
                );
                (CarriedOver, text, false)
            }
            Stored::Aes | Stored::Nothing => {
                let how = entry.password.how();
                draft.users_without.push((name.clone(), how));
                let text = format!(
                    "the password is {how}: fill in [[users]] (`password`, `password_file` or \
                     `verifier`); until then this user cannot log in"
                );
                (NotThere, text, true)
            }
        };
        work.report.lines.push(Line {
            place: format!("{file}:{}", entry.line),
            subject: format!("user {name}"),
            verdict,
            text,
            is_warning,
        });
    }
}

/// Answers `pool_passwd` and says if nobody could log in.
pub(crate) fn answer_keys(items: &Items, files: &[InputFile], work: &mut Work) {
    let is_given = files.iter().any(|file| file.kind == FileKind::Passwd);
    if let Some((index, item)) = items.get("pool_passwd") {
        let answer = if is_given {
            let count = work.draft.users.len() + work.draft.users_stored.len();
            Answer::new(CarriedOver, format!("[[users]], {count} of them"))
        } else if item.entry.value.is_empty() {
            Answer::new(
                OtherMeaning,
                "users are always needed: write them in [[users]]",
            )
            .warn()
        } else {
            let text = "give the file to the import as well; users are in [[users]] here";
            Answer::new(OtherMeaning, text).warn()
        };
        work.answers.insert(index, answer);
    }
    if work.draft.users.is_empty() && work.draft.users_stored.is_empty() {
        work.report.to_do.push(
            "fill in [[users]] with name and password: without a user nobody can log in, the proxy \
             logs in to the nodes with them"
                .to_owned(),
        );
    }
    if !work.draft.users_without.is_empty() {
        let names: Vec<_> = work
            .draft
            .users_without
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let text = format!("fill in the passwords of {} in [[users]]", names.join(", "));
        work.report.to_do.push(text);
    }
}

/// Takes over the users of the tools, and says so, one line for each.
pub(crate) fn pcp(files: &[InputFile], draft: &mut Draft) -> Vec<Line> {
    let mut lines = Vec::new();
    for file in files.iter().filter(|file| file.kind == FileKind::Pcp) {
        let (entries, _) = userlist::parse(&file.text);
        for entry in entries {
            let is_known = draft
                .pcp_users
                .iter()
                .any(|(known, _)| *known == entry.name);
            let (verdict, text, is_warning) = match &entry.password {
                _ if is_known => (
                    NotNeeded,
                    "an earlier line is for this user and counts",
                    false,
                ),
                Stored::Plain(hash) if pcp::is_digest(hash) => {
                    draft.pcp_users.push((entry.name.clone(), hash.clone()));
                    (CarriedOver, "[[pcp_users]] with name and md5", false)
                }
                _ => (
                    NotThere,
                    "what stands there is no MD5 of a password, so this user cannot log in, as in \
                     Pgpool-II",
                    true,
                ),
            };
            lines.push(Line {
                place: format!("{}:{}", file.name, entry.line),
                subject: format!("PCP user {}", entry.name),
                verdict,
                text: text.to_owned(),
                is_warning,
            });
        }
    }
    lines
}
