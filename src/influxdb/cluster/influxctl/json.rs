//! JSON as it comes from a program, borrowed from its output: a string in it may be a secret, of which no copy is made.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::influxdb::{
    ErrorKind,
    cluster::rows::{Row, rows},
    server_text::is_visible,
};

/// No object of an answer has more fields.
const MAX_FIELDS: usize = 1000;
/// No object of a token is deeper.
const MAX_DEPTH: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// The first value in an output, after whatever lines a program may have put before it. It is not looked into.
///
/// # Errors
/// The value is missing or incomplete.
pub(super) fn first(output: &[u8]) -> Result<&RawValue, ErrorKind> {
    let nonsense = |what: &str| ErrorKind::Nonsense(what.to_owned());
    let text = std::str::from_utf8(output).map_err(|_| nonsense("its output is not text"))?;
    let mut error = nonsense("its output has no JSON");
    let mut from = 0;
    for line in text.split_inclusive('\n') {
        // A list without anything in it may be printed so.
        if line.starts_with(['[', '{']) || line.trim_end() == "null" {
            let mut values = serde_json::Deserializer::from_str(&text[from..]).into_iter::<&RawValue>();
            match values.next() {
                Some(Ok(value)) => return Ok(value),
                // Without its text, which may be a token.
                Some(Err(fault)) if fault.is_eof() => return Err(nonsense("its output ends too early")),
                _ => error = nonsense("its output is not JSON"),
            }
        }
        from += line.len();
    }
    Err(error)
}

/// The same, looked into.
///
/// # Errors
/// The value is missing or too large.
pub(super) fn first_whole(output: &[u8]) -> Result<Json<'_>, ErrorKind> {
    let whole = serde_json::from_str(first(output)?.get());
    whole.map_err(|_| ErrorKind::Nonsense("its output is not JSON".to_owned()))
}

/// Every object in a value, the outer ones first, down to the deepest.
pub(super) fn objects(value: &RawValue) -> Vec<Row<'_>> {
    let mut found = Vec::new();
    collect(value, 0, &mut found);
    found
}

fn collect<'a>(value: &'a RawValue, depth: usize, found: &mut Vec<Row<'a>>) {
    if depth > MAX_DEPTH {
        return;
    }
    if let Some(items) = rows(value) {
        items.into_iter().for_each(|item| collect(item, depth + 1, found));
    } else if let Ok(row) = Row::read(value.get()) {
        let inner: Vec<&RawValue> = row.values().collect();
        found.push(row);
        inner.into_iter().for_each(|value| collect(value, depth + 1, found));
    }
}

/// Of a value, what a person may see: names and kinds.
pub(super) fn shape(value: &RawValue) -> String {
    let mut shape = match serde_json::from_str::<Json<'_>>(value.get()) {
        Ok(json) => json.to_string(),
        Err(_) => "an object nested too deep or with a field given twice".to_owned(),
    };
    shape.truncate(shape.floor_char_boundary(400));
    shape
}

impl<'a> Json<'a> {
    pub(super) fn get(&self, keys: &[&str]) -> Option<&Json<'a>> {
        let Self::Object(fields) = self else { return None };
        fields
            .iter()
            .find(|(key, value)| keys.contains(&key.as_ref()) && *value != Self::Null)
            .map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Its shape, for people to send in: names and kinds, and of a text no more than how long it is.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(_) => f.write_str("true|false"),
            Self::Number(_) => f.write_str("number"),
            Self::Text(text) => write!(f, "text({})", text.chars().count()),
            Self::List(list) => match list.first() {
                None => f.write_str("[]"),
                Some(first) => write!(f, "[{first} × {}]", list.len()),
            },
            Self::Object(fields) => {
                f.write_str("{")?;
                for (number, (key, value)) in fields.iter().take(32).enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    let key: String = key.chars().filter(|c| is_visible(*c)).take(40).collect();
                    write!(f, "{comma}{key}: {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "a number that large is not a time")]
    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "a number that large is not a time")]
    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        // With an escape in it, which no token has.
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
        let mut fields: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some((FieldName(key), value)) = entries.next_entry()? {
            if fields.len() == MAX_FIELDS || fields.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom("a field twice, or too many"));
            }
            fields.push((key, value));
        }
        Ok(Json::Object(fields))
    }
}

struct FieldName<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for FieldName<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Text(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("a field without a name")),
        }
    }
}
