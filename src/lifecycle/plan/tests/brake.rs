//! Mints that nothing explains (rule 11).

use super::*;
use crate::model::BootTime;

fn why(plan: &Plan) -> Option<MintReason> {
    plan.steps.iter().find_map(|step| match step {
        Step::Mint { why, .. } => Some(*why),
        _ => None,
    })
}

fn paused(plan: &Plan) -> Option<Time> {
    plan.findings.iter().find_map(|finding| match finding.matter {
        Matter::Paused { until, .. } => Some(until),
        _ => None,
    })
}

impl World {
    /// Its current token is gone, after these mints that nothing explained, so many seconds ago each.
    fn replaced(ages: &[i64]) -> Self {
        let mut world = World::new().settled();
        world.revoked();
        let now = world.now;
        let mints = ages.iter().zip(90..).map(|(age, n)| attempt(n, now - age)).collect();
        world.record(|record| record.mints = mints);
        world
    }
}

#[test]
fn each_mint_that_nothing_explains_waits_longer_and_the_fourth_a_day() {
    for (ages, wait) in [
        (&[][..], None),
        (&[29], Some(1)),
        (&[30], None),
        (&[3600, 59], Some(1)),
        (&[3600, 60], None),
        (&[7200, 3600, 61], Some(24 * 3600 - 7200)),
        (&[24 * 3600 + 1, 3600, 61], None),
        (&[9000, 7200, 3600, 61], Some(24 * 3600 - 7200)),
    ] {
        let mut world = World::replaced(ages);
        let plan = world.plan();
        assert_eq!(paused(&plan), wait.map(|wait| at(world.now + wait)), "{ages:?}");
        assert_eq!(mints(&plan), usize::from(wait.is_none()), "{ages:?}");
    }
}

#[test]
fn three_replacements_a_day_pause_the_fourth() {
    let mut world = World::new().settled();
    world.revoked();
    world
        .record(|record| record.mints = (0..3).map(|n| attempt(90 + n, hours(990 + i64::from(n)))).collect());
    let plan = world.plan();
    assert_eq!(mints(&plan), 0);
    assert!(
        found(&plan, |matter| *matter == Matter::Paused { count: 3, until: at(hours(1014)) }),
        "{:?}",
        plan.findings
    );
    world.record(|record| (record.current, record.generation) = (None, 1));
    assert_eq!(mints(&world.plan()), 0, "nor once it has been set aside");
}

#[test]
fn a_day_is_over_once_the_clock_that_nobody_sets_says_so_too() {
    let boot = |second: i64| {
        let millis = u64::try_from(second * 1000).expect("since boot");
        Some(BootTime { boot: "this".into(), millis })
    };
    let mut world = World::replaced(&[hours(30), hours(29), hours(28)]);
    assert_eq!(why(&world.plan()), Some(MintReason::Gone));
    world.boot = boot(hours(99));
    world.record(|record| record.mints.iter_mut().for_each(|attempt| attempt.at.boot = boot(hours(98))));
    assert_eq!(paused(&world.plan()), Some(at(world.now + hours(23))), "the date was set a day ahead");
    world.boot = boot(hours(98 + 24));
    assert_eq!(why(&world.plan()), Some(MintReason::Gone));
}

#[test]
fn a_mint_of_unknown_fate_counts_once_a_list_shows_its_token() {
    let mut world = World::replaced(&[300, 200, 100]);
    assert_eq!(mints(&world.plan()), 0);
    let deadline = at(world.now - 70);
    let open = Intent { marker: marker(91), server: key(), deadline, boot: None, secret: None };
    world.record(|record| record.intents = vec![open]);
    assert_eq!(why(&world.plan()), Some(MintReason::Gone), "perhaps nothing came of it");
    world.list(91, 200, |_| {});
    assert_eq!(mints(&world.plan()), 0);
    world.record(|record| record.mints[2].kind = AttemptKind::Refused);
    assert_eq!(why(&world.plan()), Some(MintReason::Gone), "nothing came of that");
}

#[test]
fn a_mint_that_was_cut_off_a_moment_ago_holds_up_nobody() {
    let mut world = World::replaced(&[5]);
    let deadline = at(world.now + 25);
    let open = Intent { marker: marker(90), server: key(), deadline, boot: None, secret: None };
    world.record(|record| record.intents = vec![open]);
    world.list(90, 5, |_| {});
    assert_eq!(why(&world.plan()), Some(MintReason::Gone));
}

#[test]
fn what_a_person_asks_for_is_minted_whatever_was_before() {
    let mut world = World::replaced(&[3, 2, 1]);
    world.evidence.asked.insert(name("a"));
    assert_eq!(why(&world.plan()), Some(MintReason::Asked));
}

#[test]
fn a_date_that_jumps_makes_a_token_due_once_and_not_again_and_again() {
    let boot = |second: u64| Some(BootTime { boot: "this".into(), millis: second * 1000 });
    let mut world = World::new().settled().lives(hours(24), hours(30));
    world.boot = boot(5000);
    // It was minted half a minute ago, and the date has been set ahead since.
    let mut minted = attempt(1, world.now - hours(24));
    (minted.at.boot, minted.kind) = (boot(4970), AttemptKind::Explained);
    world.record(|record| record.mints = vec![minted.clone()]);
    assert_eq!(why(&world.plan()), Some(MintReason::Early));
    let early = |n: u8| MintAttempt { marker: marker(n), kind: AttemptKind::Unexplained, ..minted.clone() };
    world.record(|record| record.mints.extend([early(7), early(8), early(9)]));
    assert_eq!(mints(&world.plan()), 0);
    world.boot = boot(5000 + 24 * 3600);
    assert_eq!(why(&world.plan()), Some(MintReason::Due), "by both clocks");
}

#[test]
fn grants_that_a_server_never_gives_are_asked_for_once_and_then_three_times_a_day() {
    let mut world = World::new().settled();
    world.descriptor.grants = crate::model::GrantSupport::Fixed;
    let wanted = Grants::of([], ["other".parse().expect("a database")]);
    world.databases = Databases::Known(["telemetry", "other"].map(str::to_owned).into());
    world.spec(|spec| spec.grants = wanted.clone());
    assert_eq!(why(&world.plan()), Some(MintReason::Grants));
    let asked = MintAttempt { grants: wanted, kind: AttemptKind::Explained, ..attempt(7, world.now - 60) };
    world.record(|record| record.mints = vec![asked]);
    assert_eq!(why(&world.plan()), Some(MintReason::Again));
    let now = world.now;
    world.record(|record| record.mints.extend((0..3).map(|n| attempt(80 + n, now - 3600))));
    assert_eq!(mints(&world.plan()), 0);
}
