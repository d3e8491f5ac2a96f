//! Looks after the files of certificates and keys: new ones get into force without a reload, bad ones
//! do not get into force at all.
//!
//! The files are read every few seconds instead of being watched: whoever renews them replaces them
//! by links, mounts and renames in all ways, and they are small.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::{Publisher, Settings};
use pgsteer_tls::{ClientTls, ServerTls, TlsError};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// What was found in the files; `None` where they are as they were.
struct Found {
    clients: Result<Option<ClientTls>, TlsError>,
    servers: Result<Option<ServerTls>, TlsError>,
}

impl Found {
    /// Blocks while it reads.
    fn look(settings: &Settings) -> Self {
        let read = |path: &Path| std::fs::read_to_string(path);
        Self {
            clients: settings.tls.reread(&read),
            servers: settings.pool.tls.reread(&read),
        }
    }
}

/// One section's complaint.
#[derive(Default)]
struct Complaint {
    last: Option<TlsError>,
    told: bool,
}

impl Complaint {
    /// Tells an operator once what is wrong, if it is still wrong at the second look: a certificate
    /// and its key are seldom replaced at the same instant.
    fn hear<T>(&mut self, section: &str, found: Result<Option<T>, TlsError>) -> Option<T> {
        match found {
            Ok(found) => {
                *self = Self::default();
                found
            }
            Err(problem) if self.last.as_ref() == Some(&problem) => {
                if !std::mem::replace(&mut self.told, true) {
                    error!(section, %problem, "new certificates are not used, the old ones stay");
                }
                None
            }
            Err(problem) => {
                (self.last, self.told) = (Some(problem), false);
                None
            }
        }
    }
}

/// Runs until the proxy ends.
pub(crate) async fn run(publisher: Arc<Publisher>, settings: watch::Sender<Arc<Settings>>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut of_clients, mut of_servers) = (Complaint::default(), Complaint::default());
    loop {
        interval.tick().await;
        let current = Arc::clone(&settings.borrow());
        if current.tls == ClientTls::default() && current.pool.tls == ServerTls::default() {
            continue;
        }
        let looked_at = Arc::clone(&current);
        let looking = tokio::task::spawn_blocking(move || Found::look(&looked_at));
        let Ok(found) = looking.await else { continue };
        let clients = of_clients.hear("tls", found.clients);
        let servers = of_servers.hear("server_tls", found.servers);
        // A reload in between has read the files itself.
        let reloaded = !Arc::ptr_eq(&current, &settings.borrow());
        if reloaded || (clients.is_none() && servers.is_none()) {
            continue;
        }
        let mut new = Settings::clone(&current);
        if let Some(tls) = clients {
            new.tls = tls;
            info!("new certificates are in force for clients");
        }
        if let Some(tls) = servers {
            new.set_server_tls(&tls);
            info!("new certificates are in force for connections to the nodes");
        }
        let new = Arc::new(new);
        let published = Arc::clone(&new);
        publisher.publish(|snapshot| snapshot.settings = published);
        settings.send_replace(new);
    }
}
