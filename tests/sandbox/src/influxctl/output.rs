//! What is printed: JSON in its many forms, and tables.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    arguments::Line,
    defect::{Defect, Shape},
    version::Version,
};

/// How to print.
#[derive(Debug)]
pub(super) struct Form<'a> {
    pub(super) json: bool,
    version: Version,
    shapes: Vec<&'a Shape>,
}

/// Whose a token is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) account: &'a str,
    pub(super) cluster: &'a str,
    pub(super) dedicated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Text,
    Protobuf,
    Missing,
    Epoch,
}

/// As `GET /tokens` has them, and as the tool does.
const TIMES: [(&str, &str); 3] =
    [("createdAt", "created_at"), ("expiresAt", "expires_at"), ("revokedAt", "revoked_at")];

impl<'a> Form<'a> {
    pub(super) fn new(version: Version, line: &Line, defects: &'a [Defect]) -> Self {
        let shapes = defects
            .iter()
            .filter_map(|defect| if let Defect::Shape(shape) = defect { Some(shape) } else { None })
            .collect();
        Self { json: line.wants_json() && !defects.contains(&Defect::Table), version, shapes }
    }

    fn last<T>(&self, pick: impl Fn(&Shape) -> Option<T>) -> Option<T> {
        self.shapes.iter().rev().find_map(|shape| pick(shape))
    }

    fn has(&self, shape: &Shape) -> bool {
        self.shapes.contains(&shape)
    }

    /// A token as `token list` and `token get` show it.
    pub(super) fn token(&self, token: &Value, place: Place<'_>) -> Value {
        let mut row = json!({
            "account_id": place.account,
            "cluster_id": place.cluster,
            "id": token["id"],
            "description": token["description"],
            "permissions": self.permissions(&token["permissions"], place.dedicated),
        });
        self.add_times(token, &mut row);
        row
    }

    /// A token as `token create` shows it.
    pub(super) fn created(&self, token: &Value, place: Place<'_>) -> String {
        let secret = token["accessToken"].as_str().unwrap_or_default();
        if !self.json {
            return self.created_table(token, secret);
        }
        let mut row = json!({
            "id": token["id"],
            "description": token["description"],
            "permissions": self.permissions(&token["permissions"], place.dedicated),
        });
        self.add_times(token, &mut row);
        let named = |shape: &Shape| match shape {
            Shape::SecretNamed(name) => Some(name.clone()),
            _ => None,
        };
        row[self.last(named).unwrap_or_else(|| "token".to_owned())] = secret.into();
        if self.has(&Shape::TwoSecrets) {
            let other: String = secret.chars().rev().filter(|c| *c != '_').collect();
            row["secret"] = format!("apiv1_{other}").into();
        }
        if let Some(object) = row.as_object_mut() {
            self.leave_out(object, secret);
        }
        if self.has(&Shape::Wrapped) {
            row = json!({ "token": row });
        }
        if self.has(&Shape::InArray) {
            row = json!([row]);
        }
        text(&row)
    }

    fn leave_out(&self, object: &mut Map<String, Value>, secret: &str) {
        if self.has(&Shape::NoId) {
            object.remove("id");
        }
        if self.has(&Shape::NoSecret) {
            object.retain(|_, value| value.as_str() != Some(secret));
        }
    }

    /// The secret alone; since 2.11.0 after a table.
    fn created_table(&self, token: &Value, secret: &str) -> String {
        if self.version < Version::of(2, 11, 0) {
            return format!("{secret}\n");
        }
        let shown = |name: &str, key: &str| vec![name.to_owned(), cell(&token[key])];
        let rows = [
            shown("id", "id"),
            shown("description", "description"),
            shown("expires at", "expiresAt"),
            shown("revoked at", "revokedAt"),
        ];
        format!("{}{secret}\n", table(&[], &rows))
    }

    fn permissions(&self, permissions: &Value, dedicated: bool) -> Value {
        let asked = self.last(|shape| match shape {
            Shape::PermissionsObject => Some(None),
            Shape::PermissionsRows => Some(Some(false)),
            Shape::PermissionsRead => Some(Some(true)),
            _ => None,
        });
        let Some(all_read) = asked.unwrap_or(dedicated.then_some(false)) else { return json!({}) };
        let row = |permission: &Value| {
            let action = if all_read { json!("read") } else { permission["action"].clone() };
            json!({
                "id": "00000000-0000-0000-0000-000000000000",
                "action": action,
                "resource": permission["resource"],
            })
        };
        permissions.as_array().into_iter().flatten().map(row).collect()
    }

    fn times(&self) -> Times {
        self.last(|shape| match shape {
            Shape::TimesText => Some(Times::Text),
            Shape::TimesProtobuf => Some(Times::Protobuf),
            Shape::TimesMissing => Some(Times::Missing),
            Shape::TimesEpoch => Some(Times::Epoch),
            _ => None,
        })
        // The sample of `token list` is from before tokens expired and has none, that of `management list` these.
        .unwrap_or(if self.version < Version::of(2, 10, 0) {
            Times::Missing
        } else {
            Times::Protobuf
        })
    }

    fn add_times(&self, token: &Value, row: &mut Value) {
        for (theirs, ours) in TIMES {
            let at: Option<Timestamp> = token[theirs].as_str().and_then(|text| text.parse().ok());
            let shown = match (self.times(), at) {
                (Times::Text | Times::Epoch, Some(at)) => Some(at.to_string().into()),
                (Times::Epoch, None) => Some("1970-01-01T00:00:00Z".into()),
                (Times::Protobuf, Some(at)) => Some(protobuf(at)),
                (Times::Missing, _) | (_, None) => None,
            };
            if let Some(shown) = shown {
                row[ours] = shown;
            }
        }
    }
}

/// As Go prints a protobuf's time: without what is zero.
pub(super) fn protobuf(at: Timestamp) -> Value {
    let mut object = Map::new();
    for (key, number) in [("seconds", at.as_second()), ("nanos", at.subsec_nanosecond().into())] {
        if number != 0 {
            object.insert(key.to_owned(), number.into());
        }
    }
    object.into()
}

pub(super) fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// What stands in a table for a value.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Columns between bars; without headings if there are none.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let all: Vec<&Vec<String>> =
        std::iter::once(&headings).filter(|headings| !headings.is_empty()).chain(rows).collect();
    let mut widths = Vec::new();
    for row in &all {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(*row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let rule: String =
        widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
    let mut text = rule.clone();
    for (number, row) in all.into_iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _infallible = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 && !headings.is_empty() {
            text.push_str(&rule);
        }
    }
    text + &rule
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    const NEW: Version = Version::of(2, 12, 0);
    const PLACE: Place<'static> = Place { account: "a", cluster: "c", dedicated: false };

    fn token() -> Value {
        json!({
            "id": "i", "description": "d", "permissions": [{ "action": "write", "resource": "x" }],
            "createdAt": "2023-12-21T17:32:28.000Z", "expiresAt": "2030-01-01T00:00:00.5Z", "accessToken": "apiv1_s",
        })
    }

    fn form(version: Version, shapes: &[Shape]) -> Form<'_> {
        Form { json: true, version, shapes: shapes.iter().collect() }
    }

    fn listed(version: Version, shape: &Shape) -> Value {
        form(version, std::slice::from_ref(shape)).token(&token(), PLACE)
    }

    fn created(shapes: &[Shape]) -> Value {
        serde_json::from_str(&form(NEW, shapes).created(&token(), PLACE)).unwrap()
    }

    #[test]
    fn a_list_has_the_forms_of_the_samples() {
        let plain = form(NEW, &[]).token(&token(), PLACE);
        let times = json!({ "seconds": 1_703_179_948 });
        assert_eq!(
            plain,
            json!({
                "account_id": "a", "cluster_id": "c", "id": "i", "description": "d", "permissions": {},
                "created_at": times, "expires_at": { "seconds": 1_893_456_000, "nanos": 500_000_000 },
            })
        );
        let old = form(Version::of(2, 9, 9), &[]).token(&token(), PLACE);
        assert_eq!(old.get("created_at"), None);
        let dedicated = form(NEW, &[]).token(&token(), Place { dedicated: true, ..PLACE });
        assert_eq!(dedicated["permissions"][0]["action"], "write");
        assert_eq!(listed(NEW, &Shape::PermissionsRead)["permissions"][0]["action"], "read");
        assert_eq!(listed(NEW, &Shape::TimesText)["created_at"], "2023-12-21T17:32:28Z");
        assert_eq!(listed(NEW, &Shape::TimesEpoch)["revoked_at"], "1970-01-01T00:00:00Z");
        assert_eq!(listed(NEW, &Shape::TimesMissing).get("expires_at"), None);
    }

    #[test]
    fn a_created_token_has_many_forms() {
        assert_eq!(created(&[])["token"], "apiv1_s");
        assert_eq!(created(&[Shape::SecretNamed("accessToken".to_owned())])["accessToken"], "apiv1_s");
        assert_eq!(created(&[Shape::Wrapped])["token"]["token"], "apiv1_s");
        assert_eq!(created(&[Shape::InArray, Shape::Wrapped])[0]["token"]["id"], "i");
        assert_eq!(created(&[Shape::TwoSecrets])["secret"], "apiv1_s1vipa");
        assert_eq!(created(&[Shape::NoId]).get("id"), None);
        let none = created(&[Shape::NoSecret, Shape::SecretNamed("x".to_owned())]);
        assert_eq!((none.get("x"), &none["id"]), (None, &json!("i")));
    }

    #[test]
    fn a_table_has_the_secret_last() {
        let table = |version| Form { json: false, ..form(version, &[]) }.created(&token(), PLACE);
        assert_eq!(table(Version::of(2, 10, 5)), "apiv1_s\n");
        let new = table(NEW);
        assert!(new.starts_with("+----") && new.ends_with("+\napiv1_s\n"), "{new}");
        assert!(new.contains("| expires at  | 2030-01-01T00:00:00.5Z |\n"), "{new}");
    }
}
