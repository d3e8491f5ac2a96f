//! Refuses to change all rows of a table, and marks reads so that they are known on the server.

use pgsteer_plugin_sdk::{Class, Manifest, Plugin, Rejection, Rewriter, Rewriting, Statement};
use pgsteer_plugin_sdk::{config, export, json, manifest};

struct Policy(String);

impl Plugin for Policy {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        let mut mark = "pgsteer".to_owned();
        for (key, value) in json::object(json)? {
            match &*key {
                "mark" => mark = config::text(&key, &value)?.replace("*/", ""),
                _ => return Err(config::unknown(&key, &value, &["mark"])),
            }
        }
        Ok(Self(mark))
    }
}

impl Rewriter for Policy {
    fn rewrite(&mut self, statement: &Statement) -> Rewriting {
        let (sql, hint) = (&statement.sql, "add WHERE true if you mean it");
        let all_rows = !sql.to_ascii_lowercase().contains("where");
        let forbidden = Rejection::forbidden("this would change all rows").hint(hint);
        match statement.class {
            Class::Update | Class::Delete if all_rows => Rewriting::reject(forbidden).reusable(),
            Class::Select => Rewriting::replace(format!("/* {} */ {sql}", self.0)).reusable(),
            _ => Rewriting::keep().reusable(),
        }
    }
}

export!(Policy: Rewriter);
#[cfg(test)]
mod tests;
