//! The command line of the benchmark.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What is measured, how long, and where it is written.
pub(crate) struct Options {
    /// Contenders take turns so many times; medians are shown.
    pub(crate) rounds: usize,
    /// Length of one measurement, in seconds, after one more to warm up.
    pub(crate) seconds: u32,
    /// Beginnings of the names of what is run; all if empty.
    pub(crate) only: Vec<String>,
    /// The page; the JSON and the plots are beside it.
    pub(crate) output: PathBuf,
    /// Say what there is.
    pub(crate) list: bool,
    /// Write the page anew from the JSON.
    pub(crate) render_only: bool,
    /// Said on the page about the circumstances.
    pub(crate) note: Option<String>,
    /// The program that is measured.
    pub(crate) pgsteer: PathBuf,
}

impl Options {
    /// # Errors
    /// An unknown option or no number where one belongs.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut options = Self {
            rounds: 5,
            seconds: 2,
            only: Vec::new(),
            output: root.join("docs/performance.md"),
            list: false,
            render_only: false,
            note: None,
            pgsteer: release_program()?,
        };
        while let Some(arg) = args.next() {
            let mut value = || {
                let value = args.next();
                value.with_context(|| format!("{arg} takes a value"))
            };
            match arg.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--only" => options.only.push(value()?),
                "--output" => options.output = value()?.into(),
                "--pgsteer" => options.pgsteer = value()?.into(),
                "--note" => options.note = Some(value()?),
                "--list" => options.list = true,
                "--render" => options.render_only = true,
                // Cargo says so to every benchmark.
                "--bench" => {}
                other => bail!("unknown option {other}; {USAGE}"),
            }
        }
        if options.rounds == 0 || options.seconds == 0 {
            bail!("--rounds and --seconds take numbers above 0");
        }
        Ok(options)
    }

    /// Whether something of this name is to be run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    /// Where the figures are.
    pub(crate) fn json(&self) -> PathBuf {
        self.output.with_extension("json")
    }
}

/// The release build beside this one, in the same target directory.
fn release_program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(3).context("a target directory")?;
    Ok(target.join("release/pgsteer"))
}

const USAGE: &str = "options: --rounds N, --seconds S, --only NAME (several times), --list, --render, \
                     --note TEXT, --output FILE, --pgsteer PROGRAM";
