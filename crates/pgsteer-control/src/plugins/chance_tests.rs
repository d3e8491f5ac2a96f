//! Whatever happens in whatever order: what is reported is what is published, somebody routes, what
//! is pinned stays, what went back does not come back by itself.

use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::admin::Order;
use pgsteer_core::policy::Plugin;
use proptest::prelude::*;

use super::registry::Origin;
use super::world::World;

const NAMES: [&str; 4] = ["10-a", "20-b", "50-router", "60-a"];
const TEXTS: [&str; 4] = ["1", "2", "3", "bad"];
const BESIDE: [&str; 3] = ["", "[config]\nx = 1", "[rollout]\nshadow = \"50%\""];

#[derive(Clone, Debug)]
enum Act {
    Write(usize, usize, usize),
    WriteSet(usize, usize, usize),
    Delete(usize),
    Trap(usize),
    Work(usize),
    After(u64),
    Order(usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let file = (0..4_usize, 0..4_usize, 0..3_usize);
    prop_oneof![
        4 => file.prop_map(|(name, text, beside)| Act::Write(name, text, beside)),
        2 => (0..4_usize, 0..4_usize, 0..4_usize)
            .prop_map(|(one, other, text)| Act::WriteSet(one, other, text)),
        1 => (0..4_usize).prop_map(Act::Delete),
        2 => (0..4_usize).prop_map(Act::Trap),
        2 => (0..4_usize).prop_map(Act::Work),
        2 => (1..900_u64).prop_map(Act::After),
        3 => (0..4_usize, 0..7_usize).prop_map(|(name, order)| Act::Order(name, order)),
    ]
}

fn order(name: usize, order: usize) -> Order {
    let name = NAMES[name].to_owned();
    match order {
        0 => Order::Rollback(name),
        1 => Order::Pin(name),
        2 => Order::Unpin(name),
        3 => Order::Disable(name),
        4 => Order::Enable(name),
        5 => Order::Shadow(name, 0.5),
        _ => Order::Promote(name),
    }
}

fn in_force(world: &World, name: usize) -> Option<Arc<Plugin>> {
    let mut plugins = world.set.plugins.iter();
    let found = plugins.find(|plugin| &*plugin.file_name == NAMES[name]);
    found.map(Arc::clone)
}

fn perform(world: &mut World, act: &Act) {
    match *act {
        Act::Write(name, text, beside) => {
            world.write(&[(NAMES[name], TEXTS[text], BESIDE[beside])]);
        }
        Act::WriteSet(one, other, text) => {
            world.write_set(&[(NAMES[one], TEXTS[text], ""), (NAMES[other], "2", "")]);
        }
        Act::Delete(name) => world.delete(NAMES[name]),
        Act::Trap(name) => {
            if let Some(plugin) = in_force(world, name) {
                plugin.counters(0).calls.add(9);
                plugin.counters(0).failures[0].add(9);
            }
            world.advance();
        }
        Act::Work(name) => {
            if let Some(plugin) = in_force(world, name) {
                plugin.counters(0).calls.add(20_000);
            }
            world.advance();
        }
        Act::After(seconds) => world.after(Duration::from_secs(seconds)),
        Act::Order(name, number) => {
            let order = order(name, number);
            let settings = &world.settings;
            let _answer = world.registry.obey(&order, "alice", settings, world.now);
            world.advance();
        }
    }
}

/// The pinned plugins in force.
fn pinned(world: &World) -> Vec<Arc<Plugin>> {
    let entries = world.registry.entries.iter();
    let entries = entries.filter(|(id, entry)| id.1 == Origin::File && entry.words.pinned);
    let builds = entries.filter_map(|(_, entry)| entry.force.deciding());
    builds.map(|build| Arc::clone(&build.plugin)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold(acts in prop::collection::vec(act(), 1..40)) {
        let mut world = World::watched();
        for act in &acts {
            let before = pinned(&world);
            perform(&mut world, act);
            world.check_consistency();
            let routers = ["50-router", "90-router"];
            let somebody = world.set.plugins.iter().any(|p| routers.contains(&&*p.file_name));
            prop_assert!(somebody, "nobody routes after {act:?}");
            for plugin in before {
                let may_go = matches!(act, Act::Order(..) | Act::Trap(_));
                let there = world.set.plugins.iter().any(|p| Arc::ptr_eq(p, &plugin));
                let name = &plugin.file_name;
                prop_assert!(there || may_go, "{name} was pinned and went with {act:?}");
            }
            for (id, entry) in &world.registry.entries {
                prop_assert!(entry.history.len() <= 5);
                let went_back = &entry.words.rolled_back;
                if let Some(build) = entry.force.deciding().filter(|_| id.1 == Origin::File) {
                    prop_assert!(!went_back.contains(&build.version.key()), "{id:?} came back");
                }
            }
        }
    }
}
