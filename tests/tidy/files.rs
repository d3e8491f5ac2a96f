//! Rules about any text file: length, white space, characters, paths of one machine.

use crate::{File, Violations};

/// Checks every file.
pub(crate) fn check(files: &[File], found: &mut Violations) {
    for file in files {
        if CLEAN_ENDINGS
            .iter()
            .any(|ending| file.path.ends_with(ending))
        {
            check_characters(file, found);
        }
        check_machine_paths(file, found);
    }
    check_length(files, found);
}

fn check_characters(file: &File, found: &mut Violations) {
    for (index, line) in file.text.lines().enumerate() {
        if line.ends_with(char::is_whitespace) {
            found.add(&file.path, index + 1, "white space at the end of the line");
        }
        if let Some(odd) = line.chars().find(|character| character.is_control()) {
            found.add(&file.path, index + 1, format!("control character {odd:?}"));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        found.add(
            &file.path,
            file.text.lines().count(),
            "no line end at the end of the file",
        );
    }
}

/// Directories of the machines this is developed on mean nothing anywhere else.
fn check_machine_paths(file: &File, found: &mut Violations) {
    // In pieces, so that this file does not violate its own rule.
    let foreign = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tmp", "/wt"),
    ];
    for (index, line) in file.text.lines().enumerate() {
        for path in foreign {
            // `https://host/work/` and `../work/` are no absolute paths.
            let is_absolute = |(at, _): (usize, &str)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-/".contains(c))
            };
            if line.match_indices(path).any(is_absolute) {
                found.add(
                    &file.path,
                    index + 1,
                    format!("absolute path of one machine: {path}"),
                );
            }
        }
    }
}

/// Files over the limit are listed with a reason; a line that is no longer needed must go.
fn check_length(files: &[File], found: &mut Violations) {
    let listed = files.iter().find(|file| file.path == EXCEPTIONS);
    let mut excepted = Vec::new();
    for (index, line) in listed.iter().flat_map(|file| file.text.lines().enumerate()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(' ') {
            Some((path, reason)) if !reason.trim().is_empty() => excepted.push((index + 1, path)),
            _ => found.add(EXCEPTIONS, index + 1, "an exception is `path reason`"),
        }
    }
    let is_long = |file: &File| file.path.ends_with(".rs") && file.text.lines().count() > LINES_MAX;
    for (line, path) in &excepted {
        if !files.iter().any(|file| file.path == *path && is_long(file)) {
            found.add(EXCEPTIONS, *line, format!("{path} needs no exception"));
        }
    }
    for file in files.iter().filter(|file| is_long(file)) {
        if !excepted.iter().any(|(_, path)| *path == file.path) {
            let count = file.text.lines().count();
            found.add(
                &file.path,
                count,
                format!("{count} lines, at most {LINES_MAX}: split it"),
            );
        }
    }
}

const CLEAN_ENDINGS: [&str; 5] = [".rs", ".toml", ".md", ".wit", ".sh"];
const EXCEPTIONS: &str = "tests/tidy-exceptions.txt";
const LINES_MAX: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(files: &[(&str, String)]) -> Vec<String> {
        let mut found = Violations::default();
        let file = |(path, text): &(&str, String)| File {
            path: (*path).to_owned(),
            text: text.clone(),
        };
        check(&files.iter().map(file).collect::<Vec<_>>(), &mut found);
        found.0
    }

    #[test]
    fn characters_and_paths() {
        let text = format!("a \n\tb\nsee {}x\nfine: ../work/x\n", concat!("/wo", "rk/"));
        let found = violations(&[("a.md", text)]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("a.md:1:") && found[1].starts_with("a.md:2:"),
            "{found:?}"
        );
        assert!(found[2].starts_with("a.md:3:"), "{found:?}");
    }

    #[test]
    fn long_files_need_an_exception_and_short_ones_none() {
        let long = "//\n".repeat(801);
        let listed = "long.rs generated\nshort.rs was long\n".to_owned();
        assert_eq!(violations(&[("long.rs", long.clone())]).len(), 1);
        let found = violations(&[("long.rs", long), (EXCEPTIONS, listed)]);
        assert_eq!(
            found,
            [format!("{EXCEPTIONS}:2: short.rs needs no exception")]
        );
    }
}
