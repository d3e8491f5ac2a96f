//! Relative links of Markdown files lead somewhere.

use std::path::Path;

use crate::{File, Violations};

/// Checks every Markdown file.
pub(crate) fn check(root: &Path, files: &[File], found: &mut Violations) {
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let dir = root.join(&file.path);
        let dir = dir.parent().expect("a file is in a directory");
        for (line, target) in links(&file.text) {
            let path = target.split('#').next().unwrap_or_default();
            if is_relative(target) && !dir.join(path).exists() {
                found.add(&file.path, line, format!("the link {target} leads nowhere"));
            }
        }
    }
}

/// Finds `[text](target)` and `[name]: target` outside of code, with line numbers.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        // Odd pieces are between backticks.
        for piece in line.split('`').step_by(2) {
            for after in piece.split("](").skip(1) {
                let target = after.split([')', ' ']).next().unwrap_or_default();
                found.push((index + 1, target.trim_matches(['<', '>'])));
            }
        }
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
        {
            found.push((index + 1, target.split(' ').next().unwrap_or_default()));
        }
    }
    found
}

fn is_relative(target: &str) -> bool {
    !(target.is_empty() || target.starts_with('#') || target.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "[a](x.md#top) `[b](no)`\n```\n[c](no)\n```\n[d]: y.md\n![p](z.png \"t\")\n";
        assert_eq!(links(text), [(1, "x.md#top"), (5, "y.md"), (6, "z.png")]);
    }

    #[test]
    fn only_relative_links_are_looked_for() {
        let relative: Vec<_> = ["a.md", "#here", "https://x", "mailto:x"]
            .into_iter()
            .filter(|t| is_relative(t))
            .collect();
        assert_eq!(relative, ["a.md"]);
    }
}
