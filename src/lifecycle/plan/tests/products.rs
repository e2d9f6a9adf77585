//! What differs by product.

use super::*;
use crate::model::{GrantSupport, ListScope};

#[test]
fn where_tokens_have_no_grants_another_spec_changes_what_is_probed_and_nothing_else() {
    let mut world = World::new().settled();
    world.descriptor.grants = GrantSupport::Absent;
    world.listing.tokens[0].grants = None;
    let plan = world.plan();
    assert_eq!((plan.steps, plan.findings), (vec![], vec![]));
    let grants = Grants::of(["b".parse().expect("a database")], []);
    world.spec(|spec| spec.grants = grants.clone());
    let id = world.listing.tokens[0].id.clone();
    let event = Event::GrantsChanged { id, grants };
    assert_eq!(world.plan().steps, [Step::Note { name: name("a"), event }]);
}

#[test]
fn an_empty_list_closes_no_intent_where_a_caller_without_rights_gets_one() {
    let mut world = World::new().settled();
    let deadline = at(world.now);
    let intent = Intent { marker: marker(9), server: key(), deadline, boot: None, secret: None };
    world.record(|record| record.intents.push(intent));
    world.now += hours(26);
    let closes = |plan: &Plan| {
        let is_close = |step: &Step| matches!(step, Step::Note { event: Event::MintRefused(_), .. });
        plan.steps.iter().any(is_close)
    };
    let rows = world.listing.tokens.clone();
    for (list, tokens, expected) in [
        (ListScope::All, vec![], true),
        (ListScope::CallersOwn, vec![], false),
        (ListScope::CallersOwn, rows, true),
    ] {
        (world.descriptor.list, world.listing.tokens) = (list, tokens);
        assert_eq!(closes(&world.plan()), expected, "{list:?}");
    }
}
