//! Tokens that came of intents whose end is not known.

use super::*;

#[test]
fn a_stray_is_ended_once_its_name_has_a_token_that_works_and_has_arrived() {
    let intent = |world: &World| Intent {
        marker: marker(7),
        server: key(),
        deadline: at(world.now - 60),
        boot: None,
        secret: None,
    };
    let mut world = World::new().settled();
    let open = intent(&world);
    world.record(|record| record.intents.push(open));
    world.list(7, 90, |_| {});
    assert_eq!(revokes(&world.plan()), ["id-7"]);

    world.evidence.in_flight.insert(marker(7));
    assert_eq!(revokes(&world.plan()), [""; 0], "its mint is still under way");
    world.evidence.in_flight.clear();

    std::sync::Arc::make_mut(&mut world.evidence.delivered).clear();
    assert_eq!(revokes(&world.plan()), [""; 0], "consumers may hold it after a restored backup");
    std::sync::Arc::make_mut(&mut world.evidence.delivered).insert(name("a"), 1);

    world.evidence.probes.clear();
    let plan = world.plan();
    assert_eq!(revokes(&plan), [""; 0], "current is not known to work");
    assert!(plan.steps.iter().any(|step| matches!(step, Step::Verify { .. })), "so it is asked");

    world.records.insert(name("a"), Known::Unreadable);
    assert_eq!(revokes(&world.plan()), [""; 0], "what its record says of it is not known");
}

#[test]
fn what_is_not_ours_is_never_ended() {
    let mut world = World::new().settled();
    let other = Instance::from_bits([9; 16]);
    world.list(5, 90, |row| row.label.as_mut().expect("a label").instance = other);
    world.list(6, 90, |row| row.label = None);
    world.list(7, 90, |_| {});
    let plan = world.plan();
    assert_eq!(revokes(&plan), [""; 0]);
    assert_eq!(plan.unknown.len(), 1, "our instance, no intent of ours: reported");
}

#[test]
fn a_second_token_under_the_marker_of_a_held_one_is_a_stray() {
    let mut world = World::new().settled();
    world.list(1, 90, |row| row.id = TokenId("id-again".into()));
    assert_eq!(revokes(&world.plan()), ["id-again"]);
}

#[test]
fn unknown_tokens_made_while_we_run_show_a_twin() {
    let mut world = World::new().settled();
    world.evidence.first_list = Some(at(world.now - 1200));
    world.list(7, 900, |_| {});
    assert!(!world.plan().steps.contains(&Step::Separate), "seen once");
    world.evidence.unknown_since.insert(TokenId("id-7".into()), at(world.now - 600));
    assert!(!world.plan().steps.contains(&Step::Separate), "one may be a fault of ours");
    world.list(8, 900, |_| {});
    world.evidence.unknown_since.insert(TokenId("id-8".into()), at(world.now - 600));
    assert!(world.plan().steps.contains(&Step::Separate));
    world.record(|record| record.mints = vec![attempt(8, hours(999))]);
    let plan = world.plan();
    assert!(!plan.steps.contains(&Step::Separate), "the other was minted here");
    assert_eq!(revokes(&plan), ["id-8"], "and was taken for refused: a stray");
    world.record(|record| record.mints.clear());
    world.evidence.first_list = Some(at(world.now - 800));
    assert!(!world.plan().steps.contains(&Step::Separate), "older than this process: a restored backup");
}

#[test]
fn an_intent_is_dropped_when_its_token_has_ended_or_a_later_list_lacks_it() {
    let mut world = World::new().settled();
    let now = world.now;
    let open =
        |age| Intent { marker: marker(7), server: key(), deadline: at(now - age), boot: None, secret: None };
    let close = Step::Note { name: name("a"), event: Event::MintRefused(marker(7)) };
    world.record(|record| record.intents = vec![open(hours(24) - 1)]);
    assert!(!world.plan().steps.contains(&close));
    world.record(|record| record.intents = vec![open(hours(24))]);
    assert!(world.plan().steps.contains(&close));
    world.record(|record| record.intents = vec![open(60)]);
    world.list(7, 90, |row| row.revoked_at = Some(at(now)));
    assert!(world.plan().steps.contains(&close));
}

#[test]
fn many_open_intents_stop_minting_until_a_list_lacks_them() {
    let mut world = World::new();
    let now = world.now;
    let open = |age: i64| {
        (0..16).map(move |n| Intent {
            marker: marker(n),
            server: key(),
            deadline: at(now - age),
            boot: None,
            secret: None,
        })
    };
    world.record(|record| record.intents = open(60).collect());
    assert_eq!(mints(&world.plan()), 0);
    world.record(|record| record.intents = open(600).collect());
    assert_eq!(mints(&world.plan()), 1, "the list would show them by now");
}

#[test]
fn a_revoked_import_that_lives_is_revoked_again_if_it_was_ours_alone() {
    let mut world = World::new().settled();
    let created_at = at(world.now - hours(48));
    let revoked = Revoked {
        id: TokenId("id-7".into()),
        server: key(),
        marker: None,
        created_at: Some(created_at),
        at: at(world.now - 600),
        boot: None,
        is_ours: true,
        unused: false,
    };
    let by_hand = |row: &mut Listed| row.label = None;
    world.list(7, hours(48), by_hand);
    world.record(|record| record.revoked = vec![revoked]);
    assert_eq!(revokes(&world.plan()), ["id-7"], "the revocation was lost");
    // Another token that has the same id by now.
    world.listing.tokens[1].created_at = Some(at(world.now));
    assert_eq!(world.plan().steps, []);
    world.listing.tokens[1].created_at = Some(created_at);
    world.record(|record| record.revoked[0].is_ours = false);
    assert_eq!(world.plan().steps, [], "others use it");
}

#[test]
fn a_name_whose_server_has_another_address_by_now_is_not_minted_on_the_former_one() {
    let mut world = World::new();
    world.spec(|spec| spec.key = ServerKey { origin: "https://other.example.com".into(), ..key() });
    assert_eq!(world.plan(), Plan::default(), "it is the new keeper's");
    let mut world = World::new().settled().lives(80 * 24 * 3600, 90 * 24 * 3600);
    world.spec(|spec| spec.key = ServerKey { origin: "https://other.example.com".into(), ..key() });
    assert_eq!(mints(&world.plan()), 0);
}

#[test]
fn a_token_that_lost_its_label_at_the_mint_is_asked_to_be_revoked_until_it_is() {
    let mut world = World::new().settled();
    let revoked = Revoked {
        id: TokenId("id-7".into()),
        server: key(),
        marker: Some(marker(7)),
        created_at: None,
        at: at(world.now - 1),
        boot: None,
        is_ours: true,
        unused: true,
    };
    world.record(|record| record.revoked = vec![revoked]);
    world.list(7, 60, |row| row.label = None);
    assert_eq!(revokes(&world.plan()), ["id-7"]);
    world.listing.tokens[1].revoked_at = Some(at(world.now));
    assert_eq!(world.plan().steps, []);
}
