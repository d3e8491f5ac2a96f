//! What is done in which crisis.

use pgsteer_plugin_sdk::testing::cluster;
use pgsteer_plugin_sdk::{
    Crisis, Failover as _, NodeFlag, NodeId, NodeRole, Occasion, Past, Plugin as _, Remedy,
    Standing,
};

use super::PgpoolFailover;
use super::settings::{KEYS, Promotion, Settings};

fn plugin(json: &str) -> PgpoolFailover {
    PgpoolFailover::configure(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn ask(json: &str, crisis: &Crisis) -> Remedy {
    plugin(json).decide(crisis)
}

/// The primary of so many replicas is lost.
fn lost(replicas: u32) -> Crisis {
    cluster(replicas).without_primary()
}

#[track_caller]
fn check(crisis: &Crisis, expected: Remedy) {
    assert_eq!(ask("{}", crisis), expected, "{crisis:#?}");
}

#[track_caller]
fn check_gives_up(crisis: &Crisis, word: &str) {
    match ask("{}", crisis) {
        Remedy::GiveUp(reason) => assert!(reason.contains(word), "{reason}: no {word:?}"),
        other => panic!("{other:?} about {crisis:#?}"),
    }
}

const fn n(id: u32) -> NodeId {
    NodeId(id)
}

#[test]
fn the_most_advanced_replica_is_promoted() {
    let base = || lost(3);
    for (crisis, node) in [
        (base(), 1),
        (base().with_positions(n(3), 0x0400_0000, 0x0200_0000), 3),
        (base().with_positions(n(2), 0x0100_0000, 0x0400_0000), 2),
        (base().with_positions(n(1), 1, 1), 2),
        (base().with_node(n(3), |w| w.sync_state = "sync".into()), 3),
        (
            base().with_node(n(2), |w| w.sync_state = "quorum".into()),
            2,
        ),
        (
            base().with_node(n(2), |w| w.sync_state = "potential".into()),
            1,
        ),
        (
            base().with_node(n(1), |w| (w.lsn, w.received_lsn) = (None, None)),
            2,
        ),
        // Synchronous or not, what it has counts more.
        (
            base()
                .with_node(n(2), |w| w.sync_state = "sync".into())
                .with_positions(n(3), 0x0400_0000, 0),
            3,
        ),
    ] {
        check(&crisis, Remedy::Promote(n(node)));
    }
}

#[test]
fn one_that_is_back_and_not_in_service_yet_may_have_what_was_acknowledged() {
    let base = || {
        let detached = lost(2).with_standing(n(2), Standing::Detached);
        detached.with_positions(n(2), 0x0400_0000, 0x0400_0000)
    };
    check(&base(), Remedy::Promote(n(1)));
    let was_lost = || base().after(Past::Lost, n(2), 9_000);
    check(&was_lost(), Remedy::Promote(n(2)));
    // An operator had a reason of his own.
    let mut plugin = plugin("{}");
    assert_eq!(plugin.decide(&was_lost()), Remedy::Promote(n(2)));
    let refused = was_lost().refusing("node 2 is detached");
    assert_eq!(plugin.decide(&refused), Remedy::Wait(500));
    assert_eq!(plugin.decide(&was_lost()), Remedy::Promote(n(1)));
}

#[test]
fn the_lowest_number_is_promoted_if_that_is_wanted() {
    let crisis = lost(3).with_positions(n(3), 0x0400_0000, 0);
    let remedy = ask(r#"{"promotion": "lowest-id"}"#, &crisis);
    assert_eq!(remedy, Remedy::Promote(n(1)));
}

#[test]
fn a_replica_is_not_promoted_if_something_speaks_against_it() {
    let base = || lost(2);
    for crisis in [
        base().with_down(n(1)),
        base().with_flag(n(1), NodeFlag::DisallowToFailover),
        base().with_standing(n(1), Standing::Detached),
        base().with_standing(n(1), Standing::Fenced),
        base().with_node(n(1), |w| w.system_identifier = Some(1)),
        base().with_node(n(1), |w| w.role = NodeRole::Unknown),
        // A diverged one may be further by the number.
        base()
            .with_node(n(0), |w| w.timeline = Some(2))
            .with_node(n(2), |w| w.timeline = Some(2))
            .with_positions(n(1), 0x0400_0000, 0x0400_0000),
        base()
            .lasting_ms(10_000)
            .after(Past::PromotionFailed, n(1), 7_000)
            .after(Past::PromotionFailed, n(1), 6_000)
            .after(Past::PromotionFailed, n(1), 5_000),
    ] {
        check(&crisis, Remedy::Promote(n(2)));
        let none = crisis.clone().with_down(n(2)).with_down(n(1));
        check(&none, Remedy::Wait(1_000));
    }
    let unknown = base().with_node(n(1), |w| w.system_identifier = None);
    check(&unknown, Remedy::Promote(n(1)));
    // It may be the one that has what was acknowledged.
    let once = base()
        .lasting_ms(10_000)
        .after(Past::PromotionFailed, n(1), 5_000);
    check(&once, Remedy::Promote(n(1)));
    let before = base().after(Past::PromotionFailed, n(1), 60_000);
    check(&before, Remedy::Promote(n(1)));
}

#[test]
fn it_gives_up_only_if_there_is_nobody_to_wait_for() {
    check_gives_up(&lost(0), "no node besides node 0");
    let forbidden = lost(1).with_flag(n(1), NodeFlag::DisallowToFailover);
    check_gives_up(&forbidden, "all other nodes are DISALLOW_TO_FAILOVER");
    let kept = lost(2).with_flag(n(0), NodeFlag::DisallowToFailover);
    check_gives_up(&kept, "node 0 is DISALLOW_TO_FAILOVER");
    let always = lost(2).with_flag(n(0), NodeFlag::AlwaysPrimary);
    check_gives_up(&always, "node 0 is ALWAYS_PRIMARY");
    let mut never = lost(2);
    never.subject = None;
    check_gives_up(&never, "no primary was ever seen");
    check_gives_up(
        &Crisis::default().about(Occasion::PrimaryLost, n(0)),
        "ever seen",
    );
    check(
        &lost(2).with_down(n(1)).with_down(n(2)),
        Remedy::Wait(1_000),
    );
}

#[test]
fn a_primary_that_somebody_else_promoted_is_followed() {
    let base = || lost(2).with_primary(n(2), 2);
    check(&base(), Remedy::Follow(n(2)));
    check(
        &base().with_standing(n(2), Standing::Fenced),
        Remedy::Follow(n(2)),
    );
    let unknown = base().with_node(n(0), |w| w.timeline = None);
    check(&unknown, Remedy::Follow(n(2)));
    // Taken out by the proxy: followed. By an operator: not.
    let detached = || base().with_standing(n(2), Standing::Detached);
    check(
        &detached().after(Past::Lost, n(2), 9_000),
        Remedy::Follow(n(2)),
    );
    check(&detached(), Remedy::Promote(n(1)));
    // An old primary, one of another cluster, one that is gone again.
    let promotes = Remedy::Promote(n(1));
    for crisis in [
        lost(2).with_primary(n(2), 1),
        base().with_node(n(2), |w| w.system_identifier = Some(1)),
        base().with_down(n(2)),
        unknown.with_standing(n(2), Standing::Fenced),
    ] {
        check(&crisis, promotes.clone());
    }
    let both = base().with_primary(n(1), 2);
    check_gives_up(&both, "nodes 1 and 2 are both primaries");
    check(&base().with_primary(n(1), 3), Remedy::Follow(n(1)));
}

#[test]
fn a_primary_that_became_a_replica_may_be_promoted_again() {
    let demoted = |received| {
        lost(1)
            .with_node(n(0), |w| (w.up, w.role) = (true, NodeRole::Replica))
            .with_positions(n(0), received, received)
    };
    check(&demoted(0x0400_0000), Remedy::Promote(n(0)));
    check(&demoted(0x0200_0000), Remedy::Promote(n(1)));
    check(&lost(1).with_primary(n(0), 1), Remedy::Wait(1_000));
}

#[test]
fn advice_that_was_refused_is_not_repeated_at_once() {
    let crisis = lost(2);
    let refused = || lost(2).refusing("node 1 lacks too much");
    let mut advanced = plugin("{}");
    for _ in 0..3 {
        assert_eq!(advanced.decide(&crisis), Remedy::Promote(n(1)));
        assert_eq!(advanced.decide(&refused()), Remedy::Wait(500));
    }
    // By number the next one has its turn, and then the first again.
    let mut lowest = plugin(r#"{"promotion": "lowest-id"}"#);
    for node in [1, 2, 1, 2] {
        assert_eq!(lowest.decide(&crisis), Remedy::Promote(n(node)));
        assert_eq!(lowest.decide(&refused()), Remedy::Wait(500));
    }
    // A fresh instance does not know what it was.
    check(&refused(), Remedy::Promote(n(1)));
}

fn other(timeline: u32) -> Crisis {
    cluster(2)
        .with_primary(n(2), timeline)
        .with_standing(n(2), Standing::Fenced)
        .about(Occasion::OtherPrimary, n(2))
}

#[test]
fn another_primary_is_followed_if_it_was_promoted_later() {
    check(&other(2), Remedy::Follow(n(2)));
    check(&other(1), Remedy::Abstain);
    check(
        &other(2).with_node(n(0), |w| w.timeline = Some(3)),
        Remedy::Abstain,
    );
    check(
        &other(2).with_node(n(2), |w| w.timeline = None),
        Remedy::Wait(1_000),
    );
    check(
        &other(2).with_node(n(2), |w| w.system_identifier = Some(1)),
        Remedy::Abstain,
    );
    check(
        &other(2).with_standing(n(2), Standing::Detached),
        Remedy::Abstain,
    );
    for flag in [NodeFlag::AlwaysPrimary, NodeFlag::DisallowToFailover] {
        check(&other(2).with_flag(n(0), flag), Remedy::Abstain);
    }
}

#[test]
fn a_false_primary_is_detached_if_that_is_wanted() {
    let follows = |node: u32| move |w: &mut pgsteer_plugin_sdk::Witness| w.follows = Some(n(node));
    let detach = || Remedy::Detach(n(2));
    for (crisis, expected) in [
        // The replicas say which is the true one, whatever the timelines are.
        (other(1), detach()),
        (other(2), detach()),
        (other(1).with_node(n(1), follows(2)), Remedy::Follow(n(2))),
        // They say nothing: the timelines do.
        (other(2).with_down(n(1)), Remedy::Follow(n(2))),
        (other(1).with_down(n(1)), detach()),
        (
            other(2).with_node(n(1), |w| w.follows = None),
            Remedy::Follow(n(2)),
        ),
        (
            other(2).with_node(n(2), |w| w.system_identifier = Some(1)),
            detach(),
        ),
        (
            other(1).with_standing(n(2), Standing::Detached),
            Remedy::Abstain,
        ),
        (
            other(1).with_flag(n(2), NodeFlag::DisallowToFailover),
            Remedy::Abstain,
        ),
    ] {
        let remedy = ask(r#"{"detach_false_primary": true}"#, &crisis);
        assert_eq!(remedy, expected, "{crisis:#?}");
    }
    // Two replicas that do not agree.
    let split = cluster(3)
        .with_primary(n(3), 2)
        .with_node(n(2), follows(3))
        .about(Occasion::OtherPrimary, n(3));
    assert_eq!(
        ask(r#"{"detach_false_primary": true}"#, &split),
        Remedy::Follow(n(3))
    );
}

#[test]
fn a_lost_node_is_detached_unless_that_is_forbidden() {
    let lost = || cluster(2).with_down(n(2)).about(Occasion::NodeLost, n(2));
    check(&lost(), Remedy::Detach(n(2)));
    let mut without_primary = lost();
    without_primary.primary = None;
    check(&without_primary, Remedy::Wait(1_000));
    for flag in [NodeFlag::AlwaysPrimary, NodeFlag::DisallowToFailover] {
        check(&lost().with_flag(n(2), flag), Remedy::Abstain);
    }
    check(
        &lost().with_standing(n(2), Standing::Detached),
        Remedy::Abstain,
    );
}

#[test]
fn a_node_that_is_back_is_reattached_and_not_too_often() {
    let back = || {
        cluster(2)
            .with_standing(n(2), Standing::Detached)
            .about(Occasion::NodeBack, n(2))
    };
    let reattach = || Remedy::Reattach(n(2));
    check(&back(), reattach());
    check(&back().with_standing(n(2), Standing::Fenced), reattach());
    check(
        &back().after(Past::Attached, n(2), 20_000),
        Remedy::Wait(40_000),
    );
    check(&back().after(Past::Attached, n(2), 60_000), reattach());
    check(&back().after(Past::Attached, n(1), 1), reattach());
    let latest = back()
        .after(Past::Attached, n(2), 90_000)
        .after(Past::Attached, n(2), 50_000);
    check(&latest, Remedy::Wait(10_000));
    check(
        &back().with_node(n(2), |w| w.connected = Some(false)),
        Remedy::Wait(1_000),
    );
    assert_eq!(ask(r#"{"auto_failback": false}"#, &back()), Remedy::Abstain);
    let json = r#"{"auto_failback_interval": 5}"#;
    let soon = back().after(Past::Attached, n(2), 4_000);
    assert_eq!(ask(json, &soon), Remedy::Wait(1_000));
}

#[test]
fn what_is_newer_than_this_plugin_is_left_to_others() {
    check(&cluster(2), Remedy::Abstain);
    for occasion in [
        Occasion::OtherPrimary,
        Occasion::NodeLost,
        Occasion::NodeBack,
    ] {
        check(&cluster(1).about(occasion, n(7)), Remedy::Abstain);
    }
}

#[test]
fn settings_are_read_and_mistakes_named() {
    let json = r#"{"promotion": "lowest-id", "auto_failback": false,
        "auto_failback_interval": 0, "detach_false_primary": true}"#;
    let expected = Settings {
        promotion: Promotion::LowestId,
        auto_failback: false,
        auto_failback_interval_ms: 0,
        detach_false_primary: true,
    };
    assert_eq!(Settings::from_json(json), Ok(expected));
    assert_eq!(Settings::from_json("{}"), Ok(Settings::default()));
    for (json, words) in [
        (
            r#"{"promotion": "best"}"#,
            "\"most-advanced\", \"lowest-id\"",
        ),
        (r#"{"auto_failback": "on"}"#, "true and false"),
        (r#"{"auto_failback_interval": 86401}"#, "0 to 86400"),
        (r#"{"auto_failback_interval": "60s"}"#, "whole numbers"),
        (
            r#"{"autofailback": true}"#,
            "known are promotion, auto_failback,",
        ),
        ("[]", ""),
    ] {
        let error = Settings::from_json(json).expect_err(json);
        assert!(error.contains(words), "{json}: {error}");
    }
}

#[test]
fn the_documentation_has_every_key() {
    let readme = include_str!("../README.md");
    for key in KEYS {
        assert!(readme.contains(&format!("| `{key}` |")), "{key}");
    }
}
