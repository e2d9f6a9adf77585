//! One history each: what is wanted, sealed and shown, and what the plan makes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::*;
use crate::model::{
    Allow, AttemptKind, Credential, Database, Databases, Descriptor, Evidence, FailedMint, Gone, Grants,
    Held, Instance, Intent, Label, Lifecycle, Listed, Listing, Marker, MintAttempt, Moment, Name, Origin,
    Probe, Probed, Product, Retiring, RetiringState, Revoked, RowFault, Secret, ServerDate, ServerKey,
    ServerName, Spec, TokenId, after,
};

mod brake;
mod drift;
mod products;
mod removal;
mod retirement;
mod rotation;
mod schedule;
mod strays;

const START: i64 = 1_800_000_000;

fn at(second: i64) -> Time {
    Time::from_second(START + second).expect("a time")
}

fn hours(n: i64) -> i64 {
    n * 3600
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn key() -> ServerKey {
    ServerKey::new(Product::Clustered, "https://cluster.example.com")
}

fn marker(n: u8) -> Marker {
    Marker::from_bits([n; 16])
}

fn grants() -> Grants {
    let telemetry: Database = "telemetry".parse().expect("a database");
    Grants::of([], [telemetry])
}

/// Everything a plan looks at, owned, with one spec called `a` and an empty store and server.
struct World {
    now: i64,
    boot: Option<crate::model::BootTime>,
    key: ServerKey,
    instance: Instance,
    former: Vec<Instance>,
    specs: BTreeMap<Name, Spec>,
    records: BTreeMap<Name, Known>,
    listing: Listing,
    databases: Databases,
    evidence: Evidence,
    lifecycle: Lifecycle,
    descriptor: Descriptor,
}

impl World {
    fn new() -> Self {
        let spec = Spec {
            name: name("a"),
            server: ServerName("default".into()),
            key: key(),
            grants: grants(),
            description: "d".into(),
            lifetime: None,
            allow: Allow::default().into(),
            pickup: crate::model::Pickup::Unknown,
            probe: Some(Probe::default().into()),
        };
        Self {
            now: hours(1000),
            boot: None,
            key: key(),
            instance: Instance::from_bits([1; 16]),
            former: vec![],
            specs: BTreeMap::from([(name("a"), spec)]),
            records: BTreeMap::new(),
            listing: Listing {
                tokens: vec![],
                faults: vec![],
                rows: 0,
                bytes: 0,
                date: ServerDate::Absent,
                zoneless: false,
            },
            databases: Databases::Known(BTreeSet::from(["telemetry".to_owned()])),
            evidence: Evidence::default(),
            lifecycle: Lifecycle::default(),
            descriptor: Product::Clustered.descriptor(),
        }
    }

    /// What the keeper does: it remembers what the plan missed.
    fn plan(&mut self) -> Plan {
        let plan = self.look(plan);
        self.evidence.note_not_live(&plan.not_live, at(self.now));
        plan
    }

    fn look<T>(&mut self, look: impl FnOnce(&View<'_>) -> T) -> T {
        self.listing.date = ServerDate::At(at(self.now));
        look(&View {
            now: at(self.now),
            boot: self.boot.as_ref(),
            server: &ServerName("default".into()),
            key: &self.key,
            instance: &self.instance,
            former: &self.former,
            specs: &self.specs,
            records: &self.records,
            listing: &self.listing,
            databases: &self.databases,
            descriptor: self.descriptor,
            evidence: &self.evidence,
            lifecycle: &self.lifecycle,
        })
    }

    fn held(&self, id: u8, age: i64) -> Held {
        Held {
            id: TokenId(format!("id-{id}").into()),
            server: self.key.clone(),
            marker: Some(marker(id)),
            secret: Credential::Token(Secret::new(format!("secret-{id}"))),
            grants: grants(),
            created_at: at(self.now - age),
            expires_at: None,
            claimed_created_at: None,
            was_to_expire_at: None,
            origin: Origin::Minted,
        }
    }

    fn record(&mut self, change: impl FnOnce(&mut Record)) {
        let mut record = match self.records.get(&name("a")) {
            Some(Known::Ours(record)) => (**record).clone(),
            _ => Record::new(name("a"), Allow::default(), 0),
        };
        change(&mut record);
        self.records.insert(name("a"), Known::Ours(record.into()));
    }

    fn spec(&mut self, change: impl FnOnce(&mut Spec)) {
        change(self.specs.get_mut(&name("a")).expect("the spec"));
    }

    /// The current token, in record and list.
    fn current(&mut self, change: impl FnOnce(&mut Held)) {
        self.record(|record| change(record.current.as_mut().expect("a current one")));
    }

    /// Carries out the notes of a plan, as the keeper does, and leaves the rest.
    fn note(&mut self, plan: &Plan) {
        let now = Moment { at: at(self.now), boot: self.boot.clone() };
        for step in &plan.steps {
            if let Step::Note { name: about, event } = step {
                assert_eq!(*about, name("a"));
                self.record(|record| *record = record.apply(event, &now).expect("it is allowed"));
            }
        }
    }

    /// Puts a token into the list.
    fn list(&mut self, id: u8, age: i64, change: impl FnOnce(&mut Listed)) {
        let label = Label { instance: self.instance.clone(), name: name("a"), marker: marker(id) };
        let mut row = Listed {
            id: TokenId(format!("id-{id}").into()),
            label: Some(label),
            grants: Some(grants()),
            created_at: Some(at(self.now - age)),
            expires_at: None,
            revoked_at: None,
        };
        change(&mut row);
        self.listing.tokens.push(row);
    }

    fn probed(&mut self, id: u8, change: impl FnOnce(&mut Probed)) {
        change(self.evidence.probes.entry(TokenId(format!("id-{id}").into())).or_default());
    }

    /// The last mint of a name has failed, and waits for half a minute.
    fn mint_failed(&mut self, a: &str) {
        let (wait, until) = (Duration::from_secs(30), at(self.now + 30));
        self.evidence.waiting.insert(name(a), FailedMint { why: "500".into(), wait, until });
    }

    /// `a` has a current token that the list shows, a day old, probed and delivered.
    fn settled(mut self) -> Self {
        let held = self.held(1, hours(24));
        self.record(|record| {
            record.current = Some(held);
            record.generation = 1;
        });
        self.list(1, hours(24), |_| {});
        let now = at(self.now);
        self.probed(1, |probed| probed.accept(now));
        std::sync::Arc::make_mut(&mut self.evidence.delivered).insert(name("a"), 1);
        self
    }
}

impl World {
    /// The current token was revoked by somebody, and is refused.
    fn revoked(&mut self) {
        self.listing.tokens[0].revoked_at = Some(at(hours(999)));
        self.plan();
        let now = at(self.now);
        self.probed(1, |probed| probed.refuse(now, "401".into()));
    }
}

/// A mint that nothing explained.
fn attempt(n: u8, second: i64) -> MintAttempt {
    let at = Moment { at: at(second), boot: None };
    MintAttempt { marker: marker(n), at, grants: grants(), kind: AttemptKind::Unexplained }
}

/// A former token that was the first value of its name.
fn retiring(held: Held, since: Time) -> Retiring {
    Retiring { held, since, boot: None, generation: 1, state: RetiringState::Overlap }
}

fn mints(plan: &Plan) -> usize {
    plan.steps.iter().filter(|step| matches!(step, Step::Mint { .. })).count()
}

fn revokes(plan: &Plan) -> Vec<&str> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::RevokeStray { id, .. } => Some(&*id.0),
            _ => None,
        })
        .collect()
}

fn found(plan: &Plan, is_it: impl Fn(&Matter) -> bool) -> bool {
    plan.findings.iter().any(|finding| is_it(&finding.matter))
}

#[test]
fn what_is_missing_is_minted_and_what_is_there_is_left_alone() {
    let mut fresh = World::new();
    assert_eq!(fresh.plan().steps, [Step::Mint { name: name("a"), why: MintReason::Missing }]);
    let mut settled = World::new().settled();
    assert_eq!(settled.plan(), Plan::default());
}

#[test]
fn a_missing_database_is_named_and_nothing_is_minted_for_it() {
    let mut world = World::new();
    world.databases = Databases::Known(BTreeSet::from(["other".to_owned()]));
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(
        plan.findings[0].to_string(),
        "token a: the server has no database \"telemetry\"",
        "and the name of what is missing is said"
    );
    world.databases = Databases::Unlistable("403".into());
    let plan = world.plan();
    assert_eq!(mints(&plan), 1, "where databases cannot be listed it is minted, with a warning");
    assert!(found(&plan, |matter| matches!(matter, Matter::DatabasesUnlistable(_))));
}

#[test]
fn next_is_promoted_once_probed_and_not_before() {
    let mut world = World::new();
    let next = world.held(2, 30);
    world.record(|record| record.next = Some(next));
    assert!(matches!(world.plan().steps[..], [Step::Probe { .. }]));
    world.probed(2, |probed| probed.refuse(at(hours(1000)), "401".into()));
    assert!(matches!(world.plan().steps[..], [Step::Probe { .. }]));
    world.probed(2, |probed| probed.accept(at(hours(1000))));
    assert!(matches!(world.plan().steps[..], [Step::Promote { .. }]));
}

#[test]
fn an_unreachable_data_plane_is_not_a_refusal() {
    let mut world = World::new();
    let next = world.held(2, 700);
    world.record(|record| record.next = Some(next));
    world.list(2, 700, |_| {});
    world.probed(2, |probed| probed.miss(at(hours(1000) - 599), "no connection".into()));
    assert!(matches!(world.plan().steps[..], [Step::Probe { .. }]), "it could be asked a moment ago");
    world.probed(2, |probed| probed.unreachable_since = Some(at(hours(1000) - 600)));
    let plan = world.plan();
    assert!(matches!(plan.steps[..], [Step::Promote { .. }]), "past the deadline, without a current token");
    assert!(found(&plan, |matter| matches!(matter, Matter::Unprobed(_))), "and it is said");
    world.probed(2, |probed| probed.refuse(at(hours(1000)), "401".into()));
    assert!(matches!(world.plan().steps[..], [Step::Probe { .. }]), "refused: never unprobed");
}

#[test]
fn a_refused_next_is_minted_anew_only_if_another_token_is_accepted() {
    let mut world = World::new().settled();
    let next = world.held(2, hours(2));
    world.record(|record| record.next = Some(next));
    world.list(2, hours(2), |_| {});
    world.probed(2, |probed| probed.refuse(at(hours(1000)), "401".into()));
    let plan = world.plan();
    let control = Some(TokenId("id-1".into()));
    assert_eq!(plan.steps, [Step::Probe { name: name("a"), id: TokenId("id-2".into()), control }]);
    world.probed(2, |probed| probed.control_accepted_at = Some(at(hours(1000))));
    assert_eq!(world.plan().steps, [Step::Mint { name: name("a"), why: MintReason::Refused }]);
    world.record(|record| record.remints.push(at(hours(990))));
    assert_eq!(mints(&world.plan()), 0, "at most once a day");
}

#[test]
fn a_token_that_the_list_shows_as_revoked_is_gone_once_it_is_refused_after_that() {
    let mut world = World::new().settled();
    let now = at(world.now);
    let verify = [Step::Verify { name: name("a"), id: TokenId("id-1".into()) }];
    world.probed(1, |probed| probed.refuse(at(hours(999)), "401".into()));
    world.listing.tokens[0].revoked_at = Some(at(hours(999)));
    assert_eq!(
        world.plan().steps,
        verify,
        "it was refused before, perhaps by a part that did not know it yet"
    );
    world.probed(1, |probed| probed.accept(now));
    let plan = world.plan();
    assert_eq!(plan.steps, [], "the list is wrong");
    assert!(found(&plan, |matter| matches!(matter, Matter::Unlisted(_))));
    world.probed(1, |probed| probed.refuse(now, "401".into()));
    let plan = world.plan();
    assert_eq!(mints(&plan), 1);
    let aside = Event::Gone { id: TokenId("id-1".into()), how: Gone::Shown };
    assert!(plan.steps.contains(&Step::Note { name: name("a"), event: aside }));
}

#[test]
fn a_revocation_at_a_time_that_cannot_be_read_counts_once_the_token_is_refused() {
    let mut world = World::new().settled();
    let (now, id) = (at(world.now), Some(TokenId("id-1".into())));
    world.listing.tokens[0].revoked_at = Some(now);
    world.listing.faults = vec![RowFault { id, label: None, what: "revokedAt: expected a time".into() }];
    world.evidence.probes.clear();
    assert!(matches!(world.plan().steps[..], [Step::Verify { .. }]));
    world.probed(1, |probed| probed.refuse(now, "401".into()));
    assert_eq!(mints(&world.plan()), 1);
}

#[test]
fn a_token_the_list_lacks_is_gone_only_after_two_refusals_a_minute_apart() {
    let mut world = World::new().settled();
    world.listing.tokens.clear();
    let now = hours(1000);
    assert_eq!(world.plan().steps, [], "it was accepted a moment ago");
    world.evidence.probes.clear();
    world.evidence.not_live_since.clear();
    world.probed(1, |probed| probed.refused = Some((at(now - 999), at(now - 99))));
    assert!(matches!(world.plan().steps[..], [Step::Verify { .. }]), "refusals from before prove nothing");
    world.probed(1, |probed| probed.refuse(at(now), "401".into()));
    assert_eq!(world.plan().steps, []);
    world.probed(1, |probed| probed.refuse(at(now + 59), "401".into()));
    world.now = now + 59;
    assert_eq!(mints(&world.plan()), 0);
    world.probed(1, |probed| probed.refuse(at(now + 60), "401".into()));
    world.now = now + 60;
    let plan = world.plan();
    let aside = Event::Gone { id: TokenId("id-1".into()), how: Gone::Absent };
    assert!(plan.steps.contains(&Step::Note { name: name("a"), event: aside }), "its secret is kept");
    assert_eq!(mints(&plan), 1);
}

#[test]
fn a_token_is_the_same_by_id_creation_and_marker() {
    for (change, same) in [
        (
            (|row: &mut Listed| {
                row.created_at = row.created_at.map(|at| after(at, Duration::from_millis(999)))
            }) as fn(&mut Listed),
            true,
        ),
        (|row| row.created_at = None, true),
        (|row| row.created_at = row.created_at.map(|at| after(at, Duration::from_secs(1))), false),
        (|row| row.label = None, false),
        (|row| row.id = TokenId("id-9".into()), false),
    ] {
        let mut world = World::new().settled();
        world.evidence.probes.clear();
        change(&mut world.listing.tokens[0]);
        assert_eq!(world.plan().steps.iter().all(|step| !matches!(step, Step::Verify { .. })), same);
    }
}

#[test]
fn a_young_token_is_not_judged_by_a_list() {
    let mut world = World::new();
    let current = world.held(1, 599);
    world.record(|record| record.current = Some(current));
    world.list(1, 599, |row| row.revoked_at = Some(at(hours(1000))));
    assert_eq!(world.plan().steps, []);
}

#[test]
fn an_expired_token_is_gone_once_it_is_refused() {
    let mut world = World::new().settled();
    world.listing.tokens[0].expires_at = Some(at(hours(999)));
    assert!(matches!(world.plan().steps[..], [Step::Verify { .. }]));
    world.probed(1, |probed| probed.refuse(at(hours(1000)), "401".into()));
    assert_eq!(mints(&world.plan()), 1);
}

#[test]
fn a_retiring_token_that_works_becomes_current_again() {
    let mut world = World::new();
    let former = world.held(1, hours(24));
    let since = at(hours(990));
    world.record(|record| record.retiring.push(retiring(former, since)));
    world.list(1, hours(24), |_| {});
    assert!(world.plan().steps.iter().any(|step| matches!(step, Step::Verify { .. })));
    world.probed(1, |probed| probed.accept(at(hours(1000))));
    let event = Event::Reinstated(TokenId("id-1".into()));
    assert!(world.plan().steps.contains(&Step::Note { name: name("a"), event }));
}

#[test]
fn an_inherited_token_is_replaced_and_never_ended() {
    let mut world = World::new().settled();
    world.record(|record| record.current.as_mut().expect("a current token").origin = Origin::Inherited);
    assert_eq!(world.plan().steps, [Step::Mint { name: name("a"), why: MintReason::Inherited }]);
}

#[test]
fn another_address_is_adopted_if_it_shows_our_tokens_and_else_waits_for_a_person() {
    let mut world = World::new().settled();
    let moved = ServerKey { origin: "https://other.example.com".into(), ..key() };
    world.key = moved.clone();
    world.specs.get_mut(&name("a")).expect("the spec").key = moved;
    let adopt = Step::Note { name: name("a"), event: Event::Adopted { from: key(), to: world.key.clone() } };
    assert_eq!(world.plan().steps, [adopt]);
    world.listing.tokens.clear();
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert!(found(&plan, |matter| matches!(matter, Matter::ServerChanged { .. })));
    world.evidence.confirmed.insert(name("a"), crate::model::Word::Move);
    assert_eq!(mints(&world.plan()), 1);
}

/// Two clusters behind one host were one server to records that did not know paths.
#[test]
fn another_address_is_not_adopted_for_a_name_of_another_server_whose_tokens_it_does_not_show() {
    let mut world = World::new().settled();
    let mut elsewhere = world.held(2, hours(2));
    elsewhere.id = TokenId("id-b".into());
    let mut record = Record::new(name("b"), Allow::default(), 0);
    record.current = Some(elsewhere);
    world.records.insert(name("b"), Known::Ours(record.into()));
    let below = |path: &str| ServerKey { origin: format!("{}/{path}", key().origin), ..key() };
    let mut other = world.specs[&name("a")].clone();
    (other.name, other.server, other.key) = (name("b"), ServerName("other".into()), below("other"));
    world.specs.insert(name("b"), other);
    world.key = below("default");
    world.specs.get_mut(&name("a")).expect("the spec").key = below("default");
    let to = below("default");
    let adopt =
        |of: &str| Step::Note { name: name(of), event: Event::Adopted { from: key(), to: to.clone() } };
    assert_eq!(world.plan().steps, [adopt("a")]);
    // Here it lived, and is to move.
    world.list(2, hours(2), |row| row.id = TokenId("id-b".into()));
    assert_eq!(world.plan().steps, [adopt("a"), adopt("b")]);
}

#[test]
fn a_revoked_token_is_forgotten_after_a_month_and_revoked_again_if_it_lives() {
    let mut world = World::new().settled();
    let now = world.now;
    let revoked = |age: i64| Revoked {
        id: TokenId("id-7".into()),
        server: key(),
        marker: Some(marker(7)),
        created_at: None,
        at: at(now - age),
        boot: None,
        is_ours: true,
        unused: false,
    };
    world.record(|record| record.revoked = vec![revoked(hours(24 * 30) - 1)]);
    assert_eq!(world.plan().steps, []);
    world.record(|record| record.revoked = vec![revoked(hours(24 * 30))]);
    let forget = Event::Forgotten(TokenId("id-7".into()));
    assert_eq!(world.plan().steps, [Step::Note { name: name("a"), event: forget }]);
    world.list(7, hours(25), |_| {});
    assert_eq!(revokes(&world.plan()), ["id-7"], "the revocation was lost");
    world.record(|record| record.revoked = vec![revoked(599)]);
    assert_eq!(world.plan().steps, [], "the list may lag");
}

#[test]
fn a_mint_that_failed_waits() {
    let mut world = World::new();
    world.mint_failed("a");
    let plan = world.plan();
    assert_eq!(mints(&plan), 0);
    assert_eq!(plan.next_due, Some(at(world.now + 30)));
    let told = plan.findings[0].to_string();
    assert!(told.contains("the last mint failed (500), next try at "), "{told}");
}
