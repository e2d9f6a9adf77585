//! The management API of InfluxDB Clustered (`/api/v0`, since release 20250508-1719206).
//!
//! Written from the published description of the API; what it leaves open is noted where it matters.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
};

use reqwest::{Method, header};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    ErrorKind, MintError, Minted, Order, ServerError,
    http::{Answer, Http, MAX_BODY, under},
    management_token::ManagementToken,
};
use crate::{
    config::ServerConfig,
    model::{
        Action, Capabilities, Credential, Database, Grant, Grants, Label, Listed, Listing, Secret, Time,
        TokenId,
    },
};

/// The largest list of tokens.
const MAX_LIST: usize = 64 << 20;

/// The management API of one deployment.
#[derive(Debug)]
pub(super) struct ManagementApi {
    http: Http,
    management_token: ManagementToken,
    api: Url,
}

impl ManagementApi {
    pub(super) fn new(http: Http, config: &ServerConfig) -> Self {
        Self {
            http,
            management_token: ManagementToken::new(config.management_token.clone()),
            api: under(&config.url, &["api", "v0"]),
        }
    }

    /// One request to the management API. A 401 makes the next one read the management token anew.
    async fn ask(
        &self,
        verb: &'static str,
        method: Method,
        path: &[&str],
        body: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Answer, (ServerError, bool)> {
        let token = self
            .management_token
            .get()
            .await
            .map_err(|error| (self.http.error(verb, ErrorKind::ManagementToken(error)), true))?;
        let mut request = self
            .http
            .pooled
            .request(method, under(&self.api, path))
            .bearer_auth(token.expose())
            .header(header::ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        let answer =
            self.http.send(verb, request, limit).await.map_err(|failed| (failed.error, failed.unsent))?;
        if answer.status == 401 {
            self.management_token.forget().await;
        }
        if answer.is_success() {
            return Ok(answer);
        }
        let unsent = matches!(answer.status, 400..=499) && !matches!(answer.status, 408 | 409 | 429);
        Err((self.http.error(verb, answer.failure(&[&token])), unsent))
    }

    fn nonsense(&self, verb: &'static str) -> impl Fn(ErrorKind) -> ServerError {
        move |kind| self.http.error(verb, kind)
    }

    #[expect(clippy::unused_self, reason = "each way to manage tokens is asked")]
    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities { patch: true, expiry: true, lists_revoked: true }
    }

    pub(super) async fn list(&self, known: &BTreeSet<TokenId>) -> Result<Listing, ServerError> {
        // A list begins a pass, and the management token is read once per pass.
        self.management_token.forget().await;
        let verb = "list tokens";
        let answer =
            self.ask(verb, Method::GET, &["tokens"], None, MAX_LIST).await.map_err(|(error, _)| error)?;
        let rows: Vec<Row<'_>> = answer.json().map_err(self.nonsense(verb))?;
        let total = rows.len();
        let mut tokens = Vec::new();
        for row in rows {
            let label = Label::find(&row.description);
            if label.is_some() || known.contains(row.id.as_ref()) {
                tokens.push(row.listed(label));
            }
        }
        if let Some(id) = twice(&tokens) {
            return Err(self.http.error(verb, ErrorKind::Nonsense(format!("the list has {id} twice"))));
        }
        Ok(Listing { tokens, rows: total, bytes: answer.body.len(), date: answer.date })
    }

    pub(super) async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
        }
        let verb = "list databases";
        let answer =
            self.ask(verb, Method::GET, &["databases"], None, MAX_LIST).await.map_err(|(error, _)| error)?;
        let rows: Vec<Row> = answer.json().map_err(self.nonsense(verb))?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }

    pub(super) async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Create<'a> {
            description: &'a str,
            permissions: Vec<Permission<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            expires_at: Option<String>,
        }
        let verb = "mint token";
        let create = Create {
            description: &order.description,
            permissions: permissions(&order.grants),
            expires_at: order.expires_at.map(|at| format!("{at:.0}")),
        };
        let body = serde_json::to_vec(&create).map_err(|error| {
            MintError::NotMinted(self.http.error(verb, ErrorKind::Nonsense(error.to_string())))
        })?;
        let answer = match self.ask(verb, Method::POST, &["tokens"], Some(body), MAX_BODY).await {
            Ok(answer) => answer,
            Err((error, true)) => return Err(MintError::NotMinted(error)),
            Err((error, false)) => return Err(MintError::Unknown(error)),
        };
        // From here on a token exists: an answer that cannot be used leaves it to the list.
        let unusable = |kind| MintError::Unknown(self.http.error(verb, kind));
        let mut created: Row<'_> = answer.json().map_err(unusable)?;
        let lacks = |what| unusable(ErrorKind::Nonsense(format!("the answer has no {what}")));
        let secret = created.access_token.take().ok_or_else(|| lacks("accessToken"))?;
        let secret = Secret::new(secret.into_owned());
        if secret.expose().is_empty() || created.id.is_empty() {
            return Err(lacks("id or token"));
        }
        Ok(Minted {
            grants: created.grants().unwrap_or_else(|| order.grants.clone()),
            created_at: created.created_at.ok_or_else(|| lacks("createdAt"))?,
            expires_at: created.expires_at,
            id: TokenId(created.id.into_owned()),
            secret: Credential::Token(secret),
        })
    }

    pub(super) async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        let verb = "get token";
        match self.ask(verb, Method::GET, &["tokens", &id.0], None, MAX_BODY).await {
            Ok(answer) => {
                let row: Row<'_> = answer.json().map_err(self.nonsense(verb))?;
                let label = Label::find(&row.description);
                Ok(Some(row.listed(label)))
            }
            Err((error, _)) if error.status() == Some(404) => Ok(None),
            Err((error, _)) => Err(error),
        }
    }

    pub(super) async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        #[derive(Serialize)]
        struct Update<'a> {
            permissions: Vec<Permission<'a>>,
        }
        let verb = "change token";
        let body = serde_json::to_vec(&Update { permissions: permissions(grants) })
            .map_err(|error| self.http.error(verb, ErrorKind::Nonsense(error.to_string())))?;
        let answer = self
            .ask(verb, Method::PATCH, &["tokens", &id.0], Some(body), MAX_BODY)
            .await
            .map_err(|(error, _)| error)?;
        let row: Row<'_> = answer.json().map_err(self.nonsense(verb))?;
        let label = Label::find(&row.description);
        Ok(row.listed(label))
    }

    pub(super) async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        match self.ask("end token", Method::DELETE, &["tokens", &id.0], None, MAX_BODY).await {
            Ok(_) => Ok(()),
            // Not described; a token that is not there cannot be used.
            Err((error, _)) if error.status() == Some(404) => Ok(()),
            Err((error, _)) => Err(error),
        }
    }
}

/// An id that more than one row has.
fn twice(tokens: &[Listed]) -> Option<&TokenId> {
    let mut ids = HashSet::with_capacity(tokens.len());
    tokens.iter().map(|listed| &listed.id).find(|id| !ids.insert(*id))
}

#[derive(Serialize)]
struct Permission<'a> {
    action: Action,
    resource: Cow<'a, str>,
}

fn permissions(grants: &Grants) -> Vec<Permission<'_>> {
    grants
        .iter()
        .map(|grant| Permission {
            action: grant.action,
            resource: match &grant.database {
                Database::All => Cow::Borrowed("*"),
                Database::Named(name) => Cow::Borrowed(name),
            },
        })
        .collect()
}

/// A token as the API shows it, borrowed from the answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
    #[serde(borrow)]
    permissions: Vec<RawPermission<'a>>,
    #[serde(default)]
    created_at: Option<Time>,
    #[serde(default)]
    expires_at: Option<Time>,
    #[serde(default)]
    revoked_at: Option<Time>,
    /// At creation only.
    #[serde(default, borrow)]
    access_token: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawPermission<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    resource: Cow<'a, str>,
}

impl Row<'_> {
    /// `None` where something else than reading or writing a database is granted.
    fn grants(&self) -> Option<Grants> {
        self.permissions
            .iter()
            .map(|permission| {
                let action = match permission.action.as_ref() {
                    "read" => Action::Read,
                    "write" => Action::Write,
                    _ => return None,
                };
                Some(Grant { database: permission.resource.parse().ok()?, action })
            })
            .collect()
    }

    fn listed(self, label: Option<Label>) -> Listed {
        Listed {
            label,
            grants: self.grants(),
            id: TokenId(self.id.into_owned()),
            created_at: self.created_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
        }
    }
}
