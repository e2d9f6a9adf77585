//! What is asked over the secrets socket, and what is answered.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use tokio::sync::watch;

use super::{
    Caller, Secrets,
    served::{Changes, One},
    told_to_stop,
    view::View,
};
use crate::model::{Allow, Name, Secret, Time};

/// Where a Vault client finds the names: `mount_path` and `secret_path` of Telegraf's store.
const KV_V1: &str = "/v1/influx/tokens";
const KV_V2: &str = "/v1/influx/data/tokens";
const FLAT: &str = "/v1/json";
const CHANGES: &str = "/v1/changes";
const ONE: &str = "/v1/secret/";
const LOGIN: &str = "/v1/auth/approle/login";
/// The header by which a caller says that it hands on what it reads.
const RELAY: (&str, &str) = ("x-influx-secrets", "relay");
/// A long poll is answered after this, changes or not.
const LONGEST_POLL: Duration = Duration::from_secs(60);
/// Who is told that a name is not ready asks again after this, in seconds.
const RETRY_IN: &str = "1";

pub(super) type Answer = Response<Full<Bytes>>;

impl Secrets {
    /// Answers from memory. Only a long poll takes its time.
    pub(super) async fn answer<B>(
        &self,
        caller: &Caller,
        request: &Request<B>,
        stopping: &watch::Receiver<bool>,
    ) -> Answer {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET, KV_V2) => self.whole(caller, relays(request), View::kv_v2).await,
            (&Method::GET, KV_V1) => self.whole(caller, relays(request), View::kv_v1).await,
            (&Method::GET, FLAT) => self.whole(caller, relays(request), View::flat).await,
            (&Method::GET, CHANGES) => self.changes(caller, request.uri().query(), stopping).await,
            (&Method::GET, _) if path.starts_with(ONE) => {
                self.one(caller, relays(request), &path[ONE.len()..]).await
            }
            (&Method::PUT | &Method::POST, LOGIN) => login(),
            (_, KV_V1 | KV_V2 | FLAT | CHANGES) => read_only(),
            (_, _) if path.starts_with(ONE) => read_only(),
            _ => errors(
                StatusCode::NOT_FOUND,
                "nothing is here: vault's mount_path is \"influx\" and its secret_path \"tokens\"",
            ),
        }
    }

    /// All names in one of the formats.
    async fn whole(&self, caller: &Caller, relays: bool, format: impl FnOnce(&View) -> Bytes) -> Answer {
        let mut view = self.hand_out(caller, relays);
        if !view.may_read_something() && self.look_again().await {
            view = self.hand_out(caller, relays);
        }
        let now = Time::now();
        if !view.may_read_something() {
            return self.refuse_all(caller, now).await;
        }
        self.tell_of_missing(caller, &view, now);
        caller.consumer.has_read(view.ready(), now);
        json(StatusCode::OK, format(&view))
    }

    async fn one(&self, caller: &Caller, relays: bool, text: &str) -> Answer {
        let Ok(name) = text.parse::<Name>() else {
            return errors(
                StatusCode::NOT_FOUND,
                "no token has such a name: letters, digits and underscores only",
            );
        };
        let mut found = self.hand_out_one(caller, relays, &name);
        if matches!(found, One::NotYours(_)) && self.look_again().await {
            found = self.hand_out_one(caller, relays, &name);
        }
        let now = Time::now();
        match found {
            One::Ready(value) => {
                caller.consumer.has_read_one(&name, value.generation, now);
                let mut answer = json(StatusCode::OK, Bytes::from_owner(SecretBody(value.secret)));
                let bytes = HeaderValue::from_static("application/octet-stream");
                answer.headers_mut().insert(CONTENT_TYPE, bytes);
                answer
            }
            One::NotReady => self.not_ready(caller, &name, now),
            // Who may read nothing is not told which names there are.
            One::NotYours(_) | One::Unknown if !self.view(caller).may_read_something() => {
                self.refuse_all(caller, now).await
            }
            One::NotYours(allow) => self.not_yours(caller, &name, &allow, now).await,
            One::Unknown => errors(StatusCode::NOT_FOUND, &format!("there is no token {name}")),
        }
    }

    fn not_ready(&self, caller: &Caller, name: &Name, now: Time) -> Answer {
        let why = self.why_not(name);
        if caller.consumer.is_denied(vec![name.clone()], now) {
            tracing::warn!(%name, "asked for by {}, and not ready: {why}", caller.consumer.who());
        }
        let mut answer =
            errors(StatusCode::SERVICE_UNAVAILABLE, &format!("token {name} is not ready: {why}"));
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_IN));
        answer
    }

    /// Who may read it is for the log alone: the caller is told what to add.
    async fn not_yours(&self, caller: &Caller, name: &Name, allow: &Allow, now: Time) -> Answer {
        let who = self.describe(caller).await;
        if caller.consumer.is_denied(vec![name.clone()], now) {
            tracing::warn!(%name, "asked for by {who}, which may not read it");
            tracing::warn!(%name, "hint: to let it, write in its [[token]]: {}", who.with(allow));
        }
        let what = format!("{who} may not read token {name}; to let it, add {} to its `allow`", who.to_add());
        errors(StatusCode::FORBIDDEN, &what)
    }

    async fn refuse_all(&self, caller: &Caller, now: Time) -> Answer {
        let who = self.describe(caller).await;
        if caller.consumer.is_denied(vec![], now) {
            tracing::warn!("{who} asked for tokens, and may read none of them");
            tracing::warn!("hint: to let it, add {} to a token's `allow`", who.to_add());
        }
        let what = format!(
            "{who} may read none of these tokens; to let it, add {} to a token's `allow`",
            who.to_add()
        );
        errors(StatusCode::FORBIDDEN, &what)
    }

    /// A caller that asks for all gets `false` for some: which of them it wanted only it knows.
    fn tell_of_missing(&self, caller: &Caller, view: &View, now: Time) {
        let (consumer, not_ready) = (&caller.consumer, view.not_ready());
        if !not_ready.is_empty() && consumer.is_denied(not_ready.to_vec(), now) {
            for name in not_ready.iter().take(MOST_TOLD) {
                tracing::warn!(%name, "asked for by {}, and not ready: {}", consumer.who(), self.why_not(name));
            }
            if not_ready.len() > MOST_TOLD {
                tracing::warn!("and {} more that are not ready", not_ready.len() - MOST_TOLD);
            }
        }
        // That others have tokens too is no fault of anybody's: told once.
        let not_yours = view.not_yours();
        if consumer.is_news(not_yours) && !not_yours.is_empty() {
            let some: Vec<&str> = not_yours.iter().take(MOST_TOLD).map(Name::as_str).collect();
            let more = not_yours.len() - some.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            tracing::info!("not for {}: {}{more}", consumer.who(), some.join(", "));
        }
    }

    async fn changes(
        &self,
        caller: &Caller,
        query: Option<&str>,
        stopping: &watch::Receiver<bool>,
    ) -> Answer {
        if !self.view(caller).may_read_something() {
            self.look_again().await;
        }
        if !self.view(caller).may_read_something() {
            return self.refuse_all(caller, Time::now()).await;
        }
        let cursor = query.and_then(cursor);
        let (mut versions, mut stopping) = (self.served.subscribe(), stopping.clone());
        let end = tokio::time::sleep(LONGEST_POLL);
        tokio::pin!(end);
        loop {
            versions.borrow_and_update();
            let changes = self.served.changes(&caller.peer, cursor);
            // Without a cursor of ours the answer is all that there is, even if that is nothing.
            let is_first = cursor.is_none_or(|cursor| !same_epoch(cursor, &changes.cursor));
            if is_first || !changes.changed.is_empty() || !changes.gone.is_empty() {
                return changes_since(&changes);
            }
            tokio::select! {
                _ = versions.changed() => {}
                () = &mut end => return changes_since(&changes),
                () = told_to_stop(&mut stopping) => return changes_since(&changes),
            }
        }
    }
}

/// So many names of one kind are told in the log at once.
const MOST_TOLD: usize = 10;

/// Whether the caller says that it hands on what it reads.
fn relays<B>(request: &Request<B>) -> bool {
    request.headers().get(RELAY.0).is_some_and(|value| value == RELAY.1)
}

fn cursor(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("cursor=")).filter(|cursor| !cursor.is_empty())
}

fn same_epoch(cursor: &str, next: &str) -> bool {
    cursor.split_once('.').map(|(epoch, _)| epoch) == next.split_once('.').map(|(epoch, _)| epoch)
}

fn changes_since(changes: &Changes) -> Answer {
    json(StatusCode::OK, Bytes::from(serde_json::to_vec(changes).unwrap_or_default()))
}

/// Any client token: who may read what is decided by the peer all the same. Telegraf 1.37 and 1.38 know no other way
/// in (`plugins/secretstores/vault`).
fn login() -> Answer {
    let auth = serde_json::json!({
        "request_id": "", "lease_id": "", "renewable": false, "lease_duration": 0, "data": null, "wrap_info": null,
        "warnings": null,
        "auth": {
            "client_token": "influx-tokend", "accessor": "", "policies": [], "token_policies": [], "metadata": null,
            "lease_duration": 0, "renewable": false, "entity_id": "", "token_type": "service", "orphan": true,
        },
    });
    json(StatusCode::OK, Bytes::from(auth.to_string()))
}

fn read_only() -> Answer {
    let mut answer = errors(StatusCode::METHOD_NOT_ALLOWED, "read-only");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    answer
}

/// As Vault tells errors; Telegraf shows them to people.
pub(super) fn errors(status: StatusCode, what: &str) -> Answer {
    json(status, Bytes::from(serde_json::json!({ "errors": [what] }).to_string()))
}

/// A secret as it is sent.
struct SecretBody(Secret);

impl AsRef<[u8]> for SecretBody {
    fn as_ref(&self) -> &[u8] {
        self.0.expose().as_bytes()
    }
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
