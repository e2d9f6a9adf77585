//! Names that left the list.

use super::*;
use crate::model::{BootTime, Word};

fn revokes(plan: &Plan) -> Vec<&str> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::Revoke { id, why: RevokeReason::Removed, .. } => Some(&*id.0),
            _ => None,
        })
        .collect()
}

impl World {
    /// `a` left the list so long ago.
    fn removed(mut self, age: i64) -> Self {
        let at = at(self.now - age);
        self.specs.clear();
        self.record(|record| record.removed = Some(Moment { at, boot: None }));
        self
    }

    /// So many other names, which are wanted or left the list as `a` did.
    fn others(&mut self, count: u8, is_wanted: bool) {
        let spec = World::new().specs[&name("a")].clone();
        let record = self.records[&name("a")].record().expect("it").clone();
        for n in 0..count {
            let n = n + if is_wanted { 20 } else { 60 };
            let (mut spec, mut record) = (spec.clone(), record.clone());
            let other = name(&format!("n{n}"));
            (spec.name, record.name, record.current) =
                (other.clone(), other.clone(), Some(self.held(n, hours(24))));
            if is_wanted {
                record.removed = None;
                self.specs.insert(other.clone(), spec);
            }
            self.records.insert(other, Known::Ours(record.into()));
            self.list(n, hours(24), |_| {});
        }
    }
}

#[test]
fn a_name_that_left_the_list_stays_for_a_day_and_then_its_token_ends() {
    let mut world = World::new().settled();
    world.specs.clear();
    let plan = world.plan();
    assert_eq!(plan.steps, [Step::Note { name: name("a"), event: Event::Removed }]);
    world.note(&plan);
    let plan = world.plan();
    assert_eq!((plan.steps, plan.next_due), (vec![], Some(at(world.now + hours(24)))));
    assert_eq!(plan.findings[0].matter, Matter::LeftTheList { until: at(world.now + hours(24)) });
    world.now += hours(24);
    assert_eq!(revokes(&world.plan()), ["id-1"]);
}

#[test]
fn putting_it_back_cancels() {
    let mut world = World::new().settled().removed(hours(100));
    world.specs = World::new().specs;
    assert_eq!(world.plan().steps, [Step::Note { name: name("a"), event: Event::PutBack }]);
}

#[test]
fn what_is_put_back_after_its_end_is_missing_and_not_gone() {
    let mut world = World::new().settled().removed(hours(100));
    world.record(|record| record.current = None);
    world.specs = World::new().specs;
    let why = |plan: &Plan| {
        plan.steps.iter().any(|step| matches!(step, Step::Mint { why: MintReason::Missing, .. }))
    };
    assert!(why(&world.plan()));
}

#[test]
fn all_that_is_held_of_it_ends_and_nothing_that_others_use() {
    let mut world = World::new().settled().removed(hours(24));
    let (next, former) = (world.held(2, hours(1)), world.held(3, hours(48)));
    let mut shared = world.held(4, hours(48));
    (shared.marker, shared.origin) = (None, Origin::Imported { exclusive: false });
    let since = at(world.now - hours(30));
    world.record(|record| {
        record.next = Some(next);
        record.retiring = vec![retiring(former, since), retiring(shared, since)];
    });
    world.list(2, hours(1), |_| {});
    world.list(3, hours(48), |_| {});
    world.list(4, hours(48), |row| row.label = None);
    let plan = world.plan();
    assert_eq!(revokes(&plan), ["id-1", "id-2", "id-3"]);
    assert!(found(&plan, |matter| *matter == Matter::ImportedReplaced(TokenId("id-4".into()))));
    world.current(|held| (held.marker, held.origin) = (None, Origin::Imported { exclusive: false }));
    world.listing.tokens[0].label = None;
    let plan = world.plan();
    assert_eq!(revokes(&plan), ["id-2", "id-3"]);
    let withdraw = Event::Withdrawn(TokenId("id-1".into()));
    assert!(
        plan.steps.contains(&Step::Note { name: name("a"), event: withdraw }),
        "but nobody gets it here any more"
    );
}

#[test]
fn what_a_person_brought_before_the_list_asks_for_it_has_not_left_it() {
    let mut world = World::new();
    let mut next = world.held(2, hours(400));
    (next.marker, next.origin) = (None, Origin::Imported { exclusive: true });
    world.record(|record| record.next = Some(next));
    world.list(2, hours(400), |row| row.label = None);
    world.specs.clear();
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn a_clock_that_jumps_ends_nothing_before_its_time() {
    let mut world = World::new().settled().removed(hours(24 * 365));
    let boot = |millis| BootTime { boot: "this".into(), millis };
    world.boot = Some(boot(3_600_000));
    world.record(|record| record.removed.as_mut().expect("removed").boot = Some(boot(0)));
    let plan = world.plan();
    assert_eq!((revokes(&plan).len(), plan.next_due), (0, Some(at(world.now + hours(23)))));
}

#[test]
fn more_than_half_and_at_least_three_need_a_persons_word() {
    for (left, wanted, brakes) in [(2, 0, false), (3, 3, false), (3, 2, true), (4, 3, true), (4, 4, false)] {
        let mut world = World::new().settled().removed(hours(24));
        world.others(left - 1, false);
        world.others(wanted, true);
        let plan = world.plan();
        assert_eq!(revokes(&plan).is_empty(), brakes, "{left} of {}", left + wanted);
        assert_eq!(found(&plan, |matter| *matter == Matter::RevocationUnconfirmed), brakes);
        assert!(!brakes || plan.findings.iter().any(|finding| finding.matter.waits_for_a_person()));
    }
}

#[test]
fn only_what_was_confirmed_is_ended() {
    let mut world = World::new().settled().removed(hours(24));
    world.others(3, false);
    assert_eq!(revokes(&world.plan()).len(), 0);
    world.evidence.confirmed.insert(name("a"), Word::Move);
    assert_eq!(revokes(&world.plan()).len(), 0, "another word");
    world.evidence.confirmed.insert(name("a"), Word::Revoke);
    assert_eq!(revokes(&world.plan()), ["id-1"]);
}

#[test]
fn one_after_another_within_a_day_counts_as_many() {
    let mut world = World::new().settled().removed(hours(24));
    world.others(2, true);
    world.others(2, false);
    // Those two have been ended already.
    for (name, age) in [("n60", 1), ("n61", 23)] {
        let Some(Known::Ours(record)) = world.records.get(&super::name(name)) else { panic!("it") };
        let mut record = (**record).clone();
        let held = record.current.take().expect("current");
        let (id, server, marker) = (held.id, held.server, held.marker);
        record.revoked = vec![Revoked {
            id,
            server,
            marker,
            at: at(world.now - hours(age)),
            boot: None,
            created_at: None,
            is_ours: true,
            unused: false,
        }];
        world.listing.tokens.retain(|row| row.id != record.revoked[0].id);
        world.records.insert(record.name.clone(), Known::Ours(record.into()));
    }
    assert_eq!(revokes(&world.plan()).len(), 0, "three of five");
    world.now += hours(2);
    assert_eq!(revokes(&world.plan()), ["id-1"], "the one was more than a day ago");
}

/// Each server's grace ends by its own clock; the brake counts over all of them.
#[test]
fn what_left_the_list_at_once_counts_as_one_whatever_the_servers_clocks_say() {
    let mut world = World::new().settled().removed(hours(24));
    world.others(2, true);
    world.others(2, false);
    for other in ["n60", "n61"] {
        let Some(Known::Ours(record)) = world.records.get(&name(other)) else { panic!("it") };
        let mut record = (**record).clone();
        // By a clock that is five minutes ahead.
        record.removed = Some(Moment { at: at(world.now - hours(24) + 300), boot: None });
        world.records.insert(record.name.clone(), Known::Ours(record.into()));
    }
    assert_eq!(revokes(&world.plan()).len(), 0, "three of five");
}

#[test]
fn mints_and_rotations_go_on_while_ends_wait() {
    let mut world = World::new().settled().removed(hours(24));
    world.others(3, false);
    world.specs = World::new().specs;
    let mut spec = world.specs.remove(&name("a")).expect("the spec");
    spec.name = name("new");
    world.specs.insert(name("new"), spec);
    let plan = world.plan();
    assert_eq!((revokes(&plan).len(), mints(&plan)), (0, 1));
}

#[test]
fn a_name_of_which_nothing_is_left_is_forgotten_after_a_month() {
    let month = hours(24 * 31);
    let mut world = World::new().settled().removed(month - 1);
    world.record(|record| record.current = None);
    world.listing.tokens.clear();
    assert_eq!(world.plan().steps, []);
    let mut world = World::new().settled().removed(month);
    world.record(|record| record.current = None);
    world.listing.tokens.clear();
    assert_eq!(world.plan().steps, [Step::Drop { name: name("a") }]);
    let revoked = Revoked {
        id: TokenId("id-1".into()),
        server: key(),
        marker: None,
        at: at(world.now - 60),
        boot: None,
        created_at: None,
        is_ours: true,
        unused: false,
    };
    world.record(|record| record.revoked = vec![revoked]);
    assert_eq!(world.plan().steps, [], "it may come back");
}
