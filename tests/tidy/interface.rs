//! Makes `docs/plugin-interface.md` from `wit/`, and holds the page to it.

use std::path::Path;

use crate::{File, Violations};

/// The page, and what it is made from: the released file first.
const PAGE: &str = "docs/plugin-interface.md";
const SOURCES: [&str; 2] = ["wit/v0.1/plugin.wit", "wit/v0.1/failover.wit"];

const ADVICE: &str = "is not what wit/ says; make it anew with \
                      PGSTEER_UPDATE_DOCS=1 cargo test -p pgsteer-tests --test tidy";

/// Compares the page with what it should be, or writes it.
pub(crate) fn check(root: &Path, files: &[File], found: &mut Violations) {
    if std::env::var_os("PGSTEER_UPDATE_DOCS").is_some() {
        std::fs::write(root.join(PAGE), expected(files)).expect("the page can be written");
    } else {
        compare(files, found);
    }
}

fn compare(files: &[File], found: &mut Violations) {
    let (page, expected) = (text_of(PAGE, files), expected(files));
    if page != expected {
        let lines = page.lines().zip(expected.lines());
        let same = lines.take_while(|(is, should_be)| is == should_be);
        found.add(PAGE, same.count() + 1, ADVICE);
    }
}

fn expected(files: &[File]) -> String {
    page(&SOURCES.map(|path| (path, text_of(path, files))))
}

fn text_of<'a>(path: &str, files: &'a [File]) -> &'a str {
    let file = files.iter().find(|file| file.path == path);
    file.map_or("", |file| file.text.as_str())
}

const INTRODUCTION: &str = "\
# The plugin interface

Made from the files named below by a test, `tests/tidy/interface.rs`: change those, not this page. [Plugins](plugins.md) explains how the
parts work together, [what a plugin can do to you](plugin-safety.md) what the proxy makes of the answers.
";

/// The page made from these files.
fn page(sources: &[(&str, &str)]) -> String {
    let mut page = Page {
        text: INTRODUCTION.to_owned(),
        ..Page::default()
    };
    for (path, source) in sources {
        page.line(&format!("\nFrom [{path}](../{path})."));
        for line in statements(source) {
            page.take(line);
        }
    }
    page.text
}

/// A line of a file that means something by itself.
#[derive(Debug, PartialEq)]
enum Line {
    /// `/// text`, about what follows.
    Doc(String),
    /// `// text`.
    Comment(String),
    Blank,
    /// Up to `{`, `}`, `;` or `,`.
    Code(String),
}

fn statements(source: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut code = String::new();
    for line in source.lines().map(str::trim) {
        let text = |rest: &str| rest.strip_prefix(' ').unwrap_or(rest).to_owned();
        if let Some(rest) = line.strip_prefix("///") {
            lines.push(Line::Doc(text(rest)));
        } else if let Some(rest) = line.strip_prefix("//") {
            lines.push(Line::Comment(text(rest)));
        } else if line.is_empty() {
            lines.push(Line::Blank);
        } else {
            if !code.is_empty() {
                code.push(' ');
            }
            code.push_str(line);
            let is_open = code.matches('(').count() > code.matches(')').count();
            if !is_open && line.ends_with(['{', '}', ';', ',']) {
                lines.push(Line::Code(std::mem::take(&mut code)));
            }
        }
    }
    lines
}

/// A type with parts, or a world.
#[derive(Debug)]
struct Block {
    kind: String,
    parts: Vec<Part>,
}

/// A field, a case, a line of a world.
#[derive(Debug)]
struct Part {
    name: String,
    /// Its type.
    holds: String,
    docs: String,
}

#[derive(Debug, Default)]
struct Page {
    text: String,
    /// Documentation that waits for what it is about.
    docs: Vec<String>,
    /// Lines of a comment that become a paragraph.
    comment: Vec<String>,
    block: Option<Block>,
    has_worlds: bool,
}

impl Page {
    fn take(&mut self, line: Line) {
        let comment = match line {
            Line::Comment(text) => {
                self.comment.push(text);
                return;
            }
            _ => std::mem::take(&mut self.comment),
        };
        match comment.as_slice() {
            [title, rest @ ..] if title.starts_with("---") => {
                let title = title.trim_start_matches('-').trim();
                self.heading(&format!("## {}", capitalized(title)));
                let rest = rest.iter().skip_while(|line| line.is_empty());
                self.prose(&rest.cloned().collect::<Vec<_>>());
            }
            lines => self.prose(lines),
        }
        match line {
            Line::Doc(text) => self.docs.push(text),
            Line::Code(code) => self.code(&code),
            Line::Comment(_) | Line::Blank => {}
        }
    }

    fn code(&mut self, code: &str) {
        if self.block.is_none() {
            self.item(code);
        } else if code == "}" {
            self.end_block();
        } else if let Some(block) = &mut self.block {
            let docs = std::mem::take(&mut self.docs).join(" ");
            block.parts.push(part(code, docs));
        }
    }

    fn item(&mut self, code: &str) {
        let (word, rest) = code.split_once(' ').unwrap_or((code, ""));
        match word {
            // The end of an interface.
            "}" => {}
            "package" => {
                let name = rest.trim_end_matches(';');
                self.heading(&format!("## Package `{name}`"));
            }
            "interface" => self.heading(&format!("### `{}`", name_of(rest))),
            "use" => {
                let names = rest.trim_end_matches(['}', ';']);
                let (from, names) = names.split_once(".{").unwrap_or(("", names));
                let names = listed(names.split(',').map(str::trim));
                self.line(&format!("\nUses {names} of `{from}`."));
            }
            "type" => {
                let code = rest.trim_end_matches(';');
                let (name, kind) = code.split_once(" = ").unwrap_or((code, ""));
                self.heading(&format!("#### type `{name}`: `{kind}`"));
            }
            "record" | "variant" | "enum" => {
                self.heading(&format!("#### {word} `{}`", name_of(rest)));
                self.begin_block(word, rest);
            }
            "world" => {
                if !self.has_worlds {
                    self.has_worlds = true;
                    self.line("\n## Worlds");
                }
                self.heading(&format!("### world `{}`", name_of(rest)));
                self.begin_block(word, rest);
            }
            _ => self.function(code),
        }
    }

    fn function(&mut self, code: &str) {
        let name = code.split(':').next().unwrap_or_default();
        let docs = std::mem::take(&mut self.docs);
        self.heading(&format!("#### `{name}`"));
        let signature = code.trim_end_matches(';');
        self.line(&format!("\n```wit\n{signature}\n```"));
        self.prose(&docs);
    }

    fn begin_block(&mut self, kind: &str, rest: &str) {
        let (_, inside) = rest.split_once('{').unwrap_or_default();
        let all = inside.strip_suffix('}').map(|inside| {
            let parts = inside
                .split(',')
                .map(|code| part(code.trim(), String::new()));
            parts.collect()
        });
        let is_whole = all.is_some();
        self.block = Some(Block {
            kind: kind.to_owned(),
            parts: all.unwrap_or_default(),
        });
        if is_whole {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let Some(Block { kind, parts }) = self.block.take() else {
            return;
        };
        let is_plain = parts.iter().all(|part| part.docs.is_empty());
        match kind.as_str() {
            "world" => {
                for (word, verb) in VERBS {
                    let of = parts.iter().filter(|part| part.name == word);
                    let names = listed(of.map(|part| part.holds.as_str()));
                    if !names.is_empty() {
                        self.line(&format!("\n{verb} {names}."));
                    }
                }
            }
            "enum" if is_plain => {
                let names = listed(parts.iter().map(|part| part.name.as_str()));
                self.line(&format!("\nOne of {names}."));
            }
            "enum" => self.table("| value | | meaning |", &parts),
            "variant" => self.table("| case | holds | meaning |", &parts),
            _ => self.table("| field | type | meaning |", &parts),
        }
    }

    fn table(&mut self, head: &str, parts: &[Part]) {
        self.line(&format!("\n{head}\n|---|---|---|"));
        for Part { name, holds, docs } in parts {
            let holds = match holds.as_str() {
                "" => String::new(),
                holds => format!(" `{holds}`"),
            };
            let docs = match docs.replace('|', "\\|") {
                docs if docs.is_empty() => docs,
                docs => format!(" {docs}"),
            };
            self.line(&format!("| `{name}` |{holds} |{docs} |"));
        }
    }

    /// A heading, and the documentation that waits.
    fn heading(&mut self, heading: &str) {
        self.line(&format!("\n{heading}"));
        let docs = std::mem::take(&mut self.docs);
        self.prose(&docs);
    }

    /// Lines as they are; those that begin with a number are a table made by hand.
    fn prose(&mut self, lines: &[String]) {
        let mut is_in_table = false;
        for (index, line) in lines.iter().enumerate() {
            let is_table = line.trim_start().starts_with(|c: char| c.is_ascii_digit());
            if is_in_table && !is_table {
                self.line("```");
            }
            if index == 0 || is_in_table != is_table {
                self.line(if is_table { "\n```text" } else { "" });
            }
            is_in_table = is_table;
            self.line(line);
        }
        if is_in_table {
            self.line("```");
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

const VERBS: [(&str, &str); 3] = [
    ("include", "Includes"),
    ("import", "Imports"),
    ("export", "Exports"),
];

/// `name: type,`, `case(type),`, `case,`, `import name;`.
fn part(code: &str, docs: String) -> Part {
    let code = code.trim_end_matches([',', ';']);
    let (name, holds) = match code.find([':', '(', ' ']) {
        Some(at) => (&code[..at], code[at + 1..].trim()),
        None => (code, ""),
    };
    let is_case = code[name.len()..].starts_with('(');
    let holds = match holds.strip_suffix(')') {
        Some(holds) if is_case => holds,
        _ => holds,
    };
    Part {
        name: name.to_owned(),
        holds: holds.to_owned(),
        docs,
    }
}

/// What stands before the brace.
fn name_of(code: &str) -> &str {
    code.split('{').next().unwrap_or_default().trim()
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIT: &str = "\
// A package.
package a:b@1.0.0;

interface i {
  use types.{x, y};
  /// A number.
  ///  0 none   1 one
  type t = u16;
  record r {
    /// Some `text`,
    /// or none.
    f: option<string>,
    g: u8,
  }
  record s { f: u8, g: u16 }
}

// ---------- more of it
//
// Quite a lot.

interface j {
  variant v {
    none,
    /// This | that.
    some(list<u8>),
  }
  enum e { a, b }
  /// Does it.
  f: func(
    a: u8,
    b: tuple<u8, u8>
  ) -> result<_, string>;
}

/// All.
world w {
  import i;
  export j;
}
";

    const PAGE_OF_IT: &str = "
From [x.wit](../x.wit).

A package.

## Package `a:b@1.0.0`

### `i`

Uses `x`, `y` of `types`.

#### type `t`: `u16`

A number.

```text
 0 none   1 one
```

#### record `r`

| field | type | meaning |
|---|---|---|
| `f` | `option<string>` | Some `text`, or none. |
| `g` | `u8` | |

#### record `s`

| field | type | meaning |
|---|---|---|
| `f` | `u8` | |
| `g` | `u16` | |

## More of it

Quite a lot.

### `j`

#### variant `v`

| case | holds | meaning |
|---|---|---|
| `none` | | |
| `some` | `list<u8>` | This \\| that. |

#### enum `e`

One of `a`, `b`.

#### `f`

```wit
f: func( a: u8, b: tuple<u8, u8> ) -> result<_, string>
```

Does it.

## Worlds

### world `w`

All.

Imports `i`.

Exports `j`.
";

    #[test]
    fn a_page_says_what_the_file_says() {
        let page = page(&[("x.wit", WIT)]);
        let page = page.strip_prefix(INTRODUCTION).expect("it is introduced");
        assert_eq!(page, PAGE_OF_IT);
    }

    #[test]
    fn a_stale_page_is_found_with_its_line() {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let fresh = page(&[(SOURCES[0], WIT), (SOURCES[1], "")]);
        let old = fresh.replace("| `g` | `u8` | |\n", "");
        for (text, expected) in [(&fresh, None), (&old, Some("docs/plugin-interface.md:29:"))] {
            let files = [file(SOURCES[0], WIT), file(PAGE, text)];
            let mut found = Violations::default();
            compare(&files, &mut found);
            match (found.0.as_slice(), expected) {
                ([], None) => {}
                ([line], Some(start)) => assert!(line.starts_with(start), "{line}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
