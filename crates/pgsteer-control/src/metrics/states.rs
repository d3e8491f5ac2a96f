//! What sessions and server connections do at the moment, by database and user.

use std::collections::{BTreeMap, HashSet};

use pgsteer_core::Facts;
use pgsteer_core::servers::ServerState;

use super::pools::OTHERS;
use super::text::Text;

/// Sums by database and user, of one number for each state.
type Sums<const N: usize> = BTreeMap<(Box<str>, Box<str>), [u64; N]>;

/// Writes the families of what is there now. Pools that the others do not tell apart, these do not
/// either.
pub(super) fn collect(facts: &Facts, told_apart: usize, text: &mut Text) {
    let cells = facts.pools.cells();
    let mut names: HashSet<(&str, &str)> = HashSet::new();
    for cell in &cells {
        if names.len() < told_apart {
            names.insert((&cell.database, &cell.user));
        }
    }
    let key = |database: &str, user: &str| {
        let (database, user) = match names.contains(&(database, user)) {
            true => (database, user),
            false => OTHERS,
        };
        (database.into(), user.into())
    };
    // A pool that is known has a value when nothing of it is there, too.
    let known = || names.iter().map(|(database, user)| key(database, user));
    let mut clients: Sums<3> = known().map(|key| (key, Default::default())).collect();
    for count in facts.session_counts() {
        let sum = clients
            .entry(key(&count.database, &count.user))
            .or_default();
        for (sum, n) in sum
            .iter_mut()
            .zip([count.idle, count.active, count.waiting])
        {
            *sum += n;
        }
    }
    let servers = known().map(|key| (key, Default::default()));
    let mut servers: Sums<{ SERVER_STATES.len() }> = servers.collect();
    for card in facts.servers.list() {
        let sum = servers.entry(key(&card.about.database, &card.about.user));
        if let Some(n) = sum.or_default().get_mut(card.state() as usize) {
            *n += 1;
        }
    }
    put(
        "pgsteer_pool_clients",
        ["idle", "active", "waiting"],
        &clients,
        text,
    );
    let words = SERVER_STATES.map(|state| match state {
        ServerState::Login => "login",
        state => state.word(),
    });
    put("pgsteer_pool_servers", words, &servers, text);
}

/// In the order of their numbers.
const SERVER_STATES: [ServerState; 4] = [
    ServerState::Login,
    ServerState::Active,
    ServerState::Idle,
    ServerState::Tested,
];

fn put<const N: usize>(name: &str, states: [&str; N], sums: &Sums<N>, text: &mut Text) {
    text.begin(name);
    for ((database, user), counts) in sums {
        for (state, count) in states.iter().zip(counts) {
            text.put(
                &[("database", database), ("user", user), ("state", state)],
                *count,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_stand_where_their_numbers_say() {
        for (index, state) in SERVER_STATES.iter().enumerate() {
            assert_eq!(*state as usize, index);
        }
    }
}
