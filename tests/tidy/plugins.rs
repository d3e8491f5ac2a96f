//! The pages about plugins name everything there is: keys of the file beside a component, grants,
//! hooks, states, and the plugins of this repository.

use crate::{File, Violations};

/// A page, a source, and what stands before and behind a list of quoted names in it.
const LISTS: [(&str, &str, &str, &str); 6] = [
    (PLUGINS, BESIDE, "const LIMITS", "];"),
    (PLUGINS, BESIDE, "const ROLLOUT", "];"),
    (PLUGINS, HOOKS, "const NAMED: [(Self", "];"),
    (PLUGINS, HOOKS, "pub const NAMED", "];"),
    ("docs/plugin-safety.md", HOOKS, "pub const NAMED", "];"),
    ("docs/console.md", STATES, "pub fn name", "\n    }\n"),
];

const PLUGINS: &str = "docs/plugins.md";
const BESIDE: &str = "crates/pgsteer-control/src/plugins/beside.rs";
const HOOKS: &str = "crates/pgsteer-core/src/policy/hooks.rs";
const STATES: &str = "crates/pgsteer-core/src/policy/set.rs";

/// Checks all of it.
pub(crate) fn check(files: &[File], found: &mut Violations) {
    let text = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        file.map_or("", |file| file.text.as_str())
    };
    for (page, path, start, end) in LISTS {
        let names = names(text(path), start, end);
        if names.is_empty() {
            found.add(path, 1, format!("`{start}` is not here any more"));
        }
        for name in names.iter().filter(|name| !is_named(text(page), name)) {
            found.add(page, 1, format!("says nothing about `{name}` of {path}"));
        }
    }
    for file in files {
        let page = file.path.strip_prefix("plugins/");
        if page.is_some_and(|page| page.ends_with("/README.md"))
            && !text(PLUGINS).contains(&format!("(../{})", file.path))
        {
            found.add(PLUGINS, 1, format!("has no link to {}", file.path));
        }
    }
}

/// Quoted names between two pieces of a source.
fn names<'a>(source: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    let rest = source.split_once(start).map_or("", |(_, rest)| rest);
    let list = rest.split(end).next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).collect()
}

/// Whether the name stands in the page as a word of code: a line of an example, or between
/// backticks.
fn is_named(page: &str, name: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    page.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&page[..at], &page[at + name.len()..]);
        let starts = !before.chars().next_back().is_some_and(is_inside);
        let ends = !behind.chars().next().is_some_and(is_inside);
        let is_marked = before.ends_with('`') && behind.starts_with('`');
        let is_key = before.ends_with('\n') && behind.starts_with(" = ");
        starts && ends && (is_marked || is_key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_lists() {
        let source = "const A: [&str; 2] = [\"a\", \"b-c\"];\nconst B: &str = \"d\";\n";
        assert_eq!(names(source, "const A", "];"), ["a", "b-c"]);
        assert!(names(source, "const C", "];").is_empty());
    }

    #[test]
    fn a_word_in_prose_is_not_enough() {
        assert!(is_named("the grant `log` is", "log"));
        assert!(is_named("[limits]\nlog = 1\n", "log"));
        assert!(!is_named("the log, `log_lines` and\nlogs = 1", "log"));
    }

    #[test]
    fn what_is_left_out_is_reported() {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let hooks = "const NAMED: [(Self, &str); 1] = [(A, \"a\")];\n\
                     pub const NAMED: [(Self, &str); 1] = [(B, \"b\")];\n";
        let files = [
            file(PLUGINS, "`a` `c` `d` [x](../plugins/x/README.md)\n"),
            file("docs/plugin-safety.md", "`b`\n"),
            file("docs/console.md", "`e`\n"),
            file(BESIDE, "const LIMITS: [\"c\"];\nconst ROLLOUT: [\"d\"];\n"),
            file(HOOKS, hooks),
            file(STATES, "    pub fn name(self) {\n        \"e\"\n    }\n"),
            file("plugins/x/README.md", ""),
            file("plugins/y/README.md", ""),
        ];
        let mut found = Violations::default();
        check(&files, &mut found);
        assert_eq!(
            found.0,
            [
                format!("{PLUGINS}:1: says nothing about `b` of {HOOKS}"),
                format!("{PLUGINS}:1: has no link to plugins/y/README.md"),
            ]
        );
    }
}
