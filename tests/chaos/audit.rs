//! In the end: what the clients were told, compared with what is there.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use pgsteer_testkit::{Cluster, wait_until};

use crate::books::{Attempt, Books, Outcome, Stamp};
use crate::site::{BALANCE, DEADLINE};
use crate::teller::ACCOUNTS;

/// Adds to the books' findings what does not fit.
pub(crate) async fn check(cluster: &Cluster, books: &Books) -> Result<()> {
    let primary = cluster.acting_primary().await.context("no primary")?;
    let rows = primary
        .sql(
            "SELECT attempt, count(*), min(port), min(timeline) FROM ledger \
             GROUP BY attempt ORDER BY attempt",
        )
        .await?;
    let mut there = BTreeMap::new();
    for row in rows {
        let numbers = row.iter().flatten().map(|text| text.parse::<u64>());
        let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
        if let [attempt, count, port, timeline] = numbers[..] {
            let stamp = Stamp {
                port: u16::try_from(port)?,
                timeline: u32::try_from(timeline)?,
            };
            there.insert(attempt, (count, stamp));
        }
    }
    let attempts = books.attempts();
    for attempt in &attempts {
        let row = there.remove(&attempt.id);
        if let Some(finding) = compare(attempt, row.as_ref()) {
            books.find(format!("{finding}: {attempt:?}, in the ledger {row:?}"));
        }
    }
    for (attempt, row) in there {
        books.find(format!("nobody asked for attempt {attempt}: {row:?}"));
    }
    for finding in superseded(&attempts) {
        books.find(finding);
    }
    balances(cluster, books).await
}

fn compare(attempt: &Attempt, row: Option<&(u64, Stamp)>) -> Option<&'static str> {
    let count = row.map_or(0, |(count, _)| *count);
    match (&attempt.outcome, count) {
        (_, 2..) => Some("applied twice"),
        (Outcome::Acknowledged, 0) => Some("acknowledged and lost"),
        (Outcome::Refused(_), 1) => Some("refused and there"),
        (Outcome::Acknowledged, _) if attempt.stamp.as_ref() != row.map(|(_, stamp)| stamp) => {
            Some("another row than the one acknowledged")
        }
        _ => None,
    }
}

/// Writes that a server on a superseded timeline took although one on a later timeline had
/// acknowledged a commit by then.
fn superseded(attempts: &[Attempt]) -> Vec<String> {
    let mut first: BTreeMap<u32, Instant> = BTreeMap::new();
    for attempt in attempts {
        if let (Outcome::Acknowledged, Some(stamp)) = (&attempt.outcome, &attempt.stamp) {
            let known = first.entry(stamp.timeline).or_insert(attempt.ended);
            *known = (*known).min(attempt.ended);
        }
    }
    let mut found = Vec::new();
    for attempt in attempts {
        let Some(stamp) = &attempt.stamp else {
            continue;
        };
        // The row was written after `begun`; its commit was acknowledged after `decided`.
        let after = match attempt.outcome {
            Outcome::Acknowledged => attempt.decided,
            _ => attempt.begun,
        };
        let mut later = first.range(stamp.timeline + 1..);
        if let Some((timeline, since)) = later.find(|(_, since)| **since < after) {
            let ago = after.duration_since(*since);
            found.push(format!(
                "written {ago:?} after timeline {timeline} had a commit: {attempt:?}"
            ));
        }
    }
    found
}

async fn balances(cluster: &Cluster, books: &Books) -> Result<()> {
    let primary = cluster.acting_primary().await.context("no primary")?;
    let position = primary.value("SELECT pg_current_wal_lsn()").await?;
    let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
    let sum = "SELECT sum(balance) FROM accounts";
    let expected = BALANCE * i64::try_from(ACCOUNTS)?;
    let odd = format!(
        "SELECT count(*) FROM accounts LEFT JOIN (
             SELECT id, sum(change) AS change FROM (
                 SELECT source AS id, -amount AS change FROM ledger
                 UNION ALL SELECT target, amount FROM ledger) changes GROUP BY id) moved USING (id)
         WHERE balance <> {BALANCE} + coalesce(change, 0)"
    );
    let rows = "SELECT count(*) FROM ledger";
    let all = primary.value(rows).await?;
    for node in cluster.nodes() {
        if node.name() != primary.name() {
            wait_until(DEADLINE, "a replica to have all", || async {
                node.value(&replayed).await.is_ok_and(|has| has == "t")
            })
            .await?;
        }
        let values = (
            node.value(sum).await?,
            node.value(&odd).await?,
            node.value(rows).await?,
        );
        let wanted = (expected.to_string(), "0".to_owned(), all.clone());
        if values != wanted {
            books.find(format!(
                "{}: sum, accounts that do not fit, rows: {values:?}, not {wanted:?}",
                node.name()
            ));
        }
    }
    Ok(())
}

/// The audit itself: what it must find, and what it must not.
mod tests {
    use std::time::Duration;

    use super::*;

    fn attempt(outcome: Outcome, timeline: u32, from: Instant, decided_ms: u64) -> Attempt {
        let decided = from + Duration::from_millis(decided_ms);
        Attempt {
            id: 1,
            client: 1,
            autocommit: true,
            begun: decided,
            decided,
            ended: decided + Duration::from_millis(10),
            outcome,
            said: String::new(),
            stamp: Some(stamp(timeline)),
        }
    }

    fn stamp(timeline: u32) -> Stamp {
        Stamp {
            port: 5432,
            timeline,
        }
    }

    #[test]
    fn what_clients_were_told_is_compared_with_what_is_there() {
        let now = Instant::now();
        let told = |outcome| attempt(outcome, 1, now, 0);
        let refused = || told(Outcome::Refused("40001".to_owned()));
        let unknown = || told(Outcome::Unknown("ERROR 08006".to_owned()));
        let row = |count, timeline| Some((count, stamp(timeline)));
        for (attempt, row, expected) in [
            (told(Outcome::Acknowledged), row(1, 1), None),
            (told(Outcome::Acknowledged), None, Some("lost")),
            (told(Outcome::Acknowledged), row(1, 2), Some("another row")),
            (told(Outcome::Acknowledged), row(2, 1), Some("twice")),
            (refused(), None, None),
            (refused(), row(1, 1), Some("refused and there")),
            (unknown(), None, None),
            (unknown(), row(1, 1), None),
            (unknown(), row(2, 1), Some("twice")),
        ] {
            let found = compare(&attempt, row.as_ref());
            match expected {
                Some(words) => assert!(found.is_some_and(|f| f.contains(words)), "{found:?}"),
                None => assert_eq!(found, None),
            }
        }
    }

    #[test]
    fn writes_on_a_superseded_timeline_are_found() {
        let now = Instant::now();
        let acknowledged = |timeline, ms| attempt(Outcome::Acknowledged, timeline, now, ms);
        let in_order = [
            acknowledged(1, 0),
            acknowledged(1, 90),
            acknowledged(2, 100),
        ];
        assert_eq!(superseded(&in_order), Vec::<String>::new());
        let late = [
            acknowledged(1, 0),
            acknowledged(2, 100),
            acknowledged(1, 200),
        ];
        assert_eq!(superseded(&late).len(), 1);
        let lost = Outcome::Unknown("ERROR 08006".to_owned());
        let not_even_committed = [acknowledged(2, 100), attempt(lost, 1, now, 200)];
        assert_eq!(superseded(&not_even_committed).len(), 1);
    }
}
