//! The data plane: `/api/v2/write`, `/write`, `/query`, `/ping`, with the checks in the order of the public source of
//! the single-tenant router and the 1.x query API (influxdata/influxdb, `iox_http`, `iox_v1_query_api`).

use std::{borrow::Cow, collections::HashMap};

use data_encoding::BASE64;
use hyper::Method;
use serde_json::json;

use crate::{
    answer::Answer,
    state::{Plane, State, Written},
};

/// One request, its body read.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// The answer, and the id of the token that was presented.
pub(crate) fn answer(state: &mut State, request: &Request<'_>) -> (Answer, Option<String>) {
    let mut parameters: HashMap<Cow<'_, str>, Cow<'_, str>> =
        url::form_urlencoded::parse(request.query.as_bytes()).collect();
    if request.path == "/query" && *request.method == Method::POST {
        parameters.extend(url::form_urlencoded::parse(request.body));
    }
    let header = request.authorization.and_then(from_header);
    let in_query = parameters.get("p").map(ToString::to_string);
    // The header wins on writes, the parameter on queries.
    let secret = match request.path {
        "/query" => in_query.or(header),
        "/write" => header.or(in_query),
        _ => header,
    };
    let id = secret.as_deref().and_then(|secret| state.id_of(secret)).map(str::to_owned);
    let secret = secret.as_deref();
    let answer = match (request.path, request.method) {
        ("/ping", &Method::GET | &Method::HEAD) => Answer::empty(204),
        ("/api/v2/write", &Method::POST) => write(state, parameters.get("bucket"), secret, request.body),
        // As `outputs.influxdb_v3` writes; Clustered has no such path.
        ("/write" | "/api/v3/write_lp", &Method::POST) => {
            write(state, parameters.get("db"), secret, request.body)
        }
        ("/query", &Method::GET | &Method::POST) => query(state, &parameters, secret),
        ("/ping" | "/api/v2/write" | "/api/v3/write_lp" | "/write" | "/query", _) => Answer::empty(405),
        _ => Answer::json(404, &json!({ "error": "not found" })),
    };
    (answer, id)
}

/// `Token X`, `Bearer X`, or the password of Basic; the scheme is case-sensitive.
fn from_header(value: &str) -> Option<String> {
    if let Some(token) = value.strip_prefix("Token ").or_else(|| value.strip_prefix("Bearer ")) {
        return Some(token.to_owned());
    }
    let pair = String::from_utf8(BASE64.decode(value.strip_prefix("Basic ")?.as_bytes()).ok()?).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}

fn write(state: &mut State, database: Option<&Cow<'_, str>>, secret: Option<&str>, body: &[u8]) -> Answer {
    let database = match database {
        Some(name) if !name.is_empty() && name.chars().count() <= 64 => name.to_string(),
        _ => {
            return Answer::json(
                400,
                &json!({ "code": "invalid", "message": "no or illegal database name" }),
            );
        }
    };
    let Some(secret) = secret else { return Answer::empty(401) };
    let refusal = state.options.refusal;
    let Some(token) = state.authenticate(secret, Plane::Write) else { return Answer::empty(refusal) };
    if !token.may("write", &database) {
        return Answer::empty(403);
    }
    let id = token.id.clone();
    let Ok(body) = std::str::from_utf8(body) else {
        return Answer::json(400, &json!({ "code": "invalid", "message": "the body is not UTF-8" }));
    };
    let lines: Vec<&str> =
        body.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).collect();
    // An empty body is authorised and nothing else: no database is resolved for it.
    if lines.is_empty() {
        return Answer::empty(204);
    }
    if !state.databases.contains(&database) {
        return Answer::json(
            404,
            &json!({ "code": "not found", "message": format!("database {database} not found") }),
        );
    }
    let written = lines.into_iter().map(|line| Written { database: database.clone(), line: line.to_owned() });
    state.written.entry(id).or_default().extend(written);
    Answer::empty(204)
}

fn query(
    state: &mut State,
    parameters: &HashMap<Cow<'_, str>, Cow<'_, str>>,
    secret: Option<&str>,
) -> Answer {
    let inside =
        |error: &str| Answer::json(200, &json!({ "results": [{ "statement_id": 0, "error": error }] }));
    let Some(statement) = parameters.get("q").filter(|q| !q.trim().is_empty()) else {
        return Answer::json(400, &json!({ "error": "missing required parameter \"q\"" }));
    };
    // Both are looked at before the token: such an answer proves nothing about it.
    if !["select ", "show "].iter().any(|start| statement.trim().to_lowercase().starts_with(start)) {
        return inside("error parsing query");
    }
    let Some(database) = parameters.get("db").filter(|db| !db.is_empty()) else {
        return inside("database is required");
    };
    let unauthorized = || Answer::json(401, &json!({ "error": "unauthorized access" }));
    let Some(secret) = secret else { return unauthorized() };
    let Some(token) = state.authenticate(secret, Plane::Query) else { return unauthorized() };
    if !token.may("read", database) {
        return unauthorized();
    }
    if !state.databases.contains(database.as_ref()) {
        return inside(&format!("database not found: {database}"));
    }
    Answer::json(200, &json!({ "results": [{ "statement_id": 0 }] }))
}
