//! Rotation by schedule.

use proptest::prelude::*;

use super::*;
use crate::model::due_age;

const DAY: i64 = 24 * 3600;

fn days(n: i64) -> Duration {
    Duration::from_secs((n * DAY).unsigned_abs())
}

impl World {
    /// The current token is so old and was minted for so long; the list asks for as much.
    pub(super) fn lives(mut self, age: i64, lifetime: i64) -> Self {
        let created_at = at(self.now - age);
        self.spec(|spec| spec.lifetime = Some(Duration::from_secs(lifetime.unsigned_abs())));
        self.current(|held| {
            held.created_at = created_at;
            held.expires_at = Some(after(created_at, Duration::from_secs(lifetime.unsigned_abs())));
        });
        self.listing.tokens[0].created_at = Some(created_at);
        self
    }
}

fn why(plan: &Plan) -> Option<MintReason> {
    plan.steps.iter().find_map(|step| match step {
        Step::Mint { why, .. } => Some(*why),
        _ => None,
    })
}

#[test]
fn a_token_is_replaced_at_two_thirds_of_its_life_and_at_half_of_a_short_one() {
    for (lifetime, due) in
        [(90 * DAY, 60 * DAY), (10 * DAY, 20 * DAY / 3), (9 * DAY, 9 * DAY / 2), (7200, 3600)]
    {
        let plan = World::new().settled().lives(due - 60, lifetime).plan();
        assert_eq!((why(&plan), plan.next_due), (None, Some(at(hours(1000) + 60))), "{lifetime}");
        assert_eq!(
            why(&World::new().settled().lives(due, lifetime).plan()),
            Some(MintReason::Due),
            "{lifetime}"
        );
    }
}

proptest! {
    /// Whatever the jitter: no later than due, and no more than a tenth of the life earlier.
    #[test]
    fn the_jitter_is_early_by_a_tenth_at_most(lifetime in 3600_i64..400 * DAY, age in 0_i64..400 * DAY, jitter in 0_u16..=1000) {
        prop_assume!(age < lifetime);
        let mut world = World::new().settled().lives(age, lifetime);
        world.record(|record| record.jitter = jitter);
        let late = i64::try_from(due_age(Duration::from_secs(lifetime.unsigned_abs())).as_secs()).expect("short");
        let planned = why(&world.plan());
        if age > late {
            prop_assert_eq!(planned, Some(MintReason::Due));
        }
        if age < late - lifetime / 10 - 1 {
            prop_assert_eq!(planned, None);
        }
    }
}

#[test]
fn a_due_token_is_minted_once_and_neither_counts_nor_waits_as_a_replacement() {
    let mut world = World::new().settled().lives(70 * DAY, 90 * DAY);
    let now = world.now;
    world.record(|record| record.mints = vec![attempt(9, now); 3]);
    assert_eq!(
        why(&world.plan()),
        Some(MintReason::Due),
        "three replacements pause only those that nobody asked for"
    );
    let next = world.held(2, 30);
    world.record(|record| record.next = Some(next));
    assert_eq!(mints(&world.plan()), 0);
}

#[test]
fn without_a_lifetime_nothing_is_ever_due() {
    let plan = World::new().settled().plan();
    assert_eq!(plan, Plan::default());
}

#[test]
fn where_tokens_do_not_expire_the_lifetime_is_kept_all_the_same() {
    let mut world = World::new().settled().lives(59 * DAY, 90 * DAY);
    world.current(|held| held.expires_at = None);
    assert_eq!(world.plan().next_due, Some(at(world.now + DAY)));
    let mut world = World::new().settled().lives(60 * DAY, 90 * DAY);
    world.current(|held| held.expires_at = None);
    assert_eq!(why(&world.plan()), Some(MintReason::Due));
}

#[test]
fn a_token_that_outlives_its_expiry_is_replaced_as_if_it_did_not() {
    for (age, due) in [(59 * DAY, None), (60 * DAY, Some(MintReason::Due))] {
        for forever in [true, false] {
            let mut world = World::new().settled().lives(age, 90 * DAY);
            let late = (!forever).then(|| at(world.now + 900 * DAY));
            // Nor is it the list's word alone: it was minted for so long.
            world.spec(|spec| spec.lifetime = None);
            world.current(|held| (held.was_to_expire_at, held.expires_at) = (held.expires_at, late));
            let plan = world.plan();
            assert_eq!(why(&plan), due, "{age} {forever}");
            let asked = at(world.now - age + 90 * DAY);
            assert!(found(&plan, |matter| *matter == Matter::OtherExpiry { asked, expires_at: late }));
        }
    }
}

#[test]
fn an_imported_token_is_as_old_as_its_time_here() {
    let mut world = World::new().settled().lives(900 * DAY, 90 * DAY);
    let promoted = at(world.now - DAY);
    world.record(|record| record.promoted_at = Some(promoted));
    world.current(|held| {
        held.expires_at = None;
        held.marker = None;
        held.origin = Origin::Imported { exclusive: false };
    });
    let plan = world.plan();
    assert_eq!((why(&plan), plan.next_due), (None, Some(at(world.now + 59 * DAY))));
}

#[test]
fn a_longer_lifetime_waits_for_the_next_token() {
    let mut world = World::new().settled().lives(60 * DAY, 90 * DAY);
    world.spec(|spec| spec.lifetime = Some(days(900)));
    assert_eq!(why(&world.plan()), Some(MintReason::Due));
}

#[test]
fn a_shorter_lifetime_is_spread_over_a_tenth_of_it() {
    let mut world = World::new().settled().lives(30 * DAY, 90 * DAY);
    world.spec(|spec| spec.lifetime = Some(days(20)));
    world.record(|record| record.jitter = 500);
    let plan = world.plan();
    assert_eq!(plan.steps, [Step::Note { name: name("a"), event: Event::Shortened }]);
    world.note(&plan);
    let plan = world.plan();
    assert_eq!(
        (why(&plan), plan.next_due),
        (None, Some(at(world.now + DAY))),
        "half of a tenth of twenty days"
    );
    world.now += DAY;
    assert_eq!(why(&world.plan()), Some(MintReason::Due));
    world.record(|record| record.jitter = 0);
    world.now -= DAY;
    assert_eq!(why(&world.plan()), Some(MintReason::Due), "the first of all");
}

#[test]
fn a_shorter_lifetime_that_is_not_over_yet_is_kept_to_the_day() {
    let mut world = World::new().settled().lives(5 * DAY, 90 * DAY);
    world.spec(|spec| spec.lifetime = Some(days(20)));
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    let due = plan.next_due.expect("due").as_second() - at(world.now).as_second();
    assert_eq!(due, 20 * DAY / 3 * 2 - 5 * DAY);
}

#[test]
fn an_undone_rotation_suspends_the_schedule_until_there_is_just_room_for_another() {
    let mut world = World::new().settled().lives(70 * DAY, 90 * DAY);
    world.record(|record| record.suspended = true);
    let plan = world.plan();
    assert_eq!(why(&plan), None);
    // Ten minutes for the probe, an hour of overlap, and an hour for somebody to notice.
    assert_eq!(plan.next_due, Some(at(world.now + 20 * DAY - 600 - 3600 - 3600)));
    let mut world = World::new().settled().lives(90 * DAY - 7800, 90 * DAY);
    world.record(|record| record.suspended = true);
    assert_eq!(why(&world.plan()), Some(MintReason::Due));
    world.current(|held| held.expires_at = None);
    assert_eq!(why(&world.plan()), None, "what never dies is never replaced against somebody's will");
    world.evidence.asked.insert(name("a"));
    assert_eq!(why(&world.plan()), Some(MintReason::Asked));
}

#[test]
fn the_jitter_counts_where_tokens_do_not_expire_too() {
    // A tenth of the lifetime early, as where they expire.
    for (age, due) in [(51 * DAY - 60, None), (51 * DAY, Some(MintReason::Due))] {
        let mut world = World::new().settled().lives(age, 90 * DAY);
        world.current(|held| held.expires_at = None);
        world.record(|record| (record.jitter, record.lifetime) = (1000, Some(days(90))));
        assert_eq!(why(&world.plan()), due, "{age}");
    }
    // The list had another lifetime when it was promoted: it has its turn within a tenth of the new one.
    let mut world = World::new().settled().lives(60 * DAY, 30 * DAY);
    world.current(|held| held.expires_at = None);
    world.record(|record| (record.jitter, record.lifetime) = (1000, Some(days(90))));
    let plan = world.plan();
    assert_eq!(why(&plan), None);
    assert_eq!(plan.steps, [Step::Note { name: name("a"), event: Event::Shortened }]);
}
