//! What influxctl says of tokens. Its JSON is documented by samples that contradict each other, and that of `token create`
//! not at all: every spelling of them is taken, and what must be there has to be there without any doubt.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::value::RawValue;

use super::{
    clusters::KnownCluster,
    json::{Json, first, first_whole, objects, shape},
};
use crate::{
    influxdb::{
        ErrorKind, Interest, Minted, Order,
        cluster::{
            list::ListReader,
            rows::{Dialect, ID, MintClaims, Row, rows as json_rows},
        },
        server_text::clean,
    },
    model::{Credential, Listed, Listing, Secret, ServerDate, TokenId, Uuid},
};

/// Names that the string of a new token may have.
const SECRET: [&str; 6] = ["token", "access_token", "accessToken", "token_string", "tokenString", "secret"];
/// Names that the id of a new token may have.
const TOKEN_ID: &[&str] = &["id", "token_id", "tokenId"];
/// A token's string is longer than any word that may stand beside it.
const LEAST_SECRET: usize = 32;

/// The rows of `token list`.
///
/// # Errors
/// It is not a list of tokens.
pub(super) fn list(output: &[u8], interest: &Interest<'_>) -> Result<Listing, ErrorKind> {
    let answer = first(output)?;
    let rows = raw_rows(answer).ok_or_else(|| unexpected("token list", answer))?;
    let reader =
        ListReader { interest, dialect: Dialect::Influxctl, cluster: None, date: &ServerDate::Absent };
    reader.read(&rows, output.len())
}

/// A list, perhaps inside an object that has nothing else. Without any token it may be `null`.
fn raw_rows(answer: &RawValue) -> Option<Vec<&RawValue>> {
    match answer.get().as_bytes().first()? {
        b'[' => json_rows(answer),
        b'n' => Some(vec![]),
        b'{' => raw_rows(Row::read(answer.get()).ok()?.only()?),
        _ => None,
    }
}

/// The same of a value that was looked into.
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
/// It is not a list of clusters.
pub(super) fn clusters(output: &[u8]) -> Result<Vec<KnownCluster>, ErrorKind> {
    let answer = first_whole(output)?;
    let unexpected = || ErrorKind::UnknownShape { command: "cluster list", shape: answer.to_string() };
    let rows = rows(&answer).ok_or_else(unexpected)?;
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
        return Err(unexpected());
    }
    Ok(clusters)
}

/// The names of `database list`.
///
/// # Errors
/// It is not a list of databases.
pub(super) fn databases(output: &[u8]) -> Result<BTreeSet<String>, ErrorKind> {
    let answer = first_whole(output)?;
    let name = |row: &Json<'_>| {
        let name = row.text().or_else(|| row.get(&["name", "database_name", "databaseName"])?.text());
        name.map(str::to_owned)
    };
    rows(&answer)
        .and_then(|rows| rows.iter().map(name).collect())
        .ok_or_else(|| ErrorKind::UnknownShape { command: "database list", shape: answer.to_string() })
}

/// The token of `token get`; `None` if the server does not have it.
///
/// # Errors
/// It is not a token, or another one.
pub(super) fn one(output: &[u8], id: &TokenId) -> Result<Option<Listed>, ErrorKind> {
    let answer = first(output)?;
    if raw_rows(answer).is_some_and(|rows| rows.is_empty()) {
        return Ok(None);
    }
    let objects = objects(answer);
    let found = objects.iter().find(|object| object.id(ID).as_ref() == Some(id));
    let found = found.ok_or_else(|| unexpected("token get", answer))?;
    Ok(Some(found.listed(id.clone(), Dialect::Influxctl, &ServerDate::Absent).0))
}

/// What `token create` has made. Without one id and one string it is a mint of unknown fate: the list decides.
///
/// # Errors
/// Id or string are missing, or there are several that may be it.
pub(super) fn minted(output: &[u8], order: &Order) -> Result<Minted, ErrorKind> {
    let answer = first(output)?;
    let objects = objects(answer);
    let unexpected = || unexpected("token create", answer);
    let token = created(&objects).ok_or_else(unexpected)?;
    let id = token.id(TOKEN_ID).filter(|id| is_one_word(&id.0)).ok_or_else(unexpected)?;
    let secret = secret(&objects).ok_or_else(unexpected)?;
    let date = ServerDate::Absent;
    let MintClaims { grants, created_at, expires_at, label, oddities, zoneless } =
        token.claims(order, Dialect::Influxctl, &date);
    let secret = Credential::Token(Secret::new(secret.into_owned()));
    Ok(Minted { id, secret, grants, created_at, expires_at, label, date, oddities, zoneless })
}

/// The one object in it that is the token. Those of permissions have ids of their own.
fn created<'s, 'a>(objects: &'s [Row<'a>]) -> Option<&'s Row<'a>> {
    let mut found =
        objects.iter().filter(|object| object.get(TOKEN_ID).is_some() && object.get(&["action"]).is_none());
    let token = found.next()?;
    found.next().is_none().then_some(token)
}

/// The one text in it that is a token's string, by its name or by how such strings begin.
fn secret<'a>(objects: &[Row<'a>]) -> Option<Cow<'a, str>> {
    let candidates: BTreeSet<Cow<'a, str>> = objects
        .iter()
        .flat_map(Row::texts)
        .filter(|(name, text)| SECRET.contains(name) || begins_like_one(text))
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

/// Only its shape is shown: the text may be a token.
fn unexpected(command: &'static str, answer: &RawValue) -> ErrorKind {
    ErrorKind::UnknownShape { command, shape: shape(answer) }
}

#[cfg(test)]
mod tests;
