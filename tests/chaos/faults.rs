//! Faults, carried out; after each of them everything must come to order again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pgsteer_testkit::{Link, Mode, Node, Passage, Rejoined, wait_until};
use tokio::time::sleep;

use crate::books::{Books, Outcome};
use crate::plan::{Fault, Plan, Random};
use crate::site::{DEADLINE, Promoter, Site};
use crate::teller::ANSWER_DEADLINE;
use crate::wire::{Wire, msg, shown};

/// Carries out a plan and leaves a cluster in order.
pub(crate) async fn carry_out(site: &mut Site<'_>, plan: &Plan, books: &Books) -> Result<()> {
    let mut random = Random::new(plan.seed);
    let mut idle = Idle::open(site.port())?;
    come_to_order(site, books).await?;
    for (number, fault) in plan.faults.iter().enumerate() {
        let begun = Instant::now();
        let what = format!("fault {} of {}, {fault:?}", number + 1, plan.faults.len());
        let struck = strike(site, *fault, books, &mut random).await;
        struck.with_context(|| what.clone())?;
        let ordered = come_to_order(site, books).await;
        ordered.with_context(|| format!("after {what}"))?;
        if matches!(fault, Fault::RestartProxy | Fault::KillPrimaryAndProxy) {
            idle = Idle::open(site.port())?;
        }
        if let Err(error) = idle.check() {
            books.find(format!("{what}: a session that was idle: {error:#}"));
        }
        println!(
            "{what}: no commit for {:.1?}, in order after {:.1?}; the primary is {}",
            books.longest_gap_since(begun),
            begun.elapsed(),
            site.primary().await?.name()
        );
    }
    Ok(())
}

async fn strike(
    site: &mut Site<'_>,
    fault: Fault,
    books: &Books,
    random: &mut Random,
) -> Result<()> {
    let primary = site.primary().await?;
    let others = site.others(primary);
    let chosen = others[random.below(others.len())];
    match fault {
        Fault::KillPrimary => {
            primary.stop(Mode::Kill9).await?;
            take_over(site, primary, books).await
        }
        Fault::StopPrimary => {
            primary.stop(Mode::Immediate).await?;
            take_over(site, primary, books).await
        }
        Fault::FreezePrimary => {
            primary.leave_alone(true);
            primary.pause()?;
            take_over(site, primary, books).await?;
            primary.resume()?;
            false_primary(site, primary, books).await
        }
        Fault::IsolatePrimary(passage) => {
            primary.leave_alone(true);
            primary.set_link(Link::all(passage));
            take_over(site, primary, books).await?;
            primary.set_link(Link::default());
            false_primary(site, primary, books).await
        }
        Fault::HiccupPrimary => {
            let moment = async {
                primary.pause()?;
                sleep(HICCUP).await;
                primary.resume()
            };
            nobody_takes_over(site, primary, moment).await
        }
        Fault::HidePrimary(passage) => {
            let moment = async {
                primary.set_link(Link {
                    clients: passage,
                    replicas: Passage::Open,
                });
                sleep(HIDDEN).await;
                primary.set_link(Link::default());
                Ok(())
            };
            nobody_takes_over(site, primary, moment).await
        }
        Fault::PromoteByHand => {
            let other = others.into_iter().find(|n| n.name() != chosen.name());
            let other = other.context("three nodes")?;
            let overlap = Duration::from_millis(random.next() % 2000);
            promote_by_hand(primary, chosen, other, overlap).await
        }
        Fault::Switchover => switch_over(site, chosen, books).await,
        Fault::RestartProxy => site.restart(),
        Fault::KillPrimaryAndProxy => {
            primary.stop(Mode::Kill9).await?;
            site.restart()?;
            take_over(site, primary, books).await
        }
        Fault::KillReplica | Fault::FreezeReplica | Fault::IsolateReplica(_) => {
            strike_replica(site, fault, chosen, books).await
        }
    }
}

/// A fault that no client has to notice.
async fn strike_replica(site: &Site<'_>, fault: Fault, chosen: &Node, books: &Books) -> Result<()> {
    match fault {
        Fault::KillReplica => {
            chosen.stop(Mode::Kill9).await?;
            site.writes_go_on(books, 100).await?;
            chosen.start().await
        }
        Fault::FreezeReplica => {
            chosen.pause()?;
            sleep(AWAY).await;
            chosen.resume()
        }
        Fault::IsolateReplica(passage) => {
            chosen.set_link(Link::all(passage));
            sleep(AWAY).await;
            chosen.set_link(Link::default());
            Ok(())
        }
        _ => anyhow::bail!("{fault:?} is not about a replica"),
    }
}

/// Waits until another node than the lost primary takes writes; promotes one, if that is for us.
async fn take_over(site: &Site<'_>, lost: &Node, books: &Books) -> Result<()> {
    if site.promoter == Promoter::Other {
        promote_best(site, lost).await?;
    }
    site.writes_go_on(books, 10).await?;
    let others = site.others(lost).into_iter();
    for node in others {
        if node.value(IN_RECOVERY).await? == "f" {
            return Ok(());
        }
    }
    bail!("no other node is a primary")
}

/// As Patroni does: the replica that has most becomes the primary, the other one follows it.
async fn promote_best(site: &Site<'_>, lost: &Node) -> Result<()> {
    let question = "SELECT pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), \
                    pg_last_wal_replay_lsn()), '0/0')";
    let mut nodes = Vec::new();
    for node in site.others(lost) {
        let position: u64 = node.value(question).await?.parse()?;
        nodes.push((position, node));
    }
    nodes.sort_by_key(|(position, _)| *position);
    let (_, best) = nodes.pop().context("no replica is left")?;
    best.promote().await?;
    for (_, node) in nodes {
        node.rejoin(best).await?;
    }
    Ok(())
}

/// A former primary is back and takes writes from whoever asks: nobody must.
async fn false_primary(site: &Site<'_>, node: &Node, books: &Books) -> Result<()> {
    site.writes_go_on(books, 200).await?;
    node.leave_alone(false);
    node.rejoin(site.primary().await?).await?;
    Ok(())
}

async fn nobody_takes_over(
    site: &Site<'_>,
    primary: &Node,
    moment: impl Future<Output = Result<()>>,
) -> Result<()> {
    let before = primary.value(TIMELINE).await?;
    moment.await?;
    let after = site.primary().await?;
    let timeline = after.value(TIMELINE).await?;
    ensure!(
        after.name() == primary.name() && timeline == before,
        "{} took over on timeline {timeline}; {}",
        after.name(),
        site.audit_log()
    );
    Ok(())
}

/// While the other replica is frozen, the old primary cannot acknowledge anything that the new one
/// does not have.
async fn promote_by_hand(
    primary: &Node,
    chosen: &Node,
    other: &Node,
    overlap: Duration,
) -> Result<()> {
    primary.leave_alone(true);
    other.leave_alone(true);
    other.pause()?;
    let position = primary.value("SELECT pg_current_wal_lsn()").await?;
    let question = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
    wait_until(DEADLINE, "the chosen replica to have all", || async {
        chosen.value(&question).await.is_ok_and(|has| has == "t")
    })
    .await?;
    chosen.promote().await?;
    sleep(overlap).await;
    primary.stop(Mode::Kill9).await?;
    other.resume()?;
    primary.leave_alone(false);
    other.leave_alone(false);
    // The proxy's command for it was turned away while it was left alone.
    primary.rejoin(chosen).await?;
    Ok(())
}

/// Nobody who sends single statements notices a planned switchover.
async fn switch_over(site: &Site<'_>, chosen: &Node, books: &Books) -> Result<()> {
    let begun = Instant::now();
    let mut wire = Wire::try_connect(site.port(), "postgres", DEADLINE)?;
    wire.send(&msg::query(&format!(
        "PGSTEER NODE {} SWITCHOVER",
        site.index(chosen)
    )));
    let (frames, _) = wire.read_until(b'Z');
    let refused = frames.iter().any(|frame| frame.tag == b'E');
    ensure!(!refused, "refused: {}", shown(&frames));
    site.writes_go_on(books, 10).await?;
    let primary = site.primary().await?;
    ensure!(
        primary.name() == chosen.name(),
        "{} is the primary",
        primary.name()
    );
    for attempt in books.attempts_since(begun) {
        if attempt.autocommit && attempt.outcome != Outcome::Acknowledged {
            books.find(format!("in a planned switchover: {attempt:?}"));
        }
    }
    Ok(())
}

/// Waits until writes succeed, all nodes follow the primary and the proxy knows it.
async fn come_to_order(site: &Site<'_>, books: &Books) -> Result<()> {
    let primary = site.primary().await?;
    for node in site.others(primary) {
        let streams = || async { node.streams_from(primary).await };
        let what = format!("{} to follow {}", node.name(), primary.name());
        // A commit waits for a replica, so this comes before anything else.
        if site.promoter == Promoter::Other || wait_until(PATIENCE, &what, streams).await.is_err() {
            let how = node.rejoin(primary).await?;
            if how != Rejoined::Already {
                println!("{} was made to follow by hand: {how:?}", node.name());
            }
        }
    }
    site.writes_go_on(books, 10).await?;
    let mut subscription = site.subscription()?;
    wait_until(DEADLINE, "the proxy to use all nodes", || {
        let topology = &subscription.get().topology;
        let usable = topology.nodes.iter().all(|node| node.is_usable());
        let ready = usable && topology.primary().is_some();
        async move { ready }
    })
    .await
    .with_context(|| site.beliefs())
}

/// Sessions that do nothing while faults happen, and must still be as they were.
struct Idle(Vec<Wire>);

impl Idle {
    fn open(port: u16) -> Result<Self> {
        let sessions = (0..IDLE_SESSIONS).map(|_| {
            let mut wire = Wire::try_connect(port, "postgres", ANSWER_DEADLINE)?;
            ask(&mut wire, &msg::query("SET ledger.client = 'idle'"))?;
            let parse = msg::parse("known", "SELECT 'known ' || $1::int");
            ask(&mut wire, &[parse, msg::sync()].concat())?;
            ask(&mut wire, &known("1"))?;
            Ok(wire)
        });
        Ok(Self(sessions.collect::<Result<_>>()?))
    }

    fn check(&mut self) -> Result<()> {
        for wire in &mut self.0 {
            let answer = ask(wire, &known("7"))?;
            ensure!(answer.as_deref() == Some("known 7"), "known: {answer:?}");
            let kept = ask(wire, &msg::query("SELECT current_setting('ledger.client')"))?;
            ensure!(kept.as_deref() == Some("idle"), "a setting: {kept:?}");
            let insert = "INSERT INTO idle VALUES (current_setting('ledger.client'))";
            ask(wire, &msg::query(insert))?;
        }
        Ok(())
    }
}

/// Runs the statement prepared under this name.
fn known(value: &str) -> Vec<u8> {
    let bind = msg::bind("", "known", &[Some(value)]);
    [bind, msg::execute("", 0), msg::sync()].concat()
}

/// The first value of the answer; an error if it is one or there is none.
fn ask(wire: &mut Wire, message: &[u8]) -> Result<Option<String>> {
    wire.send(message);
    let (frames, _) = wire.read_until(b'Z');
    let complete = frames.last().is_some_and(|frame| frame.tag == b'Z');
    let refused = frames.iter().any(|frame| frame.tag == b'E');
    let sent = message.escape_ascii();
    ensure!(complete && !refused, "{sent}: {}", shown(&frames));
    let row = frames.iter().find(|frame| frame.tag == b'D');
    Ok(row.and_then(|row| row.values().into_iter().next().flatten()))
}

const IN_RECOVERY: &str = "SELECT pg_is_in_recovery()";
const TIMELINE: &str = "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";
/// Shorter than anybody needs to believe that a primary is dead.
const HICCUP: Duration = Duration::from_millis(1500);
/// Long enough that the proxy is sure that it does not reach the primary.
const HIDDEN: Duration = Duration::from_secs(5);
const AWAY: Duration = Duration::from_secs(4);
/// How long the proxy and the replicas have to find together before we help.
const PATIENCE: Duration = Duration::from_secs(20);
const IDLE_SESSIONS: usize = 3;
