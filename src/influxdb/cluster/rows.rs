//! A token as a server writes it: an object of which each field is read by itself, so that one that is odd costs no other.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    influxdb::{
        LabelEcho, Order,
        times::{ClaimedTime, EXPECTED, TimeClaim},
    },
    model::{Action, Grant, Grants, Label, Listed, ServerDate, Time, TokenId},
};

/// No object of an answer has more fields.
const MAX_FIELDS: usize = 1000;

/// The fields of a token, by each name that a transport has for them.
pub(super) const ID: &[&str] = &["id"];
pub(super) const DESCRIPTION: &[&str] = &["description"];
const PERMISSIONS: &[&str] = &["permissions"];
const CREATED_AT: &[&str] = &["createdAt", "created_at"];
const EXPIRES_AT: &[&str] = &["expiresAt", "expires_at"];
const REVOKED_AT: &[&str] = &["revokedAt", "revoked_at"];

/// By so many seconds the clocks of a cluster's nodes may differ: a revocation that much before the creation is one all the
/// same.
const SKEW: i64 = 300;

/// An object whose values are not read yet.
#[derive(Debug, Default)]
pub(super) struct Row<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// A field that cannot be read: its name, and what was expected. Never what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OddField {
    pub(super) name: &'static str,
    pub(super) expected: &'static str,
}

impl fmt::Display for OddField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.name, self.expected)
    }
}

/// How a transport writes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// As the description of the management API promises.
    Api,
    /// As influxctl prints them: times and permissions may be missing, and what they say of permissions may be wrong.
    Influxctl,
}

impl<'a> Row<'a> {
    /// # Errors
    /// It is not an object, or has too many fields.
    pub(super) fn read(json: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The first value under one of these names that is not null.
    pub(super) fn get(&self, names: &[&str]) -> Option<&'a RawValue> {
        let named = self.fields.iter().filter(|(name, _)| names.contains(&name.as_ref()));
        named.map(|(_, value)| *value).find(|value| value.get() != "null")
    }

    /// Whether several values stand under these names: which of them counts, nobody can tell.
    pub(super) fn is_ambiguous(&self, names: &[&str]) -> bool {
        self.fields.iter().filter(|(name, _)| names.contains(&name.as_ref())).nth(1).is_some()
    }

    pub(super) fn text(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        self.get(names).and_then(text)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &'a RawValue> {
        self.fields.iter().map(|(_, value)| *value)
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, Cow<'a, str>)> {
        self.fields.iter().filter_map(|(name, value)| Some((name.as_ref(), text(value)?)))
    }

    /// The only value of an object that has no other.
    pub(super) fn only(&self) -> Option<&'a RawValue> {
        match self.fields.as_slice() {
            [(_, value)] => Some(value),
            _ => None,
        }
    }

    /// The id: one text.
    pub(super) fn id(&self, names: &[&str]) -> Option<TokenId> {
        let id = self.text(names).filter(|_| !self.is_ambiguous(names))?;
        (!id.is_empty()).then(|| TokenId(id.into()))
    }

    /// The token in this row, and the fields that cannot be read. `date`: of the answer that has it.
    pub(super) fn listed(&self, id: TokenId, dialect: Dialect, date: &ServerDate) -> (Listed, RowReading) {
        let mut reading = RowReading::default();
        let mut times = self.times(date, &mut reading);
        if times.revoked_at_is_odd {
            // A revocation in a list is acted on after a refused probe only: to believe it costs nothing.
            times.revoked_at = Some(date.time().unwrap_or(Time::UNIX_EPOCH));
        }
        let listed = Listed {
            id,
            label: self.text(DESCRIPTION).as_deref().and_then(Label::find),
            grants: self.grants(dialect, &mut reading),
            created_at: times.created_at,
            expires_at: times.expires_at,
            revoked_at: times.revoked_at,
        };
        (listed, reading)
    }

    /// What the answer to a mint claims beside id and secret. None of it can cost the secret.
    pub(super) fn claims(&self, order: &Order, dialect: Dialect, date: &ServerDate) -> MintClaims {
        let mut reading = RowReading::default();
        let claimed = self.claimed_times(&mut reading);
        let grants = self.grants(dialect, &mut reading).unwrap_or_else(|| order.grants.clone());
        let mut oddities: Vec<String> = reading.odd.iter().map(ToString::to_string).collect();
        if claimed.created_at.is_none() && dialect == Dialect::Api {
            oddities.push("createdAt is missing".to_owned());
        }
        let created_at = claimed.created_at.and_then(|claim| match claim {
            ClaimedTime::At(at) => Some(at),
            ClaimedTime::BeyondCalendar => Some(Time::MAX),
            ClaimedTime::Unreadable => None,
        });
        let untold = dialect == Dialect::Influxctl && self.get(EXPIRES_AT).is_none();
        let expires_at = match claimed.expires_at {
            Some(ClaimedTime::At(at)) => match Birth::of(created_at, date).filter(|birth| at <= birth.at) {
                // Programs that have no word for "never" write the beginning of some calendar.
                Some(_) if order.lifetime.is_none() && at <= Time::UNIX_EPOCH => None,
                Some(birth) => {
                    oddities.push(format!("expiresAt {at:.0} is not after {birth}, read as never"));
                    None
                }
                None => Some(at),
            },
            Some(ClaimedTime::Unreadable) => order.expires_at(),
            None if untold => order.expires_at(),
            Some(ClaimedTime::BeyondCalendar) | None => None,
        };
        let (label, zoneless) = (self.echo(order), reading.zoneless);
        MintClaims { grants, created_at, expires_at, label, oddities, zoneless }
    }

    /// Whether the description bears the label that was asked for, to the letter: by it the token is found again.
    fn echo(&self, order: &Order) -> LabelEcho {
        let Some(description) = self.get(DESCRIPTION) else {
            return LabelEcho::Missing;
        };
        let told = text(description);
        let is_kept = told.is_some_and(|told| match Label::find(&order.description) {
            Some(label) => Label::find(&told) == Some(label),
            None => told == order.description,
        });
        if is_kept { LabelEcho::Kept } else { LabelEcho::Lost }
    }

    fn claimed_times(&self, reading: &mut RowReading) -> ClaimedTimes {
        let mut claim = |name, names: &[&str]| {
            let claim = TimeClaim::read(self.get(names))?;
            reading.zoneless |= claim.zoneless;
            if claim.time == ClaimedTime::Unreadable {
                reading.odd(name, EXPECTED);
            }
            Some(claim.time)
        };
        ClaimedTimes {
            created_at: claim("createdAt", CREATED_AT),
            expires_at: claim("expiresAt", EXPIRES_AT),
            revoked_at: claim("revokedAt", REVOKED_AT),
        }
    }

    /// The times of a row in a list: those that cannot be are read as absent.
    fn times(&self, date: &ServerDate, reading: &mut RowReading) -> RowTimes {
        let claimed = self.claimed_times(reading);
        let at = |claim: Option<ClaimedTime>| match claim {
            // What never comes to pass is written as the beginning of some calendar.
            Some(ClaimedTime::At(at)) => Some(at).filter(|at| *at > Time::UNIX_EPOCH),
            _ => None,
        };
        let created_at = at(claimed.created_at);
        // A creation after the answer has not happened then, so nothing can be held against it.
        let is_believable =
            |at: &Time| date.time().is_none_or(|date| at.as_second() <= date.as_second() + SKEW);
        let floor = created_at.filter(is_believable).map_or(i64::MIN, Time::as_second);
        RowTimes {
            created_at,
            expires_at: at(claimed.expires_at).filter(|at| at.as_second() >= floor),
            revoked_at: at(claimed.revoked_at).filter(|at| at.as_second() >= floor.saturating_sub(SKEW)),
            revoked_at_is_odd: claimed.revoked_at == Some(ClaimedTime::Unreadable),
        }
    }

    /// `None` where something else than reading or writing a database is granted, or it cannot be read.
    fn grants(&self, dialect: Dialect, reading: &mut RowReading) -> Option<Grants> {
        let rows = self.get(PERMISSIONS).and_then(rows);
        let permissions: Option<Vec<PermissionRow>> =
            rows.and_then(|rows| rows.into_iter().map(PermissionRow::read).collect());
        let Some(permissions) = permissions else {
            // influxctl's documented samples have an object in their place, or nothing.
            if dialect == Dialect::Api {
                reading.odd("permissions", "a list of actions and resources");
            }
            return None;
        };
        let grants: Grants = permissions.into_iter().map(|permission| permission.0).collect::<Option<_>>()?;
        // One of its samples says `read` of a token that writes: rows that say nothing else tell nothing.
        let writes = grants.iter().any(|grant| grant.action == Action::Write);
        (dialect == Dialect::Api || writes).then_some(grants)
    }
}

/// What was found beside the values of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RowReading {
    pub(super) odd: Vec<OddField>,
    /// Some time had no zone.
    pub(super) zoneless: bool,
}

impl RowReading {
    fn odd(&mut self, name: &'static str, expected: &'static str) {
        self.odd.push(OddField { name, expected });
    }
}

/// What the answer to a mint says beside id and secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MintClaims {
    pub(super) grants: Grants,
    pub(super) created_at: Option<Time>,
    pub(super) expires_at: Option<Time>,
    pub(super) label: LabelEcho,
    pub(super) oddities: Vec<String>,
    pub(super) zoneless: bool,
}

/// When a token was surely there that was just minted.
struct Birth {
    at: Time,
    /// Who says so.
    source: &'static str,
}

impl Birth {
    /// The creation that is claimed, where it fits the answer's date; else that.
    fn of(created_at: Option<Time>, date: &ServerDate) -> Option<Self> {
        let fits = |at: &Time| {
            date.time().is_none_or(|date| at.as_second().abs_diff(date.as_second()) <= SKEW.unsigned_abs())
        };
        let created = created_at.filter(fits).map(|at| Self { at, source: "createdAt" });
        created.or_else(|| Some(Self { at: date.time()?, source: "the answer's Date" }))
    }
}

impl fmt::Display for Birth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.0}", self.source, self.at)
    }
}

/// The times that stand in a row.
struct ClaimedTimes {
    created_at: Option<ClaimedTime>,
    expires_at: Option<ClaimedTime>,
    revoked_at: Option<ClaimedTime>,
}

struct RowTimes {
    created_at: Option<Time>,
    expires_at: Option<Time>,
    revoked_at: Option<Time>,
    revoked_at_is_odd: bool,
}

/// `None` inside: an action that we have no word for, or a database that can have no such name.
struct PermissionRow(Option<Grant>);

impl PermissionRow {
    fn read(json: &RawValue) -> Option<Self> {
        let row = Row::read(json.get()).ok()?;
        let (action, resource) = (row.text(&["action"])?, row.text(&["resource"])?);
        let action = match action.as_ref() {
            "read" => Some(Action::Read),
            "write" => Some(Action::Write),
            _ => None,
        };
        let database = resource.parse().ok();
        Some(Self(action.zip(database).map(|(action, database)| Grant { database, action })))
    }
}

/// A JSON string.
pub(super) fn text(json: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    if !json.get().starts_with('"') {
        return None;
    }
    serde_json::from_str::<Text<'_>>(json.get()).ok().map(|text| text.0)
}

/// The items of a JSON array.
pub(super) fn rows(json: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json.get()).ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Row<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Row<'de>, A::Error> {
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
        let mut row = Row::default();
        while let Some(Key(name)) = entries.next_key()? {
            if row.fields.len() < MAX_FIELDS {
                row.fields.push((name, entries.next_value()?));
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(row)
    }
}
