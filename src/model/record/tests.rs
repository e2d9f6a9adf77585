//! What events do to records, and what no sequence of them does.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{
    AttemptKind, BootTime, Credential, Database, Product, Secret, ServerKey, TokenId, grant::Action,
};

fn server(n: u8) -> ServerKey {
    ServerKey::new(Product::Clustered, format!("https://c{n}"))
}

fn id(n: u8) -> TokenId {
    TokenId(format!("id-{n}").into())
}

fn marker(n: u8) -> Marker {
    Marker::from_bits([n + 1; 16])
}

fn held(n: u8, origin: Origin) -> Held {
    Held {
        id: id(n),
        server: server(0),
        marker: (origin == Origin::Minted).then(|| marker(n)),
        secret: Credential::Token(Secret::new(format!("canary {n}"))),
        grants: Grants::default(),
        created_at: Time::UNIX_EPOCH,
        claimed_created_at: None,
        expires_at: None,
        was_to_expire_at: Some(Time::UNIX_EPOCH),
        origin,
    }
}

fn intent(n: u8) -> Box<Intent> {
    Box::new(Intent {
        marker: marker(n),
        server: server(0),
        deadline: Time::UNIX_EPOCH,
        boot: None,
        secret: None,
    })
}

fn now(second: u32) -> Moment {
    let boot = BootTime { boot: "this".into(), millis: u64::from(second) * 1000 };
    Moment { at: Time::from_second(second.into()).expect("a time"), boot: Some(boot) }
}

fn empty() -> Record {
    Record::new("a".parse().expect("a name"), Allow::default(), 7)
}

fn minted(n: u8) -> Event {
    Event::Minted { held: Box::new(held(n, Origin::Minted)), after_refusal: false }
}

fn promoted(n: u8) -> Event {
    Event::Promoted { id: id(n), probed: true, lifetime: None }
}

/// After these events, a minute apart.
fn after_all(events: &[Event]) -> Record {
    (0..).zip(events).fold(empty(), |record, (minute, event)| {
        record.apply(event, &now(minute * 60)).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// What keeps the last of these events from happening.
fn conflict(events: &[Event]) -> Conflict {
    let (last, before) = events.split_last().expect("an event");
    after_all(before).apply(last, &now(3600)).expect_err("it is not allowed").conflict
}

fn retiring(record: &Record) -> Vec<(String, u64, RetiringState)> {
    let of = |one: &Retiring| (one.held.id.to_string(), one.generation, one.state);
    record.retiring.iter().map(of).collect()
}

#[test]
fn a_token_goes_from_intent_to_revoked() {
    let intended =
        Event::Intended { intent: intent(1), grants: Grants::default(), kind: AttemptKind::Explained };
    let mut events = vec![intended, minted(1)];
    let record = after_all(&events);
    assert!(record.intents.is_empty() && record.mints.len() == 1);
    assert_eq!(record.next.as_ref().map(|next| &next.id), Some(&id(1)));
    events.extend([promoted(1), minted(2), promoted(2)]);
    let record = after_all(&events);
    assert_eq!((record.generation, record.current.as_ref().map(|held| &held.id)), (2, Some(&id(2))));
    assert_eq!(retiring(&record), [("id-1".to_owned(), 1, RetiringState::Overlap)]);
    events.extend([Event::RevocationAsked(id(1)), Event::Revoked(id(1))]);
    let record = after_all(&events);
    assert_eq!(retiring(&record), []);
    let revoked = &record.revoked[0];
    assert!(revoked.id == id(1) && revoked.is_ours && revoked.marker == Some(marker(1)));
    events.push(Event::Forgotten(id(1)));
    assert!(after_all(&events).revoked.is_empty());
}

#[test]
fn what_was_never_delivered_is_set_aside_as_unused() {
    let unused = [("id-1".to_owned(), 0, RetiringState::Unused)];
    assert_eq!(retiring(&after_all(&[minted(1), minted(2)])), unused);
    let imported = Event::Imported(Box::new(held(2, Origin::Imported { exclusive: true })));
    assert_eq!(retiring(&after_all(&[minted(1), imported])), unused);
    let record =
        after_all(&[minted(3), promoted(3), minted(4), promoted(4), minted(1), Event::Undone(id(3))]);
    assert_eq!(retiring(&record)[0], unused[0]);
    assert!(record.suspended && record.generation == 3);
}

#[test]
fn a_token_whose_revocation_was_asked_for_is_never_current_again() {
    let asked = [minted(1), promoted(1), minted(2), promoted(2), Event::RevocationAsked(id(1))];
    let with = |last: Event| [&asked[..], &[last]].concat();
    assert_eq!(conflict(&with(Event::Undone(id(1)))), Conflict::NotRetiring(id(1)));
    let gone = Event::Gone { id: id(2), how: Gone::Absent };
    let reinstated = [with(gone), vec![Event::Reinstated(id(1))]].concat();
    assert_eq!(conflict(&reinstated), Conflict::NotRetiring(id(1)));
}

#[test]
fn an_event_that_comes_too_late_is_an_error_with_both_names() {
    let error = after_all(&[minted(1), minted(2)]).apply(&promoted(1), &now(0)).expect_err("it was replaced");
    assert_eq!(error.to_string(), "token a: promoted is not allowed: id-1 is not next");
    assert_eq!(conflict(&[Event::MintRefused(marker(1))]), Conflict::NoIntent);
    assert_eq!(conflict(&[minted(1), promoted(1), Event::Reinstated(id(1))]), Conflict::HasCurrent(id(1)));
    assert_eq!(conflict(&[Event::PutBack]), Conflict::NotRemoved);
    assert_eq!(conflict(&[Event::Accepted]), Conflict::NoCurrent);
    assert_eq!(
        conflict(&[minted(1), Event::Imported(Box::new(held(1, Origin::Minted)))]),
        Conflict::Known(id(1))
    );
}

#[test]
fn the_same_mint_once_more_changes_nothing() {
    let once = after_all(&[minted(1)]);
    assert_eq!(once.apply(&minted(1), &now(60)).expect("it is allowed"), once);
}

#[test]
fn another_machines_tokens_are_not_revoked_again() {
    let events = [minted(1), promoted(1), minted(2), promoted(2), Event::Revoked(id(1)), Event::Inherited];
    let record = after_all(&events);
    assert!(record.revoked.iter().all(|revoked| !revoked.is_ours && revoked.marker.is_none()));
    assert!(record.held().all(|held| held.origin == Origin::Inherited));
    let claimed = record.apply(&Event::Claimed, &now(600)).expect("it is allowed");
    assert!(claimed.held().all(|held| held.origin == Origin::Minted));
}

/// Any event, about any of a few tokens.
fn event() -> impl Strategy<Value = Event> {
    (0..26_u8, 0..6_u8, any::<bool>()).prop_map(|(kind, n, flag)| {
        let writes: Grants =
            [crate::model::Grant { action: Action::Write, database: Database::Named(format!("db{n}")) }]
                .into_iter()
                .collect();
        match kind {
            0 => {
                Event::Allowed(std::sync::Arc::new(Allow { users: vec![n.to_string()], ..Allow::default() }))
            }
            1 => Event::Removed,
            2 => Event::PutBack,
            3 => Event::Intended { intent: intent(n), grants: writes, kind: AttemptKind::Unexplained },
            4 => Event::MintUnsent(marker(n)),
            5 => Event::MintRefused(marker(n)),
            6 | 7 => Event::Minted { held: Box::new(held(n, Origin::Minted)), after_refusal: flag },
            8 => Event::MintedUnlabelled { id: id(n), server: server(0), marker: marker(n) },
            9 => Event::Imported(Box::new(held(n, Origin::Imported { exclusive: flag }))),
            10 | 11 => Event::Promoted { id: id(n), probed: flag, lifetime: None },
            12 => Event::WishFulfilled,
            13 => Event::Accepted,
            14 => Event::DeliveredLate { had: n.into() },
            15 => Event::Shortened,
            16 => Event::GrantsChanged { id: id(n), grants: writes },
            17 => Event::SurplusNoted(flag.then_some(writes)),
            18 => Event::Gone { id: id(n), how: if flag { Gone::Shown } else { Gone::Absent } },
            19 => Event::Reinstated(id(n)),
            20 => Event::Undone(id(n)),
            21 => Event::Withdrawn(id(n)),
            22 => Event::RevocationAsked(id(n)),
            23 => Event::Revoked(id(n)),
            24 => Event::StrayRevoked { id: id(n), server: server(0), marker: flag.then(|| marker(n)) },
            _ if flag => Event::Forgotten(id(n)),
            _ => Event::Adopted { from: server(n % 2), to: server(1 - n % 2) },
        }
    })
}

fn secrets(record: &Record) -> BTreeSet<TokenId> {
    record.held().map(|held| held.id.clone()).collect()
}

fn check(before: &Record, event: &Event, after: &Record) -> Result<(), TestCaseError> {
    let ids: Vec<&TokenId> =
        after.held().map(|held| &held.id).chain(after.revoked.iter().map(|revoked| &revoked.id)).collect();
    prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are unique");
    let markers: BTreeSet<_> = after.intents.iter().map(|intent| intent.marker.to_string()).collect();
    prop_assert_eq!(markers.len(), after.intents.len(), "markers are unique");
    // Rule 1: no secret is lost while its token may live.
    let lost: Vec<_> = secrets(before).difference(&secrets(after)).cloned().collect();
    let is_dead = matches!(event, Event::Revoked(_) | Event::Gone { how: Gone::Shown, .. });
    prop_assert!(lost.is_empty() || is_dead, "{lost:?} is lost by {}", event.name());
    prop_assert!(lost.iter().all(|id| after.revoked.iter().any(|revoked| revoked.id == *id)));
    // Rule 6: a value was ready, or is said to be unprobed.
    let current = |record: &Record| record.current.as_ref().map(|held| held.id.clone());
    if let Some(new) = current(after).filter(|new| current(before).as_ref() != Some(new)) {
        prop_assert_eq!(after.generation, before.generation + 1);
        match event {
            Event::Promoted { probed, .. } => {
                prop_assert_eq!(before.next.as_ref().map(|next| next.id.clone()), Some(new));
                prop_assert_eq!(after.unprobed, !probed);
            }
            Event::Reinstated(id) | Event::Undone(id) => prop_assert_eq!(id, &new),
            other => prop_assert!(false, "{} makes a token current", other.name()),
        }
    } else {
        prop_assert_eq!(after.generation, before.generation);
    }
    // Nobody has had what never was a value.
    let unused = after.retiring.iter().filter(|one| one.state == RetiringState::Unused);
    prop_assert!(unused.clone().all(|one| one.generation == 0));
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_events_loses_a_secret_or_makes_up_a_value(events in prop::collection::vec(event(), 1..60)) {
        let mut record = empty();
        for (second, event) in (0..).zip(&events) {
            if let Ok(after) = record.apply(event, &now(second)) {
                check(&record, event, &after)?;
                record = after;
            }
        }
        let json = record.to_json();
        prop_assert_eq!(serde_json::from_slice::<Record>(&json).expect("a record"), record);
    }
}
