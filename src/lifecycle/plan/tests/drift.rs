//! Grants that are not what the list asks for.

use super::*;

fn databases(names: &[&str]) -> Grants {
    Grants::of([], names.iter().map(|name| -> Database { name.parse().expect("a database") }))
}

fn patches(plan: &Plan) -> Vec<(&str, String)> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::Patch { id, grants, .. } => Some((&*id.0, grants.to_string())),
            _ => None,
        })
        .collect()
}

impl World {
    fn wants(&mut self, names: &[&str]) {
        self.databases = Databases::Known(["telemetry", "b", "c"].map(str::to_owned).into());
        self.spec(|spec| spec.grants = databases(names));
    }

    /// As the server has it.
    fn may(&mut self, names: &[&str]) {
        let grants = databases(names);
        self.listing.tokens[0].grants = Some(grants.clone());
        self.current(|held| held.grants = grants);
    }
}

#[test]
fn what_is_lacking_is_given_at_once_and_what_is_too_much_taken_after_a_while() {
    let mut world = World::new().settled();
    world.wants(&["b"]);
    assert_eq!(patches(&world.plan()), [("id-1", "write b, write telemetry".to_owned())]);
    world.may(&["b", "telemetry"]);
    let plan = world.plan();
    assert_eq!(
        plan.steps,
        [Step::Note { name: name("a"), event: Event::SurplusNoted(Some(databases(&["b"]))) }]
    );
    world.note(&plan);
    let plan = world.plan();
    assert_eq!((plan.steps, plan.next_due), (vec![], Some(at(world.now + hours(24)))));
    assert!(matches!(plan.findings[0].matter, Matter::Surplus { .. }));
    world.now += hours(24);
    assert_eq!(patches(&world.plan()), [("id-1", "write b".to_owned())]);
    world.may(&["b"]);
    let plan = world.plan();
    assert_eq!(plan.steps, [Step::Note { name: name("a"), event: Event::SurplusNoted(None) }]);
    world.note(&plan);
    assert_eq!(world.plan().steps, []);
}

#[test]
fn what_is_not_wanted_any_more_has_a_grace_of_its_own() {
    let mut world = World::new().settled();
    world.wants(&["b", "c"]);
    world.may(&["b", "c", "telemetry"]);
    let plan = world.plan();
    world.note(&plan);
    world.now += hours(23);
    world.wants(&["b"]);
    let plan = world.plan();
    world.note(&plan);
    world.now += hours(1);
    assert_eq!(patches(&world.plan()), [], "c was wanted an hour ago");
    world.now += hours(23);
    assert_eq!(patches(&world.plan()), [("id-1", "write b".to_owned())]);
}

#[test]
fn what_is_wanted_again_in_time_is_not_taken() {
    let mut world = World::new().settled();
    world.wants(&["b"]);
    world.may(&["b", "telemetry"]);
    let plan = world.plan();
    world.note(&plan);
    world.wants(&["b", "telemetry"]);
    assert_eq!(world.plan().steps, [Step::Note { name: name("a"), event: Event::SurplusNoted(None) }]);
}

#[test]
fn what_a_stranger_took_is_given_back_and_what_he_gave_is_taken_after_a_while() {
    let mut world = World::new().settled();
    world.databases = Databases::Known(["telemetry", "c"].map(str::to_owned).into());
    world.listing.tokens[0].grants = Some(databases(&["c"]));
    let plan = world.plan();
    assert_eq!(patches(&plan), [("id-1", "write c, write telemetry".to_owned())]);
    assert!(found(&plan, |matter| matches!(matter, Matter::GrantsAltered { .. })));
    world.listing.tokens[0].grants = Some(databases(&["c", "telemetry"]));
    let plan = world.plan();
    world.note(&plan);
    let Some(Known::Ours(record)) = world.records.get(&name("a")) else { panic!("a record") };
    assert_eq!(record.current.as_ref().expect("current").grants, databases(&["c", "telemetry"]));
    assert_eq!(record.surplus_since.as_ref().map(|moment| moment.at), Some(at(world.now)));
    assert!(!found(&world.plan(), |matter| matches!(matter, Matter::GrantsAltered { .. })), "told once");
}

#[test]
fn where_the_server_cannot_change_grants_another_token_takes_the_place() {
    let mut world = World::new().settled();
    world.descriptor.grants = crate::model::GrantSupport::Fixed;
    world.wants(&["b"]);
    assert_eq!(world.plan().steps, [Step::Mint { name: name("a"), why: MintReason::Grants }]);
    world.wants(&["b", "telemetry"]);
    world.may(&["b", "c", "telemetry"]);
    let plan = world.plan();
    world.note(&plan);
    assert_eq!(world.plan().steps, [], "too much waits here too");
    world.now += hours(24);
    assert_eq!(world.plan().steps, [Step::Mint { name: name("a"), why: MintReason::Grants }]);
}

#[test]
fn what_others_may_use_is_replaced_and_not_changed() {
    let mut world = World::new().settled();
    world.wants(&["b"]);
    world.current(|held| {
        held.marker = None;
        held.origin = Origin::Imported { exclusive: false };
    });
    world.listing.tokens[0].label = None;
    assert_eq!(world.plan().steps, [Step::Mint { name: name("a"), why: MintReason::Grants }]);
    world.current(|held| held.origin = Origin::Imported { exclusive: true });
    assert_eq!(patches(&world.plan()).len(), 1);
}

#[test]
fn grants_that_are_said_in_an_unknown_way_are_not_overwritten() {
    let mut world = World::new().settled();
    world.list(2, 30, |_| {});
    world.listing.tokens[0].grants = None;
    let plan = world.plan();
    assert!(found(&plan, |matter| *matter == Matter::GrantsAltered { has: None }));
    assert!(!found(&plan, |matter| *matter == Matter::GrantsUnreported));
    world.wants(&["b"]);
    assert_eq!(world.plan().steps, [Step::Mint { name: name("a"), why: MintReason::Grants }]);
}

#[test]
fn where_no_grants_are_told_that_is_said_once_and_no_token_was_changed() {
    let mut world = World::new().settled();
    world.listing.tokens[0].grants = None;
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.findings, [Finding { name: None, matter: Matter::GrantsUnreported }]);
    world.listing.tokens.clear();
    assert!(!found(&world.plan(), |matter| *matter == Matter::GrantsUnreported), "there is none yet");
}

#[test]
fn a_next_is_widened_before_anybody_has_it() {
    let mut world = World::new().settled();
    let next = world.held(2, 30);
    world.record(|record| record.next = Some(next));
    world.list(2, 30, |_| {});
    world.wants(&["b"]);
    let plan = world.plan();
    let patched: Vec<&str> = patches(&plan).into_iter().map(|(id, _)| id).collect();
    assert_eq!(patched, ["id-1", "id-2"]);
}

/// A probe asks for what the record says: what is not granted any more would be refused for ever.
#[test]
fn a_next_that_somebody_took_a_surplus_from_is_known_to_have_less() {
    let mut world = World::new().settled();
    let mut next = world.held(2, 30);
    next.grants = databases(&["c", "telemetry"]);
    world.record(|record| record.next = Some(next));
    world.list(2, 30, |row| row.grants = Some(databases(&["telemetry"])));
    let plan = world.plan();
    assert_eq!(patches(&plan), []);
    world.note(&plan);
    let Some(Known::Ours(record)) = world.records.get(&name("a")) else { panic!("a record") };
    assert_eq!(record.next.as_ref().expect("next").grants, databases(&["telemetry"]));
    assert!(matches!(world.plan().steps[..], [Step::Probe { .. }]));
}

#[test]
fn a_database_that_is_not_there_keeps_a_token_as_it_is() {
    let mut world = World::new().settled();
    world.spec(|spec| spec.grants = databases(&["nowhere", "telemetry"]));
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert!(found(&plan, |matter| matches!(matter, Matter::NoDatabase(_))));
}

#[test]
fn eight_names_at_a_time_get_another_token_for_other_grants() {
    let mut world = World::new().settled();
    world.descriptor.grants = crate::model::GrantSupport::Fixed;
    world.wants(&["b"]);
    let (spec, known) =
        (world.specs[&name("a")].clone(), world.records[&name("a")].record().expect("it").clone());
    for n in 10..30_u8 {
        let other = name(&format!("n{n}"));
        let (mut spec, mut record, mut held) = (spec.clone(), known.clone(), world.held(n, hours(24)));
        held.marker = Some(marker(n));
        (spec.name, record.name, record.current) = (other.clone(), other.clone(), Some(held));
        let next = world.held(n + 100, 30);
        record.next = (n < 13).then_some(next);
        world.specs.insert(other.clone(), spec);
        world.records.insert(other, Known::Ours(record.into()));
        world.list(n, hours(24), |_| {});
    }
    let plan = world.plan();
    assert_eq!(mints(&plan), 8 - 3);
    assert!(found(&plan, |matter| *matter == Matter::ChangeWaits));
}
