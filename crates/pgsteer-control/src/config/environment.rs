//! Configuration from the variables of the `bitnami/pgpool` image. They become the same raw
//! configuration a file gives, so that the same rules apply and messages name the variables.

use std::collections::{BTreeMap, HashMap};

use toml::{Table, Value};

use super::changes::{self, Changes};
use super::check::{Checker, Origin, ReadFile, first_line};
use super::error::{ConfigError, ConfigErrors};
use super::variables::{Use, VARIABLES, known};
use super::{Loaded, PLUGINS_DIR, backend_nodes, finish, shape, units, validate};

/// Settings from variables; those that are empty count as not set, as in the image.
pub(crate) fn load(
    changes: &Changes,
    variables: impl IntoIterator<Item = (String, String)>,
    read_file: ReadFile<'_>,
    cores: usize,
) -> Result<Loaded, ConfigErrors> {
    let mut builder = Builder::default();
    builder.collect(variables, read_file);
    builder.apply_table();
    builder.apply_nodes();
    builder.apply_listen();
    builder.apply_users();
    builder.apply_probe();
    builder.apply_limits();
    builder.apply_operator();
    builder.apply_promotion();
    if let Some(dir) = builder.given.get(PLUGINS_DIR).cloned() {
        builder.put("plugins.dir", Value::String(dir), PLUGINS_DIR);
    }
    let mut origin = Origin {
        variables: builder.origins,
        ..Origin::default()
    };
    changes.mark(&mut origin);
    let mut checker = Checker::new(&origin, read_file);
    checker.errors = builder.errors;
    checker.warnings = builder.warnings;
    changes.apply(&mut builder.table, &mut checker);
    match Value::Table(builder.table).try_into() {
        Ok(raw) => {
            let settings = validate::settings(raw, cores, &mut checker);
            finish(checker, settings, builder.notes)
        }
        Err(error) => {
            checker.error("environment", error.message(), "report this as a defect");
            Err(ConfigErrors(checker.errors))
        }
    }
}

#[derive(Default)]
struct Builder {
    given: BTreeMap<String, String>,
    table: Table,
    // By key path, the variable that gave it.
    origins: HashMap<String, String>,
    errors: Vec<ConfigError>,
    warnings: Vec<String>,
    notes: Vec<String>,
}

impl Builder {
    /// Sorts out the names: known ones, `_FILE` forms, unknown ones.
    fn collect(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        read_file: ReadFile<'_>,
    ) {
        let mut files = BTreeMap::new();
        for (name, value) in variables.into_iter().filter(|(_, value)| !value.is_empty()) {
            if name == PLUGINS_DIR || known(&name).is_some() {
                self.given.insert(name, value);
            } else if let Some(stem) = name.strip_suffix("_FILE").filter(|s| known(s).is_some()) {
                files.insert(stem.to_owned(), (name, value));
            } else if name.starts_with("PGPOOL_") {
                self.warnings.push(format!(
                    "{name}: is unknown and has no effect{}",
                    near(&name)
                ));
            }
        }
        for (stem, (name, path)) in files {
            if self.given.contains_key(&stem) {
                self.error(
                    &name,
                    format!("is set together with {stem}"),
                    "keep one of them",
                );
                continue;
            }
            match read_file(path.as_ref()) {
                Ok(text) => {
                    self.given.insert(stem, first_line(&text).to_owned());
                }
                Err(error) => {
                    let problem = format!("{path} cannot be read: {error}");
                    self.error(&name, problem, "name a file the proxy may read");
                }
            }
        }
        self.warnings.sort();
    }

    /// Everything that needs no rule of its own.
    fn apply_table(&mut self) {
        for (name, value) in self.given.clone() {
            let lower = value.to_lowercase();
            match known(&name) {
                Some(Use::Text(key)) => self.put(key, Value::String(value), &name),
                Some(Use::Seconds(key, zero)) => self.put_time(key, &name, &value, "s", zero),
                Some(Use::Milliseconds(key, zero)) => self.put_time(key, &name, &value, "ms", zero),
                Some(Use::Switch(key)) => match switch(&lower) {
                    Some(on) => self.put(key, Value::Boolean(on), &name),
                    None => self.error(&name, format!("is \"{value}\""), "use yes or no"),
                },
                Some(Use::Either(key, yes, no)) => match switch(&lower) {
                    Some(on) => {
                        let word = if on { yes } else { no };
                        self.put(key, Value::String(word.to_owned()), &name);
                    }
                    None => self.error(&name, format!("is \"{value}\""), "use yes or no"),
                },
                Some(Use::Word(key, words)) if words.contains(&lower.as_str()) => {
                    self.put(&format!("router.{key}"), Value::String(lower), &name);
                }
                Some(Use::Word(_, words)) => {
                    let advice = format!("use one of: {}", words.join(", "));
                    self.error(&name, format!("is \"{value}\""), advice);
                }
                Some(Use::Ignored(why, harmless)) if !harmless.contains(&lower.as_str()) => {
                    self.warnings.push(format!("{name}: has no effect: {why}"));
                }
                Some(Use::Ignored(..) | Use::Special) | None => {}
            }
        }
    }

    fn apply_nodes(&mut self) {
        const NAME: &str = "PGPOOL_BACKEND_NODES";
        self.origins.insert("nodes".to_owned(), NAME.to_owned());
        let text = self.given.get(NAME).cloned().unwrap_or_default();
        let (parsed, problems) = backend_nodes::parse(&text);
        for problem in problems {
            let advice = "write number:host:port, such as 0:pg-0:5432,1:pg-1:5432";
            self.error(NAME, problem, advice);
        }
        let mut nodes = Vec::new();
        for (index, node) in parsed.into_iter().enumerate() {
            if usize::try_from(node.number) != Ok(index) {
                let text = format!("{NAME}: number {} becomes node {index}", node.number);
                self.warnings.push(text);
            }
            let mut table = Table::new();
            table.insert("host".to_owned(), Value::String(node.host));
            if let Some(port) = node.port {
                table.insert("port".to_owned(), integer(port));
            }
            if let Some(weight) = node.weight {
                let number = weight.parse().map(Value::Float);
                table.insert("weight".to_owned(), number.unwrap_or(Value::String(weight)));
            }
            if let Some(dir) = node.data_dir {
                table.insert("data_dir".to_owned(), Value::String(dir));
            }
            if let Some(flag) = node.flag {
                let flag = Value::String(backend_nodes::flag(&flag));
                table.insert("flag".to_owned(), flag);
            }
            for field in ["host", "port", "weight", "data_dir", "flag"] {
                let place = format!("{NAME} (node {index}, {field})");
                self.origins
                    .insert(format!("nodes[{index}].{field}"), place);
            }
            nodes.push(Value::Table(table));
        }
        self.table.insert("nodes".to_owned(), Value::Array(nodes));
    }

    fn apply_listen(&mut self) {
        const NAME: &str = "PGPOOL_PORT_NUMBER";
        let Some(text) = self.given.get(NAME).cloned() else {
            return;
        };
        match text.parse::<u16>() {
            Ok(port) if port > 0 => {
                self.put(
                    "listen.address",
                    Value::String(format!("0.0.0.0:{port}")),
                    NAME,
                );
            }
            _ => self.error(NAME, format!("is \"{text}\""), "use a port, 1 to 65535"),
        }
    }

    fn apply_users(&mut self) {
        let name = self.given.get("PGPOOL_POSTGRES_USERNAME").cloned();
        let password = self.given.get("PGPOOL_POSTGRES_PASSWORD").cloned();
        let mut users = vec![user(
            name.unwrap_or_else(|| "postgres".to_owned()),
            password,
        )];
        let custom = self.list("PGPOOL_POSTGRES_CUSTOM_USERS");
        let passwords = self.list("PGPOOL_POSTGRES_CUSTOM_PASSWORDS");
        if custom.len() != passwords.len() {
            let problem = format!(
                "holds {} passwords for {} users",
                passwords.len(),
                custom.len()
            );
            let advice = "give one password for each of PGPOOL_POSTGRES_CUSTOM_USERS, in order";
            self.error("PGPOOL_POSTGRES_CUSTOM_PASSWORDS", problem, advice);
        }
        let pairs = custom.into_iter().zip(passwords);
        users.extend(pairs.map(|(name, password)| user(name, Some(password))));
        for index in 0..users.len() {
            let names = if index == 0 {
                ["PGPOOL_POSTGRES_USERNAME", "PGPOOL_POSTGRES_PASSWORD"]
            } else {
                [
                    "PGPOOL_POSTGRES_CUSTOM_USERS",
                    "PGPOOL_POSTGRES_CUSTOM_PASSWORDS",
                ]
            };
            self.origins
                .insert(format!("users[{index}].name"), names[0].to_owned());
            self.origins
                .insert(format!("users[{index}].password"), names[1].to_owned());
        }
        self.table.insert("users".to_owned(), Value::Array(users));
    }

    /// Pgpool-II has two kinds of checks with a role and a period each; here one probe does both.
    fn apply_probe(&mut self) {
        let roles = [
            ("PGPOOL_SR_CHECK_USER", "PGPOOL_SR_CHECK_PASSWORD"),
            ("PGPOOL_HEALTH_CHECK_USER", "PGPOOL_HEALTH_CHECK_PASSWORD"),
            ("PGPOOL_POSTGRES_USERNAME", "PGPOOL_POSTGRES_PASSWORD"),
        ];
        let role = roles
            .into_iter()
            .find(|(user, _)| self.given.contains_key(*user));
        if let Some((user, password)) = role {
            let name = self.given.get(user).cloned().unwrap_or_default();
            self.put("probe.user", Value::String(name), user);
            self.origins
                .insert("probe.password".to_owned(), password.to_owned());
            if let Some(secret) = self.given.get(password).cloned() {
                self.put("probe.password", Value::String(secret), password);
            }
        }
        let mut shortest: Option<(std::time::Duration, &str, String)> = None;
        for name in ["PGPOOL_SR_CHECK_PERIOD", "PGPOOL_HEALTH_CHECK_PERIOD"] {
            let Some(text) = self.given.get(name).cloned() else {
                continue;
            };
            match units::duration(&with_unit(&text, "s")) {
                Ok(period) if period.is_zero() => {
                    let why = "0 would switch the checks off, which is not possible here";
                    self.warnings.push(format!("{name}: has no effect: {why}"));
                }
                Ok(period) if shortest.as_ref().is_none_or(|(other, ..)| period < *other) => {
                    shortest = Some((period, name, with_unit(&text, "s")));
                }
                Ok(_) => {}
                Err(_) => self.error(name, format!("is \"{text}\""), "use a number of seconds"),
            }
        }
        if let Some((_, name, text)) = shortest {
            self.put("probe.interval", Value::String(text), name);
        }
        const RETRIES: &str = "PGPOOL_HEALTH_CHECK_MAX_RETRIES";
        if let Some(retries) = self.number(RETRIES) {
            let failures = i64::from(retries) + 1;
            self.put("probe.failures_max", Value::Integer(failures), RETRIES);
        }
    }

    /// Pgpool-II's children each serve one client and keep `max_pool` connections to every node.
    fn apply_limits(&mut self) {
        const CHILDREN: &str = "PGPOOL_NUM_INIT_CHILDREN";
        const POOL: &str = "PGPOOL_MAX_POOL";
        const RESERVED: &str = "PGPOOL_RESERVED_CONNECTIONS";
        let (children, pool, reserved) = (
            self.number(CHILDREN),
            self.number(POOL),
            self.number(RESERVED),
        );
        if let Some(children) = children {
            let clients = i64::from(children) - i64::from(reserved.unwrap_or(0));
            self.put("listen.clients_max", Value::Integer(clients), CHILDREN);
        } else if reserved.is_some_and(|reserved| reserved > 0) {
            let why = format!("it is subtracted from {CHILDREN}, which is not set");
            self.warnings
                .push(format!("{RESERVED}: has no effect: {why}"));
        }
        match (children, pool) {
            (Some(children), Some(pool)) => {
                let per_node = i64::from(children).saturating_mul(i64::from(pool));
                self.put(
                    "pool.connections_per_node_max",
                    Value::Integer(per_node),
                    POOL,
                );
            }
            (None, Some(_)) => {
                let why = format!("it counts per child, and {CHILDREN} is not set");
                self.warnings.push(format!("{POOL}: has no effect: {why}"));
            }
            (_, None) => {}
        }
    }

    /// Who administers Pgpool-II through PCP does it here so too, and through the console.
    fn apply_operator(&mut self) {
        const NAME: &str = "PGPOOL_ADMIN_USERNAME";
        const PASSWORD: &str = "PGPOOL_ADMIN_PASSWORD";
        let password = self.given.get(PASSWORD).cloned();
        let Some(name) = self.given.get(NAME).cloned() else {
            if password.is_some() {
                let why = format!("{NAME} is not set");
                self.warnings
                    .push(format!("{PASSWORD}: has no effect: {why}"));
            }
            return;
        };
        let operators = Value::Array(vec![Value::String(name.clone())]);
        self.put("console.operators", operators, NAME);
        let Some(password) = password else {
            let text = format!("{NAME}: {PASSWORD} is not set, so the PCP port is not opened");
            self.notes.push(text);
            return;
        };
        // As in the image.
        let listen = Value::Array(vec![Value::String("0.0.0.0:9898".to_owned())]);
        self.put("pcp.listen", listen, NAME);
        let users = Value::Array(vec![user(name, Some(password))]);
        self.table.insert("pcp_users".to_owned(), users);
        for (key, variable) in [("name", NAME), ("password", PASSWORD)] {
            let key = format!("pcp_users[0].{key}");
            self.origins.insert(key, variable.to_owned());
        }
    }

    /// Pgpool-II promotes nothing by itself, so something else may.
    fn apply_promotion(&mut self) {
        const NAME: &str = "PGSTEER_FAILOVER_PROMOTE";
        if !self.given.contains_key(NAME) {
            self.put("failover.promote", Value::Boolean(false), NAME);
            let text = "is not set, so no replica is promoted here, as with Pgpool-II: \
                        something else may do that. Set it to yes if nothing else does";
            self.notes.push(format!("{NAME}: {text}"));
        }
    }

    fn number(&mut self, name: &str) -> Option<u32> {
        let text = self.given.get(name).cloned()?;
        let number = text.parse();
        if number.is_err() {
            self.error(name, format!("is \"{text}\""), "use a whole number");
        }
        number.ok()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.given.get(name).map_or("", String::as_str);
        text.split([',', ';'])
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn put_time(&mut self, key: &str, name: &str, text: &str, unit: &str, zero: &str) {
        let text = if text.trim() == "0" {
            if zero != "0s" {
                self.warnings.push(format!(
                    "{name}: 0 (off) is not possible here; {zero} is used"
                ));
            }
            zero.to_owned()
        } else {
            with_unit(text, unit)
        };
        self.put(key, Value::String(text), name);
    }

    fn put(&mut self, key: &str, value: Value, variable: &str) {
        self.origins.insert(key.to_owned(), variable.to_owned());
        changes::put(&mut self.table, key, value);
    }

    fn error(&mut self, name: &str, problem: impl Into<String>, advice: impl Into<String>) {
        self.errors.push(ConfigError {
            file: None,
            place: name.to_owned(),
            problem: problem.into(),
            advice: advice.into(),
        });
    }
}

fn user(name: String, password: Option<String>) -> Value {
    let mut table = Table::new();
    table.insert("name".to_owned(), Value::String(name));
    if let Some(password) = password {
        table.insert("password".to_owned(), Value::String(password));
    }
    Value::Table(table)
}

/// Text stays text, so that validation can complain about it.
fn integer(text: String) -> Value {
    text.parse().map_or(Value::String(text), Value::Integer)
}

fn with_unit(text: &str, unit: &str) -> String {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("{text}{unit}");
    }
    text.to_owned()
}

fn switch(lower: &str) -> Option<bool> {
    match lower {
        "yes" | "true" | "on" | "1" => Some(true),
        "no" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn near(name: &str) -> String {
    let close = |known: &&str| shape::distance(known, name) <= 3;
    let found = VARIABLES.iter().map(|(known, _)| *known).find(close);
    found
        .map(|known| format!("; did you mean {known}?"))
        .unwrap_or_default()
}
