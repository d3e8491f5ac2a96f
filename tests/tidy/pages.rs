//! Pages written by hand name everything they are about: columns and commands of the console,
//! subcommands and options of the command line. Found by looking at the text of the sources.

use std::collections::BTreeSet;

use crate::{File, Violations};

/// Checks `docs/console.md` and `docs/cli.md`.
pub(crate) fn check(files: &[File], found: &mut Violations) {
    let source = |path: &str| files.iter().find(|file| file.path == path);
    for (page, path, named) in PAGES {
        let (Some(page), Some(file)) = (source(page), source(path)) else {
            found.add(page, 1, format!("this page, or {path}, is missing"));
            continue;
        };
        let names = named(code(&file.text));
        if names.is_empty() {
            found.add(path, 1, "nothing to describe was found here any more");
        }
        let words = code_words(&page.text);
        for name in names.iter().filter(|name| !words.contains(name.as_str())) {
            found.add(
                &page.path,
                1,
                format!("says nothing about `{name}` of {path}"),
            );
        }
    }
}

/// What knows the built-in router's keys besides the router itself: the sample configuration and
/// the console. They must have all of them.
pub(crate) fn check_router_keys(files: &[File], found: &mut Violations) {
    let source = |path: &str| files.iter().find(|file| file.path == path);
    let Some(router) = source(ROUTER_KEYS) else {
        found.add(
            ROUTER_KEYS,
            1,
            "the keys of the router are not here any more",
        );
        return;
    };
    let list = router.text.split("pub const KEYS").nth(1);
    let keys = quoted(list.and_then(|l| l.split("];").next()).unwrap_or_default());
    if keys.is_empty() {
        found.add(ROUTER_KEYS, 1, "no keys were found here any more");
    }
    for (path, shown) in KNOWS_ROUTER_KEYS {
        let text = source(path).map_or("", |file| file.text.as_str());
        for key in keys
            .iter()
            .filter(|key| !text.contains(&shown.replace("KEY", key)))
        {
            found.add(path, 1, format!("says nothing about the router's {key}"));
        }
    }
}

const ROUTER_KEYS: &str = "plugins/pgpool-router/src/parameters.rs";
const KNOWS_ROUTER_KEYS: [(&str, &str); 2] = [
    ("config/pgsteer.toml", "# KEY = "),
    ("crates/pgsteer-session/src/console/router.rs", "\"KEY\","),
];

type Names = fn(&str) -> Vec<String>;

/// A page, the source it describes, and what that source offers.
const PAGES: [(&str, &str, Names); 10] = [
    (
        "docs/console.md",
        "crates/pgsteer-session/src/console/admin/columns.rs",
        quoted,
    ),
    (
        "docs/console.md",
        "crates/pgsteer-session/src/console/admin/command.rs",
        shows,
    ),
    (
        "docs/console.md",
        "crates/pgsteer-session/src/console/columns.rs",
        columns,
    ),
    (
        "docs/console.md",
        "crates/pgsteer-sql/src/console.rs",
        console_commands,
    ),
    ("docs/cli.md", "crates/pgsteer-proxy/src/cli.rs", options),
    (
        "docs/cli.md",
        "crates/pgsteer-proxy/src/cli.rs",
        subcommands,
    ),
    (
        "docs/cli.md",
        "crates/pgsteer-proxy/src/plugin/args.rs",
        options,
    ),
    (
        "docs/cli.md",
        "crates/pgsteer-proxy/src/plugin/args.rs",
        subcommands,
    ),
    (
        "docs/cli.md",
        "crates/pgsteer-proxy/src/admin/mod.rs",
        options,
    ),
    (
        "docs/cli.md",
        "crates/pgsteer-proxy/src/node/mod.rs",
        subcommands,
    ),
];

/// The source without its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// Words between backticks, in lines and in blocks of code.
fn code_words(page: &str) -> BTreeSet<&str> {
    let is_between = |c: char| c.is_whitespace() || "=,|()[]<>".contains(c);
    // Odd pieces are between backticks; three of them count as one.
    let pieces = page.split('`').skip(1).step_by(2);
    pieces.flat_map(|piece| piece.split(is_between)).collect()
}

/// Texts in lists such as `&["a", "b"]`.
fn columns(source: &str) -> Vec<String> {
    let lists = source.split("&[").skip(1);
    let lists = lists.filter_map(|after| after.split(']').next());
    lists.flat_map(quoted).collect()
}

/// What can be shown: `("a", Self::A)`, in capitals as the page has it.
fn shows(source: &str) -> Vec<String> {
    let pairs = source.lines().filter(|line| line.contains("\", Self::"));
    let names = pairs.flat_map(quoted);
    names.map(|name| name.to_uppercase()).collect()
}

/// Texts of arms such as `"a" => Self::A`.
fn console_commands(source: &str) -> Vec<String> {
    let arms = source.lines().filter(|line| line.contains("\" => Self::"));
    arms.flat_map(quoted).collect()
}

fn quoted(text: &str) -> Vec<String> {
    text.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Fields with `#[arg(long)]`, as options.
fn options(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut attribute: Option<String> = None;
    for line in source.lines().map(str::trim) {
        match &mut attribute {
            // An attribute over several lines.
            Some(text) if !text.ends_with(")]") => text.push_str(line),
            Some(text) if !line.starts_with('#') && !line.starts_with("//") => {
                let field = line.trim_start_matches("pub ");
                let field = field.trim_start_matches("pub(crate) ").split(':').next();
                names.extend(field.and_then(|field| option(text, field)));
                attribute = None;
            }
            Some(_) => {}
            None if line.starts_with("#[arg(") => attribute = Some(line.to_owned()),
            None => {}
        }
    }
    names
}

/// `None` if the attribute is not that of a long option.
fn option(attribute: &str, field: &str) -> Option<String> {
    let is_long = |word: &str| word.trim() == "long" || word.trim().starts_with("long =");
    let inner = attribute
        .trim_start_matches("#[arg(")
        .trim_end_matches(")]");
    let long = inner.split(',').find(|word| is_long(word))?;
    let written = quoted(long).pop();
    let name = written.unwrap_or_else(|| field.replace('_', "-"));
    Some(format!("--{name}"))
}

/// Variants of enums that derive `Subcommand`.
fn subcommands(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    for after in source.split("Subcommand)]").skip(1) {
        let body = after.lines().take_while(|line| *line != "}");
        for line in body {
            let variant = line.strip_prefix("    ").unwrap_or_default();
            let name: String = variant
                .chars()
                .take_while(|c| c.is_alphanumeric())
                .collect();
            if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                names.push(kebab(&name));
            }
        }
    }
    names
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_commands_are_found() {
        let source = "const A: &[&str] = &[\n    \"one\",\n    \"two\",\n];\n\
                      fn c() -> &'static [&'static str] { &[\"three\"] }\n";
        assert_eq!(columns(source), ["one", "two", "three"]);
        let arms = "        \"pool_x\" => Self::X,\n        _ => None,\n";
        assert_eq!(console_commands(arms), ["pool_x"]);
    }

    #[test]
    fn options_and_subcommands_are_found() {
        let source = "#[derive(Debug, Subcommand)]\nenum Command {\n    /// Runs.\n    \
                      Serve(ConfigArgs),\n    DryRun {\n        Odd: u8,\n    },\n}\n\
                      struct Args {\n    /// A file.\n    #[arg(long, value_name = \"FILE\")]\n    \
                      config: Option<PathBuf>,\n    #[arg(\n        long = \"other\",\n    )]\n    \
                      pub name: String,\n    #[arg(value_name = \"X\")]\n    x: u8,\n    \
                      #[arg(long)]\n    pub log_format: u8,\n}\n";
        assert_eq!(options(source), ["--config", "--other", "--log-format"]);
        assert_eq!(subcommands(source), ["serve", "dry-run"]);
    }

    #[test]
    fn keys_of_the_router_are_missed() {
        let mut found = Violations::default();
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let keys = "pub const KEYS: [&str; 2] = [\"one\", \"two\"];";
        let [(sample, _), (console, _)] = KNOWS_ROUTER_KEYS;
        let files = [
            file(ROUTER_KEYS, keys),
            file(sample, "# one = 1\n# two = 2\n"),
            file(console, "(\"one\", true)"),
        ];
        check_router_keys(&files, &mut found);
        assert_eq!(found.0.len(), 1, "{:?}", found.0);
        assert!(found.0[0].contains("two"));
    }

    #[test]
    fn words_count_between_backticks_only() {
        let words = code_words("a `b --c FILE` d\n```sh\ne `\n");
        assert!(words.contains("b") && words.contains("--c") && words.contains("e"));
        assert!(!words.contains("a") && !words.contains("d"));
    }

    #[test]
    fn what_a_page_leaves_out_is_reported() {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let cli =
            "#[derive(Subcommand)]\nenum C {\n    Serve,\n}\n    #[arg(long)]\n    port: u16,\n";
        let files = [
            file("docs/console.md", "`one` `pool_x` `POOL_X`\n"),
            file(
                "crates/pgsteer-session/src/console/admin/columns.rs",
                "s(\"one\"),\n",
            ),
            file(
                "crates/pgsteer-session/src/console/admin/command.rs",
                "(\"pool_x\", Self::X),\n",
            ),
            file(
                "crates/pgsteer-session/src/console/columns.rs",
                "const A: &[&str] = &[\"one\", \"two\"];\n",
            ),
            file(
                "crates/pgsteer-sql/src/console.rs",
                "\"pool_x\" => Self::X,\n",
            ),
            file("docs/cli.md", "## `serve`\n"),
            file("crates/pgsteer-proxy/src/cli.rs", cli),
            file("crates/pgsteer-proxy/src/plugin/args.rs", cli),
            file("crates/pgsteer-proxy/src/node/mod.rs", cli),
        ];
        let mut found = Violations::default();
        check(&files, &mut found);
        assert_eq!(found.0.len(), 4, "{:?}", found.0);
        assert!(found.0[0].contains("`two`") && found.0[1].contains("`--port`"));
    }
}
