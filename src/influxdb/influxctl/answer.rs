//! What influxctl says of tokens. Its JSON is documented by samples that contradict each other, and that of `token create`
//! not at all: every spelling of them is taken, and what must be there has to be there without any doubt.

use std::collections::BTreeSet;

use super::{
    KnownCluster,
    json::{Json, first},
};
use crate::{
    influxdb::{ErrorKind, Minted, Order, http::clean},
    model::{Action, Credential, Grant, Grants, Label, Listed, Secret, Time, TokenId, Uuid},
};

/// Names that the string of a new token may have.
const SECRET: [&str; 6] = ["token", "access_token", "accessToken", "token_string", "tokenString", "secret"];
/// A token's string is longer than any word that may stand beside it.
const LEAST_SECRET: usize = 32;

/// The rows of `token list`, and how many there were: those that bear a label, or whose id is known.
///
/// # Errors
/// It is no list of tokens.
pub(super) fn list(output: &[u8], known: &BTreeSet<TokenId>) -> Result<(Vec<Listed>, usize), ErrorKind> {
    let answer = first(output)?;
    let rows = rows(&answer).ok_or_else(|| unexpected("token list", &answer))?;
    let mut kept = Vec::new();
    for row in rows {
        let id = row.get(&["id"]).and_then(Json::text).ok_or_else(|| unexpected("token list", row))?;
        let listed = listed(row, id)?;
        if listed.label.is_some() || known.contains(id) {
            kept.push(listed);
        }
    }
    Ok((kept, rows.len()))
}

/// A list, perhaps inside an object that has nothing else. Without any token it may be `null`.
fn rows<'s, 'a>(answer: &'s Json<'a>) -> Option<&'s [Json<'a>]> {
    match answer {
        Json::List(rows) => Some(rows),
        Json::Null => Some(&[]),
        Json::Object(fields) => match fields.as_slice() {
            [(_, inner)] => rows(inner),
            _ => None,
        },
        _ => None,
    }
}

/// The rows of `cluster list`, as far as they have both ids.
///
/// # Errors
/// It is no list of clusters.
pub(super) fn clusters(output: &[u8]) -> Result<Vec<KnownCluster>, ErrorKind> {
    let answer = first(output)?;
    let rows = rows(&answer).ok_or_else(|| unexpected("cluster list", &answer))?;
    let cluster = |row: &Json<'_>| {
        let text = |keys: &[&str]| row.get(keys)?.text().map(clean).filter(|text| !text.is_empty());
        let id = |keys: &[&str]| Some(text(keys)?.parse::<Uuid>().ok()?.to_string());
        Some(KnownCluster {
            account: id(&["account_id", "accountId"])?,
            cluster: id(&["cluster_id", "clusterId", "id"])?,
            name: text(&["name"]),
            url: text(&["url"]),
        })
    };
    let clusters: Vec<KnownCluster> = rows.iter().filter_map(cluster).collect();
    if clusters.is_empty() && !rows.is_empty() {
        return Err(unexpected("cluster list", &answer));
    }
    Ok(clusters)
}

/// The names of `database list`.
///
/// # Errors
/// It is no list of databases.
pub(super) fn databases(output: &[u8]) -> Result<BTreeSet<String>, ErrorKind> {
    let answer = first(output)?;
    let name = |row: &Json<'_>| {
        let name = row.text().or_else(|| row.get(&["name", "database_name", "databaseName"])?.text());
        name.map(str::to_owned)
    };
    rows(&answer)
        .and_then(|rows| rows.iter().map(name).collect())
        .ok_or_else(|| unexpected("database list", &answer))
}

/// The one token of `token get`; `None` where it says that there is none.
///
/// # Errors
/// It is no token, or another one.
pub(super) fn one(output: &[u8], id: &TokenId) -> Result<Option<Listed>, ErrorKind> {
    let answer = first(output)?;
    if rows(&answer).is_some_and(<[_]>::is_empty) {
        return Ok(None);
    }
    let is_it = |object: &&Json<'_>| object.get(&["id"]).and_then(Json::text) == Some(&id.0);
    let found = answer.objects().into_iter().find(is_it).ok_or_else(|| unexpected("token get", &answer))?;
    listed(found, &id.0).map(Some)
}

/// What `token create` has made. Whatever is in doubt makes it a mint of unknown fate: the list decides.
///
/// # Errors
/// Id or string are missing, or there are several that may be it.
pub(super) fn minted(output: &[u8], order: &Order, begun: Time) -> Result<Minted, ErrorKind> {
    let answer = first(output)?;
    let token = created(&answer, order).ok_or_else(|| unexpected("token create", &answer))?;
    let id = token.get(&["id", "token_id", "tokenId"]).and_then(Json::text);
    let secret = secret(&answer);
    let (Some(id), Some(secret)) = (id.filter(|id| is_one_word(id)), secret) else {
        return Err(unexpected("token create", &answer));
    };
    let listed = listed(token, id)?;
    Ok(Minted {
        id: TokenId(id.to_owned()),
        secret: Credential::Token(Secret::new(secret.to_owned())),
        grants: listed.grants.unwrap_or_else(|| order.grants.clone()),
        // Where it does not say, no later than that.
        created_at: listed.created_at.unwrap_or(begun),
        expires_at: listed.expires_at.or(order.expires_at),
    })
}

/// The one object in it that is the token. Those of permissions have ids of their own; where there is a description, it
/// must be the one that was asked for.
fn created<'s, 'a>(answer: &'s Json<'a>, order: &Order) -> Option<&'s Json<'a>> {
    let has_id = |object: &&Json<'_>| {
        object.get(&["id", "token_id", "tokenId"]).is_some() && object.get(&["action"]).is_none()
    };
    let is_ours = |object: &&Json<'_>| {
        object.get(&["description"]).is_none_or(|text| text.text() == Some(&order.description))
    };
    let mut found = answer.objects().into_iter().filter(has_id);
    let token = found.next().filter(is_ours)?;
    found.next().is_none().then_some(token)
}

/// The one text in it that is a token's string, by its name or by how such strings begin.
fn secret<'s>(answer: &'s Json<'_>) -> Option<&'s str> {
    let fields = answer.objects().into_iter().filter_map(|object| match object {
        Json::Object(fields) => Some(fields),
        _ => None,
    });
    let texts = fields.flatten().filter_map(|(key, value)| Some((key.as_ref(), value.text()?)));
    let candidates: BTreeSet<&str> = texts
        .filter(|(key, text)| SECRET.contains(key) || begins_like_one(text))
        .map(|(_, text)| text)
        .filter(|text| text.len() >= LEAST_SECRET && is_one_word(text))
        .collect();
    let mut candidates = candidates.into_iter();
    candidates.next().filter(|_| candidates.next().is_none())
}

/// `apiv1_`, or a later number.
fn begins_like_one(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("apiv") else { return false };
    rest.split_once('_')
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

fn listed(row: &Json<'_>, id: &str) -> Result<Listed, ErrorKind> {
    // One that is there and is no time must not be taken for none: a token would be live for ever.
    let time = |keys: &[&str]| match row.get(keys) {
        None => Ok(None),
        // What never comes to pass is printed as the beginning of some calendar.
        Some(value) => value
            .time()
            .map(|at| Some(at).filter(|at| *at > Time::UNIX_EPOCH))
            .ok_or_else(|| unexpected("a token's times", row)),
    };
    let description = row.get(&["description"]).and_then(Json::text).unwrap_or_default();
    Ok(Listed {
        id: TokenId(id.to_owned()),
        label: Label::find(description),
        grants: row.get(&["permissions"]).and_then(grants),
        created_at: time(&["created_at", "createdAt"])?,
        expires_at: time(&["expires_at", "expiresAt"])?,
        revoked_at: time(&["revoked_at", "revokedAt"])?,
    })
}

/// `None` where they are told in a way that we do not know, such as the `{}` of a documented sample. Another sample says
/// `read` of a token that writes: rows that say nothing else tell nothing.
fn grants(permissions: &Json<'_>) -> Option<Grants> {
    let grant = |permission: &Json<'_>| {
        let action = match permission.get(&["action"])?.text()? {
            "read" => Action::Read,
            "write" => Action::Write,
            _ => return None,
        };
        Some(Grant { database: permission.get(&["resource"])?.text()?.parse().ok()?, action })
    };
    let grants: Grants = permissions.list()?.iter().map(grant).collect::<Option<_>>()?;
    let writes = grants.iter().any(|grant| grant.action == Action::Write);
    writes.then_some(grants)
}

/// Told by its shape alone: the text may be a token.
fn unexpected(what: &str, answer: &Json<'_>) -> ErrorKind {
    let mut shape = answer.to_string();
    shape.truncate(shape.floor_char_boundary(400));
    ErrorKind::Nonsense(format!("`{what}` answers {shape}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Marker;

    #[test]
    fn a_cluster_is_told_by_its_ids() {
        let ids = r#""account_id":"11111111-1111-4111-8111-111111111111","cluster_id":"33333333-3333-4333-8333-333333333333""#;
        let rows = format!(
            r#"[{{{ids},"name":"p\u0007rod","state":"ready","created_at":{{"seconds":1}}}},{{"name":"x"}}]"#
        );
        let known = KnownCluster {
            account: "11111111-1111-4111-8111-111111111111".to_owned(),
            cluster: "33333333-3333-4333-8333-333333333333".to_owned(),
            name: Some("prod".to_owned()),
            url: None,
        };
        assert_eq!(clusters(rows.as_bytes()).expect("a list"), [known]);
        assert_eq!(clusters(b"[]").expect("a list"), []);
        for nonsense in ["{\"a\":1}", "[{\"name\":\"x\"}]", "[1]", "no JSON", ""] {
            assert!(clusters(nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }

    const ID: &str = "55555555-5555-4555-8555-555555555555";
    const CANARY: &str = "apiv1_canarycanarycanarycanarycanarycanary";
    const DESCRIPTION: &str =
        "d [influx-tokend 00000000000000000000000000000001/t0/00000000000000000000000000000002]";

    fn order() -> Order {
        Order {
            description: DESCRIPTION.into(),
            grants: Grants::of([], ["a".parse().expect("a database")]),
            expires_at: "2030-01-01T00:00:00Z".parse().ok(),
            marker: Marker::from_bits([2; 16]),
        }
    }

    fn begun() -> Time {
        Time::from_second(1_700_000_000).expect("a time")
    }

    fn mint(output: &str) -> Result<Minted, ErrorKind> {
        minted(output.as_bytes(), &order(), begun())
    }

    #[test]
    fn a_new_token_is_found_however_it_is_spelt() {
        for output in [
            format!(r#"{{"id":"{ID}","token":"{CANARY}"}}"#),
            format!(
                r#"{{"id":"{ID}","description":"{DESCRIPTION}","permissions":{{}},"accessToken":"{CANARY}"}}"#
            ),
            format!(r#"[{{"id":"{ID}","account_id":"1","cluster_id":"2","access_token":"{CANARY}"}}]"#),
            format!(
                r#"{{"token":{{"id":"{ID}","permissions":[{{"id":"7","action":"write","resource":"a"}}]}},"secret":"{CANARY}"}}"#
            ),
            format!(
                "warning: a newer version is available\n{{\"token_id\":\"{ID}\",\"value\":\"{CANARY}\"}}\nbye\n"
            ),
            format!("{{\n  \"id\": \"{ID}\",\n  \"token_string\": \"{CANARY}\"\n}}"),
        ] {
            let minted = mint(&output).unwrap_or_else(|error| panic!("{output}: {error}"));
            assert_eq!((minted.id.0.as_str(), minted.secret.secret().expose()), (ID, CANARY), "{output}");
            assert_eq!((minted.created_at, minted.expires_at), (begun(), order().expires_at), "{output}");
        }
    }

    #[test]
    fn what_is_in_doubt_is_no_token_and_nothing_of_it_is_shown() {
        let other = CANARY.replace("canary", "canari");
        for output in [
            String::new(),
            "| id | token |\n".to_owned() + CANARY,
            CANARY.to_owned(),
            format!(r#"{{"id":"{ID}"}}"#),
            format!(r#"{{"token":"{CANARY}"}}"#),
            format!(r#"{{"id":"{ID}","token":"short"}}"#),
            format!(r#"{{"id":"{ID}","token":"{CANARY}","other":"{other}"}}"#),
            format!(r#"{{"id":"{ID}","secret":"{CANARY}","access_token":"{other}"}}"#),
            format!(r#"[{{"id":"{ID}","token":"{CANARY}"}},{{"id":"x"}}]"#),
            format!(r#"{{"id":"{ID}","token":"{CANARY} with more words, long enough"}}"#),
            format!(r#"{{"id":"{ID}","description":"another","token":"{CANARY}"}}"#),
            format!(r#"{{"id":"{ID}","id":"x","token":"{CANARY}"}}"#),
            format!(r#"{{"id":"{ID}","expires_at":"soon","token":"{CANARY}"}}"#),
            format!(r#"{{"id":"{ID}","token":"{CANARY}"#),
            format!("? continue (y/n) {{\"id\":\"{ID}\",\"token\":\"{CANARY}\"}}"),
            format!("\u{fffd}{{\"id\": {}", "[".repeat(100_000)),
        ] {
            let error = mint(&output).expect_err(&output);
            assert!(!error.to_string().contains("canar"), "{error}");
        }
    }

    #[test]
    fn the_documented_lists_and_their_contradictions() {
        let label = DESCRIPTION;
        let clustered = format!(
            r#"[{{"account_id":"0","cluster_id":"0","id":"{ID}","description":"{label}","permissions":{{}}}},
                {{"account_id":"0","cluster_id":"0","id":"x","description":"somebody's","permissions":{{}}}}]"#
        );
        let (rows, all) = list(clustered.as_bytes(), &BTreeSet::new()).expect("a list");
        assert_eq!((rows.len(), all), (1, 2));
        assert_eq!((rows[0].id.0.as_str(), &rows[0].grants, rows[0].created_at), (ID, &None, None));
        let dedicated = format!(
            r#"{{"tokens":[{{"id":"{ID}","description":"{label}","created_at":{{"seconds":1700000000,"nanos":5}},
                "expires_at":{{"seconds":"1800000000"}},"revoked_at":null,
                "permissions":[{{"id":"1","action":"read","resource":"a"}},{{"id":"2","action":"write","resource":"*"}}]}}]}}"#
        );
        let (rows, _) = list(dedicated.as_bytes(), &BTreeSet::new()).expect("a list");
        assert_eq!(rows[0].grants.as_ref().map(ToString::to_string).as_deref(), Some("write *, read a"));
        assert_eq!(rows[0].created_at.map(|at| at.as_second()), Some(1_700_000_000));
        assert_eq!(rows[0].expires_at.map(|at| at.as_second()), Some(1_800_000_000));
        assert_eq!(rows[0].revoked_at, None);
        assert_eq!(list(b"[]", &BTreeSet::new()).expect("none").1, 0);
        for nonsense in
            ["", "no tokens", "[{}]", r#"[{"id":7}]"#, r#"{"a":[],"b":[]}"#, "[1]", r#"[{"id":"x""#]
        {
            list(nonsense.as_bytes(), &BTreeSet::new()).expect_err(nonsense);
        }
        let never =
            format!(r#"[{{"id":"{ID}","description":"{label}","expires_at":"1970-01-01T00:00:00Z"}}]"#);
        assert_eq!(list(never.as_bytes(), &BTreeSet::new()).expect("a list").0[0].expires_at, None);
        let reads = format!(
            r#"[{{"id":"{ID}","description":"{label}","permissions":[{{"action":"read","resource":"a"}}]}}]"#
        );
        assert_eq!(
            list(reads.as_bytes(), &BTreeSet::new()).expect("a list").0[0].grants,
            None,
            "perhaps it writes"
        );
        let strange = format!(r#"[{{"id":"{ID}","description":"","revoked_at":"then"}}]"#);
        list(strange.as_bytes(), &BTreeSet::new()).expect_err("a time that is none");
    }

    #[test]
    fn databases_by_name() {
        for output in [
            r#"["a","b"]"#,
            r#"[{"name":"a"},{"name":"b"}]"#,
            r#"[{"database_name":"a"},{"database_name":"b"}]"#,
        ] {
            let names = databases(output.as_bytes()).expect(output);
            assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "b"], "{output}");
        }
        databases(br#"[{"title":"a"}]"#).expect_err("no names");
    }

    #[test]
    fn one_token_is_the_one_that_was_asked_for() {
        let id = TokenId(ID.into());
        let output =
            format!(r#"{{"id":"{ID}","description":"{DESCRIPTION}","revoked_at":"2026-01-01T00:00:00Z"}}"#);
        let found = one(output.as_bytes(), &id).expect("an answer").expect("a token");
        assert!(found.label.is_some() && found.revoked_at.is_some());
        assert_eq!(one(b"[]", &id).expect("an answer"), None);
        one(br#"{"id":"another"}"#, &id).expect_err("another");
    }
}
