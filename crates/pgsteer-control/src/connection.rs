//! Connections of the control plane itself to the nodes, as the user of the probes.

use std::sync::Arc;

use pgsteer_core::settings::{NodeSettings, ProbeSettings};
use pgsteer_tls::{Attempt, ServerTls};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};

use crate::probe::Fault;
use crate::tls::{self, MakeTls};

/// A connection and the task that drives it. Dropping it closes it.
pub(crate) struct Connection {
    pub(crate) client: Client,
    // Made with these; others take a new connection.
    user: String,
    password: Arc<str>,
    database: String,
    tls: ServerTls,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Logs in to a database of a node. `name` is what the server's own views show.
    ///
    /// # Errors
    /// The node was not reached within the timeout of the probes, or it refused.
    pub(crate) async fn open(
        node: &NodeSettings,
        settings: &ProbeSettings,
        database: &str,
        name: &str,
    ) -> Result<Self, Fault> {
        let mut config = Config::new();
        let statement_timeout = settings.timeout.as_millis().max(1);
        config
            .host(&*node.host)
            .port(node.port)
            .user(&settings.user)
            .password(settings.password.as_bytes())
            .dbname(database)
            .application_name(name)
            .options(format!("-c statement_timeout={statement_timeout}"))
            .connect_timeout(settings.timeout);
        let mut first = None;
        for attempt in settings.tls.attempts(&node.host) {
            match connect(&mut config, &settings.tls, *attempt).await {
                Ok((client, driver)) => {
                    return Ok(Self {
                        client,
                        user: settings.user.clone(),
                        password: Arc::clone(&settings.password),
                        database: database.to_owned(),
                        tls: settings.tls.clone(),
                        driver,
                    });
                }
                Err(error) if tls::is_about_encryption(&error) => first = first.or(Some(error)),
                Err(error) => return Err(Fault::from_postgres(&error)),
            }
        }
        let none = || Fault::Other("there is no way to connect".to_owned());
        Err(first.as_ref().map_or_else(none, Fault::from_postgres))
    }

    /// Whether it still stands, is to this database and was made as these settings want it.
    pub(crate) fn fits(&self, settings: &ProbeSettings, database: &str) -> bool {
        !self.client.is_closed()
            && self.user == settings.user
            && self.password == settings.password
            && self.database == database
            && self.tls == settings.tls
    }

    /// Waits until the server has closed it.
    ///
    /// # Cancel safety
    /// Cancel safe: an end that nobody saw is seen by the next call. Not to be called after it
    /// returned.
    pub(crate) async fn ended(&mut self) {
        let _ended = (&mut self.driver).await;
    }
}

/// Connects in one way, and drives what came of it.
async fn connect(
    config: &mut Config,
    tls: &ServerTls,
    attempt: Attempt,
) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    tls::configure(config, tls, attempt);
    let (client, connection) = config.connect(MakeTls(tls.clone())).await?;
    // Ends when the client is dropped, or is aborted with it. Its error reaches the client too.
    let driver = tokio::spawn(async move {
        let _ended = connection.await;
    });
    Ok((client, driver))
}
