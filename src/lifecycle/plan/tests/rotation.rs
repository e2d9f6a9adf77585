//! New values: asked for by a person, and what becomes of the old ones.

use std::sync::Arc;

use super::*;
use crate::model::BootTime;

#[test]
fn what_a_person_asks_for_is_minted_once_and_neither_pause_nor_gone_matters() {
    let mut world = World::new().settled();
    world.evidence.asked.insert(name("a"));
    let asked = [Step::Mint { name: name("a"), why: MintReason::Asked }];
    assert_eq!(world.plan().steps, asked);
    world
        .record(|record| record.mints = (0..3).map(|n| attempt(90 + n, hours(990 + i64::from(n)))).collect());
    assert_eq!(world.plan().steps, asked, "nobody asked for those three");
    world.revoked();
    assert!(world.plan().steps.contains(&asked[0]), "nor is it a replacement that counts");
    world.mint_failed("a");
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

fn ends(plan: &Plan) -> Vec<&str> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::Revoke { id, .. } => Some(&*id.0),
            _ => None,
        })
        .collect()
}

impl World {
    /// `a` has a current token as in [`World::settled`], and `id-9`, which retired so many seconds ago.
    fn rotated(self, age: i64) -> Self {
        let mut world = self.settled();
        let held = world.held(9, hours(500));
        let since = at(world.now - age);
        world.record(|record| {
            record.retiring.push(retiring(held, since));
            record.generation = 2;
        });
        world.list(9, hours(500), |_| {});
        Arc::make_mut(&mut world.evidence.delivered).insert(name("a"), 2);
        world
    }

    /// So many milliseconds ago on the boot-time clock.
    fn retired_in_this_boot(&mut self, ago: u64) {
        let boot = |millis| Some(BootTime { boot: "this".into(), millis });
        self.boot = boot(1 << 40);
        let since = boot((1 << 40) - ago);
        self.record(|record| record.retiring[0].boot = since);
    }

    fn former(&mut self, change: impl FnOnce(&mut Held)) {
        self.record(|record| change(&mut record.retiring[0].held));
    }
}

const WEEK: i64 = 7 * 24 * 3600;

#[test]
fn a_former_token_is_ended_after_a_week_and_lives_to_its_expiry_if_it_has_one() {
    let mut world = World::new().rotated(WEEK - 1);
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.next_due, Some(at(world.now + 1)), "and the plan is due when its time is over");
    let mut world = World::new().rotated(WEEK);
    assert_eq!(ends(&world.plan()), ["id-9"]);
    let expires = at(world.now + 1);
    world.former(|held| held.expires_at = Some(expires));
    assert_eq!(world.plan().steps, [], "it ends by itself");
    let late = at(world.now + hours(9_999));
    world.former(|held| (held.was_to_expire_at, held.expires_at) = (held.expires_at, Some(late)));
    assert_eq!(ends(&world.plan()), ["id-9"], "not when it was to");
}

#[test]
fn one_that_lives_past_its_expiry_is_ended_after_a_week_all_the_same() {
    let former = |age: i64, expired: i64| {
        let mut world = World::new().rotated(age);
        let expired = at(world.now - expired);
        world.former(|held| held.expires_at = Some(expired));
        world
    };
    assert_eq!(ends(&former(WEEK, 0).plan()), ["id-9"]);
    assert_eq!(
        former(WEEK - 1, 60).plan().steps,
        [],
        "a clock that was set ahead ends nothing that was just replaced"
    );
    let mut world = former(WEEK, 0);
    world.listing.tokens[1].expires_at = Some(at(world.now));
    assert_eq!(ends(&world.plan()), Vec::<&str>::new(), "the list says that it has expired");
}

#[test]
fn the_cap_of_the_list_counts_and_never_less_than_the_floor() {
    let cap = Duration::from_secs(7200);
    for (age, overlap, ended) in [(7199, 3600, 0), (7200, 3600, 1), (7200, 7201, 0), (7201, 7201, 1)] {
        let mut world = World::new().rotated(age);
        world.lifecycle.overlap_cap = Some(cap);
        world.lifecycle.overlap = Duration::from_secs(overlap);
        assert_eq!(ends(&world.plan()).len(), ended, "{age} s, at least {overlap} s");
        let expires = at(world.now + hours(1));
        world.former(|held| held.expires_at = Some(expires));
        assert_eq!(ends(&world.plan()).len(), ended, "an expiry does not keep it from its cap");
    }
}

#[test]
fn a_date_that_jumps_ahead_ends_nothing_that_retired_while_we_ran() {
    let mut world = World::new().rotated(WEEK + hours(24 * 365));
    let week = WEEK.unsigned_abs() * 1000;
    world.retired_in_this_boot(week - 60_000);
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.next_due, Some(at(world.now + 60)));
    world.record(|record| record.retiring[0].boot.as_mut().expect("known").boot = "before".into());
    assert_eq!(ends(&world.plan()), ["id-9"], "in a boot before this one only the wall clock tells");
    world.retired_in_this_boot(week);
    assert_eq!(ends(&world.plan()), ["id-9"]);
}

/// What retired before this boot is told from the first list of this process, if that can be believed.
#[test]
fn of_a_former_boot_a_date_counts_that_both_clocks_agree_on() {
    let week = WEEK.unsigned_abs() * 1000;
    let mut world = World::new().rotated(WEEK + hours(24 * 365));
    world.retired_in_this_boot(0);
    world.record(|record| record.retiring[0].boot.as_mut().expect("known").boot = "before".into());
    let moment = |millis| Moment {
        at: at(hours(1000)),
        boot: Some(BootTime { boot: "this".into(), millis: (1 << 40) - millis }),
    };
    world.evidence.anchor(moment(60_000), false);
    assert_eq!(world.plan().steps, [], "its date may have been set ahead meanwhile");
    world.evidence.anchor = None;
    world.evidence.anchor(moment(week), false);
    assert_eq!(ends(&world.plan()), ["id-9"], "all of its time has passed since");
    world.evidence.anchor = None;
    world.evidence.anchor(moment(60_000), false);
    world.evidence.anchor(moment(0), true);
    assert_eq!(ends(&world.plan()), ["id-9"]);
    world.evidence.anchor(Moment { at: at(0), boot: None }, true);
    assert_eq!(ends(&world.plan()), ["id-9"], "the first that is sure stays");
}

#[test]
fn the_current_token_is_asked_once_more_before_a_former_one_is_ended() {
    let mut world = World::new().rotated(WEEK + 30);
    let verify = [Step::Verify { name: name("a"), id: TokenId("id-1".into()) }];
    let before = at(world.now - 31);
    world.probed(1, |probed| probed.accept(before));
    let plan = world.plan();
    assert_eq!(plan.steps, verify, "it was accepted before the time was over");
    assert_eq!(plan.to_revoke, BTreeSet::from([name("a")]));
    let after = at(world.now - 30);
    world.probed(1, |probed| probed.accept(after));
    assert_eq!(ends(&world.plan()), ["id-9"]);
    for spoil in [
        (|probed: &mut Probed| probed.refuse(at(hours(1000) - 90), "401".into())) as fn(&mut Probed),
        |probed| probed.accept_partly(at(hours(1000))),
        |probed| probed.miss(at(hours(1000)), "no answer".into()),
    ] {
        world.probed(1, |probed| probed.accept(after));
        world.probed(1, spoil);
        let plan = world.plan();
        assert_eq!(plan.steps, verify);
        assert!(plan.to_revoke.is_empty(), "an answer alone does not do");
        assert!(found(&plan, |matter| matches!(matter, Matter::RevocationWaits(_))), "and a person is told");
    }
    world.specs.get_mut(&name("a")).expect("the spec").probe = None;
    assert_eq!(ends(&world.plan()), ["id-9"], "where no probe is wanted none is made");
}

/// Each would end a former token that somebody may still need.
#[test]
fn nothing_is_ended_unless_all_is_well() {
    type Spoil = fn(&mut World);
    let cases: [(&str, Spoil); 12] = [
        ("the name left the list", |world| world.specs.clear()),
        ("not delivered", |world| _ = Arc::make_mut(&mut world.evidence.delivered).insert(name("a"), 1)),
        ("there is no current one", |world| world.record(|record| record.current = None)),
        ("current is revoked", |world| world.listing.tokens[0].revoked_at = Some(at(hours(999)))),
        ("current is young and revoked", |world| {
            world.record(|record| record.current.as_mut().expect("one").created_at = at(hours(1000) - 9));
            world.listing.tokens[0].created_at = Some(at(hours(1000) - 9));
            world.listing.tokens[0].revoked_at = Some(at(hours(1000)));
        }),
        ("current is not listed", |world| _ = world.listing.tokens.remove(0)),
        ("current is another machine's", |world| {
            world.record(|record| record.current.as_mut().expect("one").origin = Origin::Inherited);
        }),
        ("others may use it", |world| {
            world.former(|held| held.origin = Origin::Imported { exclusive: false })
        }),
        ("another machine's", |world| world.former(|held| held.origin = Origin::Inherited)),
        ("gone by absence", |world| {
            world.record(|record| record.retiring[0].state = RetiringState::Absent);
        }),
        ("another token has its id", |world| world.listing.tokens[1].created_at = Some(at(0))),
        ("a new one is promoted in this pass", |world| {
            let next = world.held(2, 60);
            world.record(|record| record.next = Some(next));
            world.probed(2, |probed| probed.accept(at(hours(1000))));
        }),
    ];
    for (case, spoil) in cases {
        let mut world = World::new().rotated(WEEK);
        spoil(&mut world);
        assert_eq!(ends(&world.plan()), [""; 0], "{case}");
    }
}

#[test]
fn an_imported_token_is_ended_only_if_nobody_else_uses_it() {
    let mut world = World::new().rotated(WEEK);
    world.former(|held| (held.origin, held.marker) = (Origin::Imported { exclusive: true }, None));
    world.listing.tokens[1].label = None;
    assert_eq!(ends(&world.plan()), ["id-9"]);
    world.former(|held| held.origin = Origin::Imported { exclusive: false });
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert!(found(&plan, |matter| matches!(matter, Matter::ImportedReplaced(_))));
}

#[test]
fn a_former_token_that_was_ended_unheard_is_settled() {
    let mut world = World::new().rotated(WEEK);
    world.listing.tokens[1].revoked_at = Some(at(world.now));
    let aside =
        |gone| Step::Note { name: name("a"), event: Event::Gone { id: TokenId("id-9".into()), how: gone } };
    let verify = [Step::Verify { name: name("a"), id: TokenId("id-9".into()) }];
    assert_eq!(world.plan().steps, verify, "the list shows it, and may be wrong");
    world.probed(9, |probed| probed.refuse(at(hours(1000) - 60), "401".into()));
    assert_eq!(world.plan().steps, [aside(Gone::Shown)]);
    world.evidence.probes.clear();
    world.listing.tokens.remove(1);
    assert_eq!(world.plan().steps, verify);
    world.probed(9, |probed| probed.refuse(at(hours(1000) - 60), "401".into()));
    world.probed(9, |probed| probed.refuse(at(hours(1000)), "401".into()));
    assert_eq!(world.plan().steps, [aside(Gone::Absent)], "the list lacks it, and it is refused");
}

#[test]
fn a_former_token_that_has_expired_is_let_go_once_it_is_refused() {
    let mut world = World::new().rotated(60);
    let (now, expired) = (at(world.now), at(world.now - 1));
    world.former(|held| held.expires_at = Some(expired));
    world.listing.tokens[1].expires_at = Some(expired);
    let aside =
        |gone| Step::Note { name: name("a"), event: Event::Gone { id: TokenId("id-9".into()), how: gone } };
    let verify = [Step::Verify { name: name("a"), id: TokenId("id-9".into()) }];
    assert_eq!((world.plan().steps, world.plan().next_due), (verify.to_vec(), None), "at leisure");
    world.probed(9, |probed| probed.accept(now));
    assert_eq!(world.plan().steps, [], "it works still");
    world.probed(9, |probed| probed.refuse(now, "401".into()));
    assert_eq!(world.plan().steps, [aside(Gone::Shown)]);
    // A list that does not show it any more: two refusals tell.
    world.listing.tokens.remove(1);
    assert_eq!(world.plan().steps, [], "a minute apart");
    world.probed(9, |probed| probed.refused = Some((at(hours(1000) - 60), at(hours(1000) - 60))));
    assert_eq!(world.plan().steps, verify);
    world.probed(9, |probed| probed.refuse(now, "401".into()));
    assert_eq!(world.plan().steps, [aside(Gone::Absent)]);
    world.record(|record| record.retiring[0].state = RetiringState::Absent);
    assert_eq!(world.plan().steps, [aside(Gone::Shown)]);
}

proptest::proptest! {
    /// Whatever the settings and the clocks: nothing is ended before floor and cap have passed on both.
    #[test]
    fn nothing_is_ended_before_its_time(
        age in 0_u32..2_000_000, overlap in 0_u32..1_000_000, cap in proptest::option::of(0_u32..1_000_000),
        ran in proptest::option::of(0_u32..2_000_000), expires: bool,
    ) {
        let mut world = World::new().rotated(i64::from(age));
        let seconds = |n: u32| Duration::from_secs(n.into());
        (world.lifecycle.overlap, world.lifecycle.overlap_cap) = (seconds(overlap), cap.map(seconds));
        if let Some(ran) = ran {
            world.retired_in_this_boot(u64::from(ran) * 1000);
        }
        if expires {
            let expires = at(world.now + 1);
            world.former(|held| held.expires_at = Some(expires));
        }
        let passed = ran.map_or(age, |ran| ran.min(age));
        let is_due = match cap {
            Some(cap) => passed >= cap.max(overlap),
            None => !expires && seconds(passed) >= seconds(overlap).max(Duration::from_secs(7 * 86_400)),
        };
        let plan = world.plan();
        proptest::prop_assert_eq!(ends(&plan).len(), usize::from(is_due));
        if !is_due && (cap.is_some() || !expires) {
            proptest::prop_assert!(plan.next_due.is_some_and(|due| due > at(world.now)));
        }
    }
}

#[test]
fn a_young_token_that_was_never_probed_does_not_become_current_by_one_answer() {
    let mut world = World::new();
    let former = world.held(9, 599);
    let since = at(world.now - 60);
    world.record(|record| {
        record.retiring.push(retiring(former, since));
    });
    world.list(9, 599, |_| {});
    world.probed(9, |probed| probed.accept(at(hours(1000))));
    let reinstates = |plan: &Plan| {
        plan.steps.iter().any(|step| matches!(step, Step::Note { event: Event::Reinstated(_), .. }))
    };
    let plan = world.plan();
    assert!(!reinstates(&plan));
    assert_eq!(plan.next_due, Some(at(world.now + 1)));
    world.now += 1;
    assert!(reinstates(&world.plan()));
}

#[test]
fn a_next_on_another_server_is_that_servers_to_look_after() {
    let mut world = World::new().rotated(60);
    let elsewhere = ServerKey { origin: "https://other.example.com".into(), ..key() };
    world.record(|record| {
        let mut next = record.current.take().expect("a current token");
        next.server = elsewhere.clone();
        record.next = Some(next);
    });
    let spec = world.specs.get_mut(&name("a")).expect("the spec");
    (spec.server, spec.key) = (ServerName("other".into()), elsewhere);
    let is_aside = |step: &Step| matches!(step, Step::Note { event: Event::Gone { .. }, .. });
    assert!(!world.plan().steps.iter().any(is_aside), "the list has the name there");
    world.specs.clear();
    assert!(!world.plan().steps.iter().any(is_aside), "or does not have it yet");
}

#[test]
fn an_imported_next_waits_for_the_list_and_is_then_probed_and_promoted() {
    for exclusive in [false, true] {
        let mut world = World::new();
        let mut next = world.held(2, hours(9000));
        (next.origin, next.marker) = (Origin::Imported { exclusive }, None);
        world.record(|record| record.next = Some(next));
        world.list(2, hours(9000), |row| row.label = None);
        let specs = std::mem::take(&mut world.specs);
        assert_eq!(world.plan(), Plan::default(), "nothing is wrong with it");
        world.specs = specs;
        assert!(matches!(world.plan().steps[..], [Step::Probe { .. }]), "nothing is minted");
        // How old it is says nothing of how long it has been asked about.
        world.evidence.imported.insert(TokenId("id-2".into()), at(world.now - 60));
        world.probed(2, |probed| probed.miss(at(hours(1000)), "no answer".into()));
        assert!(matches!(world.plan().steps[..], [Step::Probe { .. }]), "its deadline is to come");
        world.probed(2, |probed| probed.accept(at(hours(1000))));
        assert!(matches!(world.plan().steps[..], [Step::Promote { .. }]));
    }
}

#[test]
fn an_imported_token_that_is_gone_is_replaced_like_any_other() {
    let mut world = World::new().settled();
    world.record(|record| {
        let current = record.current.as_mut().expect("a current token");
        (current.origin, current.marker) = (Origin::Imported { exclusive: false }, None);
    });
    world.listing.tokens[0].label = None;
    assert_eq!(world.plan(), Plan::default(), "it is known by its id and when it was made");
    world.revoked();
    assert_eq!(mints(&world.plan()), 1);
}

#[test]
fn a_proven_pick_up_ends_the_overlap_at_its_least_and_nothing_less_does() {
    use crate::model::{Holders, Pickup};
    let minutes = |n: i64| n * 60;
    let prepared = |age: i64, known: &[&str], complete_from: Option<u64>| {
        let mut world = World::new().rotated(age);
        world.spec(|spec| spec.pickup = Pickup::Proven);
        let expires = at(world.now + hours(900));
        world.former(|held| held.expires_at = Some(expires));
        let known = known.iter().map(|who| (*who).to_owned()).collect();
        world.evidence.holders.insert(name("a"), Holders { known, complete_from });
        world
    };
    assert_eq!(ends(&prepared(minutes(60), &[], Some(1)).plan()), ["id-9"]);
    let mut early = prepared(minutes(50), &[], Some(1));
    let plan = early.plan();
    assert_eq!((ends(&plan).len(), plan.next_due), (0, Some(at(early.now + minutes(10)))), "the floor");
    let mut held = prepared(minutes(60), &["telegraf"], Some(1));
    let plan = held.plan();
    assert_eq!(
        (ends(&plan).len(), plan.next_due),
        (0, Some(at(held.now + minutes(1)))),
        "looked at again soon"
    );
    assert_eq!(ends(&prepared(minutes(60), &[], Some(2)).plan()).len(), 0, "read before anybody looked");
    assert_eq!(ends(&prepared(minutes(60), &[], None).plan()).len(), 0, "nobody looks");
    let mut unsaid = prepared(minutes(60), &[], Some(1));
    unsaid.spec(|spec| spec.pickup = Pickup::Unknown);
    assert_eq!(ends(&unsaid.plan()).len(), 0, "the list does not say that it can be proven");
    // Nobody lives through a boot.
    let mut booted = prepared(minutes(60), &["telegraf"], None);
    booted.retired_in_this_boot(0);
    booted.record(|record| record.retiring[0].boot.as_mut().expect("known").boot = "before".into());
    assert_eq!(ends(&booted.plan()), ["id-9"]);
}

#[test]
fn a_next_that_was_replaced_is_revoked_as_soon_as_another_token_works() {
    let unused = |world: &World| {
        let held = world.held(3, 60);
        Retiring { state: RetiringState::Unused, generation: 0, ..retiring(held, at(world.now - 1)) }
    };
    let revoke = Step::Revoke { name: name("a"), id: TokenId("id-3".into()), why: RevokeReason::Unused };
    let mut world = World::new().settled();
    let replaced = unused(&world);
    world.record(|record| record.retiring.push(replaced));
    world.list(3, 60, |_| {});
    assert_eq!(world.plan().steps, [revoke]);
    // Perhaps consumers have it, of a store that was put back from a backup.
    world.evidence.delivered = Arc::default();
    assert_eq!(world.plan().steps, []);
    // Others may use it.
    world.evidence.delivered = Arc::new(BTreeMap::from([(name("a"), 1)]));
    world.record(|record| record.retiring[0].held.origin = Origin::Imported { exclusive: false });
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert!(found(&plan, |matter| matches!(matter, Matter::ImportedReplaced(_))));
}

#[test]
fn a_token_whose_revocation_was_asked_for_is_asked_about_until_it_is_revoked() {
    let mut world = World::new().settled();
    let former = world.held(2, hours(48));
    let revoking = Retiring { state: RetiringState::Revoking, ..retiring(former, at(world.now - 1)) };
    world.record(|record| record.retiring.push(revoking));
    world.list(2, hours(48), |_| {});
    let revoke = Step::Revoke { name: name("a"), id: TokenId("id-2".into()), why: RevokeReason::Overlap };
    assert_eq!(world.plan().steps, [revoke], "its overlap counts no more");
}

/// Rules 9 and 12: the list has the name on another of its servers, and what it had here is not wanted any more.
#[test]
fn what_a_name_left_behind_on_another_server_is_revoked_after_its_overlap() {
    let mut world = World::new();
    let elsewhere = ServerKey { origin: "https://other.example.com".into(), ..key() };
    let (former, mut current) = (world.held(1, hours(400)), world.held(2, hours(200)));
    current.server = elsewhere.clone();
    let since = at(world.now - hours(24 * 7));
    world.record(|record| {
        (record.current, record.generation) = (Some(current), 2);
        record.retiring = vec![retiring(former, since)];
    });
    world.list(1, hours(400), |_| {});
    world.spec(|spec| (spec.server, spec.key) = (ServerName("other".into()), elsewhere));
    assert_eq!(world.plan().steps, [], "the new value has not arrived");
    world.evidence.delivered = Arc::new(BTreeMap::from([(name("a"), 2)]));
    let revoke = Step::Revoke { name: name("a"), id: TokenId("id-1".into()), why: RevokeReason::Overlap };
    assert_eq!(world.plan().steps, [revoke]);
    world.now -= 60;
    let plan = world.plan();
    assert_eq!((plan.steps, plan.next_due), (vec![], Some(at(world.now + 60))));
    world.now += 60;
    world.record(|record| record.unprobed = true);
    assert_eq!(world.plan().steps, [], "nobody knows whether the new one works");
}
