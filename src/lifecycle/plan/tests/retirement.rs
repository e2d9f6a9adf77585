//! A host that gives up its tokens.

use super::*;

fn look(world: &mut World) -> Retirement {
    world.look(|view| retirement(view, &[]))
}

/// The ids of what is revoked and of what stays.
fn outcomes(world: &mut World) -> (Vec<String>, Vec<(String, ExemptionReason)>) {
    let found = look(world);
    let revokes = found.revokes.into_iter().map(|one| one.id.to_string()).collect();
    (revokes, found.stays.into_iter().map(|one| (one.id.to_string(), one.why)).collect())
}

fn revokes(world: &mut World) -> Vec<String> {
    outcomes(world).0
}

#[test]
fn current_next_and_former_tokens_are_revoked_unless_the_list_shows_that_they_are() {
    let mut world = World::new().settled();
    let (next, former, older) = (world.held(2, 5), world.held(3, hours(48)), world.held(4, hours(72)));
    let since = at(world.now);
    world.record(|record| {
        record.next = Some(next);
        record.retiring = vec![retiring(former, since), retiring(older, since)];
    });
    world.list(3, hours(48), |_| {});
    let revoked_at = at(world.now);
    world.list(4, hours(72), |row| row.revoked_at = Some(revoked_at));
    assert_eq!(revokes(&mut world), ["id-1", "id-2", "id-3"], "the second is too young for the list");
    let expired = at(world.now - 1);
    world.record(|record| record.next.as_mut().expect("it").expires_at = Some(expired));
    assert_eq!(revokes(&mut world), ["id-1", "id-3"]);
    world.listing.tokens[0].created_at = Some(at(world.now - hours(9)));
    assert_eq!(revokes(&mut world), ["id-3"], "its id is another token's now");
}

#[test]
fn what_is_not_ours_stays() {
    for (origin, expected) in [
        (Origin::Imported { exclusive: false }, ExemptionReason::Imported),
        (Origin::Inherited, ExemptionReason::Inherited),
    ] {
        let mut world = World::new().settled();
        world.current(|held| held.origin = origin);
        assert_eq!(outcomes(&mut world), (vec![], vec![("id-1".to_owned(), expected)]));
    }
    let mut world = World::new().settled();
    world.current(|held| held.origin = Origin::Imported { exclusive: true });
    assert_eq!(revokes(&mut world), ["id-1"]);
    world.current(|held| held.server.origin = "https://elsewhere.example.com".into());
    world.listing.tokens.clear();
    assert_eq!(outcomes(&mut world), (vec![], vec![]), "this server does not know it");
}

#[test]
fn what_has_this_instances_label_is_revoked_where_a_record_knows_its_marker() {
    let mut world = World::new().settled();
    world.list(6, hours(1), |_| {});
    world.list(8, hours(1), |row| row.label.as_mut().expect("one").instance = Instance::from_bits([2; 16]));
    world.list(9, hours(1), |row| row.label = None);
    world.former = vec![Instance::from_bits([2; 16])];
    let mint = MintAttempt {
        at: Moment { at: at(world.now - hours(1)), boot: None },
        marker: marker(6),
        kind: AttemptKind::Refused,
        grants: grants(),
    };
    world.record(|record| record.mints = vec![mint]);
    let of_former = ("id-8".to_owned(), ExemptionReason::Inherited);
    assert_eq!(
        outcomes(&mut world),
        (vec!["id-1".to_owned(), "id-6".to_owned()], vec![of_former.clone()]),
        "refused, and there all the same"
    );
    let found = look(&mut world);
    assert_eq!(found.revokes.iter().map(|one| one.is_recorded).collect::<Vec<_>>(), [true, false]);
    // What a record that cannot be read knows, nobody knows.
    world.records.insert(name("a"), Known::Unreadable);
    let unknown = |n: u8| (format!("id-{n}"), ExemptionReason::Unknown);
    assert_eq!(outcomes(&mut world), (vec![], vec![unknown(1), unknown(6), of_former]));
}

#[test]
fn what_no_record_knows_is_revoked_only_where_a_person_named_it() {
    let mut world = World::new().settled();
    world.list(7, hours(1), |_| {});
    world.list(8, hours(1), |_| {});
    let unknown = |n: u8| (format!("id-{n}"), ExemptionReason::Unknown);
    assert_eq!(outcomes(&mut world), (vec!["id-1".to_owned()], vec![unknown(7), unknown(8)]));
    let found = world.look(|view| retirement(view, &[TokenId("id-8".into())]));
    assert_eq!(found.revokes.iter().map(|one| &*one.id.0).collect::<Vec<_>>(), ["id-1", "id-8"]);
    assert_eq!(found.stays.iter().map(|one| &*one.id.0).collect::<Vec<_>>(), ["id-7"]);
}

#[test]
fn a_revoked_token_that_is_live_is_revoked_again_once_no_list_lags_so_long() {
    let mut world = World::new().settled();
    let revoked_at = world.now;
    world.record(|record| {
        let held = record.current.take().expect("it");
        record.revoked = vec![Revoked {
            id: held.id,
            server: held.server,
            marker: held.marker,
            at: at(revoked_at),
            boot: None,
            created_at: None,
            is_ours: true,
            unused: false,
        }];
    });
    assert_eq!(revokes(&mut world), Vec::<String>::new());
    world.now += 600;
    assert_eq!(revokes(&mut world), ["id-1"]);
}

#[test]
fn a_mint_that_was_not_answered_keeps_the_store_until_the_list_can_tell() {
    let mut world = World::new().settled();
    let (deadline, server) = (at(world.now), key());
    let intent = Intent { marker: marker(5), server, deadline, boot: None, secret: None };
    world.record(|record| record.intents = vec![intent]);
    let unanswered = look(&mut world).unanswered;
    assert_eq!(unanswered.iter().map(|one| one.until).collect::<Vec<_>>(), [at(world.now + hours(24))]);
    // It comes: it is a token like any other of this instance.
    world.list(5, 0, |_| {});
    let found = look(&mut world);
    assert_eq!((found.revokes.len(), found.unanswered.len()), (2, 0));
    world.listing.tokens.pop();
    world.now += hours(24);
    assert_eq!(look(&mut world).unanswered, []);
}
