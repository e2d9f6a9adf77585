//! A host that gives up its tokens.

use super::*;

/// The ids of what ends and of what lives on.
fn fates(world: &mut World) -> (Vec<String>, Vec<(String, Stays)>) {
    let found = world.look(retirement);
    let ends = found.ends.into_iter().map(|one| one.id.to_string()).collect();
    (ends, found.stays.into_iter().map(|one| (one.id.to_string(), one.why)).collect())
}

fn ends(world: &mut World) -> Vec<String> {
    fates(world).0
}

#[test]
fn current_next_and_former_tokens_end_unless_the_list_shows_that_they_have() {
    let mut world = World::new().settled();
    let (next, former, older) = (world.held(2, 5), world.held(3, hours(48)), world.held(4, hours(72)));
    let since = at(world.now);
    world.record(|record| {
        record.next = Some(next);
        record.retiring = vec![retiring(former, since), retiring(older, since)];
    });
    world.list(3, hours(48), |_| {});
    let ended_at = at(world.now);
    world.list(4, hours(72), |row| row.revoked_at = Some(ended_at));
    assert_eq!(ends(&mut world), ["id-1", "id-2", "id-3"], "the second is too young for the list");
    let expired = at(world.now - 1);
    world.record(|record| record.next.as_mut().expect("it").expires_at = Some(expired));
    assert_eq!(ends(&mut world), ["id-1", "id-3"]);
    world.listing.tokens[0].created_at = Some(at(world.now - hours(9)));
    assert_eq!(ends(&mut world), ["id-3"], "its id is another token's now");
}

#[test]
fn what_is_not_ours_lives_on() {
    for (origin, expected) in
        [(Origin::Imported { exclusive: false }, Stays::Imported), (Origin::Inherited, Stays::Inherited)]
    {
        let mut world = World::new().settled();
        world.current(|held| held.origin = origin);
        assert_eq!(fates(&mut world), (vec![], vec![("id-1".to_owned(), expected)]));
    }
    let mut world = World::new().settled();
    world.current(|held| held.origin = Origin::Imported { exclusive: true });
    assert_eq!(ends(&mut world), ["id-1"]);
    world.current(|held| held.server.origin = "https://elsewhere.example.com".into());
    world.listing.tokens.clear();
    assert_eq!(fates(&mut world), (vec![], vec![]), "this server does not know it");
}

#[test]
fn what_bears_this_instances_label_ends_and_a_former_ones_lives_on() {
    let mut world = World::new().settled();
    world.list(7, hours(1), |_| {});
    world.list(8, hours(1), |row| row.label.as_mut().expect("one").instance = Instance::from_bits([2; 16]));
    world.list(9, hours(1), |row| row.label = None);
    world.former = vec![Instance::from_bits([2; 16])];
    assert_eq!(
        fates(&mut world),
        (vec!["id-1".to_owned(), "id-7".to_owned()], vec![("id-8".to_owned(), Stays::Inherited)])
    );
    let found = world.look(retirement);
    assert_eq!(found.ends.iter().map(|one| one.is_recorded).collect::<Vec<_>>(), [true, false]);
    // Of a record that cannot be read the label tells.
    world.records.insert(name("a"), Known::Unreadable);
    assert_eq!(ends(&mut world), ["id-1", "id-7"]);
}

#[test]
fn one_that_lives_although_its_end_was_answered_ends_once_no_list_lags_so_long() {
    let mut world = World::new().settled();
    let ended_at = world.now;
    world.record(|record| {
        let held = record.current.take().expect("it");
        record.ended = vec![Ended {
            id: held.id,
            server: held.server,
            marker: held.marker,
            at: at(ended_at),
            boot: None,
            unused: false,
        }];
    });
    assert_eq!(ends(&mut world), Vec::<String>::new());
    world.now += 600;
    assert_eq!(ends(&mut world), ["id-1"]);
}

#[test]
fn a_mint_that_was_not_answered_keeps_the_store_until_the_list_can_tell() {
    let mut world = World::new().settled();
    let (deadline, server) = (at(world.now), key());
    let intent = Intent { marker: marker(5), server, deadline, boot: None, secret: None };
    world.record(|record| record.intents = vec![intent]);
    let unanswered = world.look(retirement).unanswered;
    assert_eq!(unanswered.iter().map(|one| one.until).collect::<Vec<_>>(), [at(world.now + hours(24))]);
    // It comes: it is a token like any other of this instance.
    world.list(5, 0, |_| {});
    let found = world.look(retirement);
    assert_eq!((found.ends.len(), found.unanswered.len()), (2, 0));
    world.listing.tokens.pop();
    world.now += hours(24);
    assert_eq!(world.look(retirement).unanswered, []);
}
