//! New values: asked for by a person, and what becomes of the old ones.

use super::*;

#[test]
fn what_a_person_asks_for_is_minted_once_and_neither_pause_nor_gone_matters() {
    let mut world = World::new().settled();
    world.evidence.asked.insert(name("a"));
    let asked = [Step::Mint { name: name("a"), why: Why::Asked }];
    assert_eq!(world.plan().steps, asked);
    world.record(|record| record.replaced = (0..3).map(|n| at(hours(990 + n))).collect());
    assert_eq!(world.plan().steps, asked, "nobody asked for those three");
    world.listing.tokens[0].revoked_at = Some(at(hours(999)));
    assert!(world.plan().steps.contains(&asked[0]), "nor is it a replacement that counts");
    world.evidence.waiting.insert(name("a"), Duration::from_secs(30));
    assert_eq!(mints(&world.plan()), 0, "it failed since: it waits as any other does");
}

#[test]
fn a_person_who_asks_gets_the_next_that_is_there() {
    let mut world = World::new().settled();
    world.evidence.asked.insert(name("a"));
    let next = world.held(2, 60);
    world.record(|record| record.next = Some(next));
    assert!(matches!(world.plan().steps[..], [Step::Probe { .. }]));
    world.probed(2, |probed| probed.accept(at(hours(1000))));
    assert!(matches!(world.plan().steps[..], [Step::Promote { .. }]));
    let mut fresh = World::new();
    fresh.evidence.asked.insert(name("a"));
    assert_eq!(mints(&fresh.plan()), 1, "and where there is none, the first");
}

#[test]
fn a_database_that_is_missing_keeps_a_person_waiting_too() {
    let mut world = World::new().settled();
    world.evidence.asked.insert(name("a"));
    world.databases = Databases::Known(BTreeSet::new());
    let plan = world.plan();
    assert_eq!(mints(&plan), 0);
    assert!(found(&plan, |matter| matches!(matter, Matter::NoDatabase(_))));
}
