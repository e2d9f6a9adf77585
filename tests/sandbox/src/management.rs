//! `/api/v0`, or what lies there below a cluster of Cloud Dedicated: tokens and databases, as the descriptions of the
//! management APIs have them.

use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Expiry,
    answer::Answer,
    dedicated::is_uuid,
    oddities::{Answers, Oddities},
    state::{State, Token},
};

/// One request, its body read.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// A list shows how things were then.
    pub(crate) as_of: Timestamp,
    pub(crate) oddities: &'a Oddities,
}

#[derive(Deserialize)]
struct Permission {
    action: String,
    resource: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    description: String,
    #[serde(default)]
    permissions: Vec<Permission>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// Of Cloud Dedicated.
    #[serde(default)]
    expiration_type: Option<String>,
}

#[derive(Deserialize)]
struct Update {
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    permissions: Option<Vec<Permission>>,
}

pub(crate) fn answer(state: &mut State, request: &Request<'_>) -> Answer {
    let token = request.authorization.and_then(|value| value.strip_prefix("Bearer "));
    if !token.is_some_and(|token| state.may_manage(token)) {
        return Answer::error(401, "unauthorized");
    }
    let path = request.path.strip_prefix("/api/v0").unwrap_or_default();
    let below = state.options.dedicated.as_ref().map_or(Ok(path), |dedicated| dedicated.below(path));
    let path = match below {
        Ok(path) => path,
        Err(answer) => return answer,
    };
    match (path.strip_prefix("/tokens"), path) {
        (Some(""), _) => match *request.method {
            Method::GET => list(state, request),
            Method::POST => create(state, request),
            _ => not_allowed("GET, POST"),
        },
        (Some(rest), _) if rest.starts_with('/') && !rest[1..].contains('/') => {
            one(state, request, &rest[1..])
        }
        (None, "/databases") => match *request.method {
            Method::GET => databases(state),
            _ => not_allowed("GET"),
        },
        _ => Answer::error(404, "not found"),
    }
}

fn one(state: &mut State, request: &Request<'_>, id: &str) -> Answer {
    if !matches!(*request.method, Method::GET | Method::PATCH | Method::DELETE) {
        return not_allowed("GET, PATCH, DELETE");
    }
    if !is_uuid(id) {
        return Answer::error(400, "tokenId is not a UUID");
    }
    if !state.tokens.contains_key(id) {
        return Answer::error(404, "not found");
    }
    match *request.method {
        Method::PATCH => update(state, id, request),
        Method::DELETE => {
            state.revoke(id);
            Answer::empty(204)
        }
        _ => Answer::json(200, &shown(state, request.oddities, &state.tokens[id], Answers::One)),
    }
}

fn list(state: &State, request: &Request<'_>) -> Answer {
    let Request { as_of, oddities, .. } = request;
    let rows: Vec<Value> = state
        .tokens
        .values()
        .filter(|token| token.created_at <= *as_of && !oddities.hides(token))
        .map(|token| {
            let mut token = token.clone();
            token.revoked_at = token.revoked_at.filter(|at| at <= as_of);
            token
        })
        .filter(|token| state.options.lists_revoked || token.revoked_at.is_none())
        .map(|token| shown(state, oddities, &token, Answers::List))
        .chain(oddities.strangers.iter().cloned())
        .collect();
    Answer::json(200, &Value::Array(rows))
}

fn create(state: &mut State, request: &Request<'_>) -> Answer {
    let create: Create = match parse(request.body) {
        Ok(create) => create,
        Err(answer) => return answer,
    };
    let permissions = match permissions(create.permissions) {
        Ok(permissions) => permissions,
        Err(answer) => return answer,
    };
    let now = state.clock.now();
    let expires_at = create.expires_at;
    if expires_at.is_some_and(|at| at <= now) {
        return Answer::error(400, "expiresAt is in the past");
    }
    if let Some(dedicated) = &state.options.dedicated
        && let Err(answer) = dedicated.check_expiration(create.expiration_type.as_deref(), expires_at)
    {
        return answer;
    }
    let expires_at = match state.options.expiry {
        Expiry::Kept => expires_at,
        Expiry::Ignored => None,
        Expiry::After(lifetime) => now.checked_add(lifetime).ok(),
    };
    let activation = state.options.activation.clone();
    let description = request.oddities.described(create.description);
    let token = state.mint(description, permissions, expires_at, &activation);
    let mut row = shown(state, request.oddities, &token, Answers::Mint);
    row["accessToken"] = token.secret.into();
    Answer::json(200, &row)
}

fn update(state: &mut State, id: &str, request: &Request<'_>) -> Answer {
    let update: Update = match parse(request.body) {
        Ok(update) => update,
        Err(answer) => return answer,
    };
    if update.description.is_none() && update.permissions.is_none() {
        return Answer::error(400, "nothing to change");
    }
    let new = match update.permissions.map(permissions).transpose() {
        Ok(permissions) => permissions,
        Err(answer) => return answer,
    };
    if let Some(new) = new {
        state.permit(id, new);
    }
    let Some(token) = state.tokens.get_mut(id) else { return Answer::error(404, "not found") };
    token.description = update.description.unwrap_or_else(|| std::mem::take(&mut token.description));
    let token = token.clone();
    Answer::json(200, &shown(state, request.oddities, &token, Answers::One))
}

fn databases(state: &State) -> Answer {
    let rows: Vec<Value> = state
        .databases
        .iter()
        .map(|name| {
            let mut row =
                json!({ "name": name, "maxTables": 500, "maxColumnsPerTable": 200, "retentionPeriod": 0 });
            state.options.dedicated.iter().for_each(|dedicated| dedicated.sign(&mut row));
            row
        })
        .collect();
    Answer::json(200, &Value::Array(rows))
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Answer> {
    // Twice: a body that is JSON of the wrong kind, an array say, would otherwise be taken for a struct.
    let value: Value =
        serde_json::from_slice(body).map_err(|_| Answer::error(400, "the body is not JSON"))?;
    if !value.is_object() || value.as_object().is_some_and(|object| object.values().any(Value::is_null)) {
        return Err(Answer::error(400, "the body is not as described"));
    }
    serde_json::from_value(value)
        .map_err(|error| Answer::error(400, &format!("the body is not as described: {error}")))
}

fn permissions(permissions: Vec<Permission>) -> Result<Vec<(String, String)>, Answer> {
    permissions
        .into_iter()
        .map(|Permission { action, resource }| {
            if resource.is_empty() || resource.chars().count() > 64 {
                return Err(Answer::error(400, "a resource has 1 to 64 characters"));
            }
            Ok((action, resource))
        })
        .collect()
}

fn shown(state: &State, oddities: &Oddities, token: &Token, answers: Answers) -> Value {
    let permissions: Vec<Value> = token
        .permissions
        .iter()
        .map(|(action, resource)| json!({ "action": action, "resource": resource }))
        .collect();
    let mut row = json!({ "id": token.id, "description": token.description, "permissions": permissions });
    oddities.add_times(token, state.clock.now(), &mut row);
    state.options.dedicated.iter().for_each(|dedicated| dedicated.sign(&mut row));
    oddities.change_row(&token.description, answers, &mut row);
    row
}

fn not_allowed(allowed: &str) -> Answer {
    Answer::error(405, "method not allowed").with("allow", allowed)
}
