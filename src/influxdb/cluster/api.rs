//! The management API of InfluxDB Clustered (`/api/v0`, since release 20250508-1719206) and of Cloud Dedicated, where the
//! same stands below each cluster of each account.
//!
//! Written from the published descriptions of both; what they leave open is noted where it matters.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder, header};
use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

use super::{
    data_plane::DataPlane,
    ids::NamedIds,
    list::ListReader,
    rows::{Dialect, ID, MintClaims, Row},
};
use crate::{
    config::{self, ServerConfig},
    influxdb::{
        Check, ErrorKind, Interest, MintError, Minted, Order, Server, ServerError, Verdict,
        http::{Http, MAX_BODY, MAX_LIST, ServerAnswer, authorization, under},
        management_token::ManagementToken,
    },
    model::{
        Action, ClusterIds, Credential, Database, Descriptor, Grants, Listed, Listing, Product, Secret,
        ServerName, TokenId,
    },
};

/// The string of a new token.
const SECRET: &[&str] = &["accessToken"];

/// The management API of one deployment.
#[derive(Debug)]
pub(super) struct ClusterApi {
    http: Http,
    data: DataPlane,
    management_token: ManagementToken,
    product: Product,
    api: Url,
    /// Which cluster the answers must be about, where they say.
    cluster: Option<ClusterIds>,
    /// Whether a mint says of what kind its expiry is. The guide of Cloud Dedicated asks for it, its description of the
    /// API does not have it: it is said until the server has shown that it does without, and then no more by this process.
    says_expiration_type: AtomicBool,
}

impl ClusterApi {
    /// Sends nothing.
    ///
    /// # Errors
    /// Certificates cannot be read, or the system has none and some are needed.
    pub(super) fn new(
        name: &ServerName,
        http: Http,
        data: DataPlane,
        config: &ServerConfig,
        management_token: config::ManagementTokenConfig,
    ) -> Result<Self, ServerError> {
        let root = under(&config.url, &["api", "v0"]);
        let below = |ids: &ClusterIds| {
            under(&root, &["accounts", ids.account.as_str(), "clusters", ids.cluster.as_str()])
        };
        Ok(Self {
            management_token: ManagementToken::new(name, config, management_token)?,
            http,
            data,
            product: config.product,
            api: config.cluster.as_ref().map_or_else(|| root.clone(), below),
            cluster: config.cluster.clone(),
            says_expiration_type: AtomicBool::new(config.cluster.is_some()),
        })
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.pooled.request(method, under(&self.api, path)).header(header::ACCEPT, "application/json")
    }

    /// One request to the management API. A 401 makes the next one read the management token anew.
    async fn ask(
        &self,
        verb: &'static str,
        request: RequestBuilder,
        limit: usize,
    ) -> Result<ServerAnswer, (ServerError, bool)> {
        let token = self.management_token.get().await.map_err(|kind| (self.http.error(verb, kind), true))?;
        let unsendable = || ErrorKind::NotHanded("it has characters not valid in a header".to_owned());
        let value = authorization("Bearer", token.expose())
            .ok_or_else(|| (self.http.error(verb, unsendable()), true))?;
        let request = request.header(header::AUTHORIZATION, value);
        let mut answer =
            self.http.send(verb, request, limit).await.map_err(|failed| (failed.error, failed.unsent))?;
        answer.check_date(&[&token]);
        if answer.status == 401 {
            self.management_token.refused().await;
        }
        if answer.is_success() {
            return Ok(answer);
        }
        let unsent = answer.is_refusal();
        let kind = match (answer.failure(&[&token]), self.management_token.issued_by()) {
            (ErrorKind::Status { status: 401, message, .. }, Some(by)) => {
                ErrorKind::IssuedRefused { by, message }
            }
            (kind, _) => kind,
        };
        Err((self.http.error(verb, kind), unsent))
    }

    fn with_json(
        &self,
        verb: &'static str,
        request: RequestBuilder,
        value: &impl Serialize,
    ) -> Result<RequestBuilder, ServerError> {
        let body = serde_json::to_vec(value)
            .map_err(|error| self.http.error(verb, ErrorKind::Nonsense(error.to_string())))?;
        Ok(request.header(header::CONTENT_TYPE, "application/json").body(body))
    }

    /// An answer about another cluster says nothing about this one.
    fn check_ids(&self, row: &Row<'_>) -> Result<(), ErrorKind> {
        self.cluster.as_ref().and_then(|ours| NamedIds::of(row).check(ours)).unwrap_or(Ok(()))
    }

    fn nonsense(&self, verb: &'static str) -> impl Fn(ErrorKind) -> ServerError {
        move |kind| self.http.error(verb, kind)
    }

    async fn post(
        &self,
        order: &Order,
        says_type: bool,
        within: Duration,
    ) -> Result<ServerAnswer, MintError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Create<'a> {
            description: &'a str,
            permissions: Vec<PermissionBody<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            expiration_type: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            expires_at: Option<String>,
        }
        let expiration_type = if order.lifetime.is_some() { "datetime" } else { "noExpiration" };
        let create = Create {
            description: &order.description,
            permissions: permissions(&order.grants),
            expiration_type: says_type.then_some(expiration_type),
            expires_at: order.expires_at().map(|at| format!("{at:.0}")),
        };
        let verb = "mint token";
        let request = self.request(Method::POST, &["tokens"]).timeout(within);
        let request = self.with_json(verb, request, &create).map_err(MintError::NotMinted)?;
        self.ask(verb, request, MAX_BODY).await.map_err(|(error, unsent)| match unsent {
            true => MintError::NotMinted(error),
            false => MintError::Unknown(error),
        })
    }

    /// A token exists, and its string is in no other place: nothing but an answer without id or string leaves it to the
    /// list.
    fn minted(&self, order: &Order, answer: &ServerAnswer) -> Result<Minted, MintError> {
        let unusable = |kind| MintError::Unknown(self.http.error("mint token", kind));
        let created: Row<'_> = answer.json().map_err(unusable)?;
        let id = created.id(ID).ok_or_else(|| unusable(lacks("id")))?;
        let secret = created.text(SECRET).filter(|_| !created.is_ambiguous(SECRET));
        let secret = secret.filter(|text| !text.is_empty()).ok_or_else(|| unusable(lacks("accessToken")))?;
        let secret = Credential::Token(Secret::new(secret.into_owned()));
        let MintClaims { grants, created_at, expires_at, label, mut oddities, zoneless } =
            created.claims(order, Dialect::Api, &answer.date);
        if self.check_ids(&created).is_err() {
            oddities.push("accountId, clusterId: expected this cluster's".to_owned());
        }
        let date = answer.date.clone();
        Ok(Minted { id, secret, grants, created_at, expires_at, label, date, oddities, zoneless })
    }

    /// One token, as a list shows it. Where the answer names no id, it is the one that was asked about.
    fn shown(&self, verb: &'static str, id: &TokenId, answer: &ServerAnswer) -> Result<Listed, ServerError> {
        let row: Row<'_> = answer.json().map_err(self.nonsense(verb))?;
        self.check_ids(&row).map_err(self.nonsense(verb))?;
        let told = row.id(ID).unwrap_or_else(|| id.clone());
        if !told.0.eq_ignore_ascii_case(&id.0) {
            let error = ErrorKind::Nonsense("it describes another token".to_owned());
            return Err(self.nonsense(verb)(error));
        }
        Ok(row.listed(id.clone(), Dialect::Api, &answer.date).0)
    }
}

#[async_trait]
impl Server for ClusterApi {
    fn descriptor(&self) -> Descriptor {
        self.product.descriptor()
    }

    async fn list(&self, interest: &Interest<'_>) -> Result<Listing, ServerError> {
        // A list begins a pass.
        self.management_token.begin_pass().await;
        let verb = "list tokens";
        let request = self.request(Method::GET, &["tokens"]);
        let answer = self.ask(verb, request, MAX_LIST).await.map_err(|(error, _)| error)?;
        let cluster = self.cluster.as_ref();
        let reader = ListReader { interest, dialect: Dialect::Api, cluster, date: &answer.date };
        let rows: Vec<&RawValue> = answer.json().map_err(self.nonsense(verb))?;
        reader.read(&rows, answer.body.len()).map_err(self.nonsense(verb))
    }

    async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        let verb = "list databases";
        let request = self.request(Method::GET, &["databases"]);
        let answer = self.ask(verb, request, MAX_LIST).await.map_err(|(error, _)| error)?;
        let rows: Vec<Row<'_>> = answer.json().map_err(self.nonsense(verb))?;
        let name = |row: &Row<'_>| {
            self.check_ids(row)?;
            let name = row.text(&["name"]).ok_or_else(|| lacks("name of a database"))?;
            Ok(name.into_owned())
        };
        rows.iter().map(name).collect::<Result<_, _>>().map_err(self.nonsense(verb))
    }

    async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        let begun = Instant::now();
        let says_type = self.says_expiration_type.load(Ordering::Relaxed);
        let answer = match self.post(order, says_type, self.http.timeout).await {
            Err(MintError::NotMinted(error)) if says_type && error.status() == Some(400) => {
                // No POST is repeated under its marker (rule 2), but that nothing comes of the first is sure: it was
                // refused as it stood. The second has what is left of the time, for the intent's deadline holds for both.
                let left = self.http.timeout.saturating_sub(begun.elapsed());
                if left.is_zero() {
                    return Err(MintError::NotMinted(error));
                }
                let answer = self.post(order, false, left).await?;
                self.says_expiration_type.store(false, Ordering::Relaxed);
                answer
            }
            first => first?,
        };
        self.minted(order, &answer)
    }

    async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        let verb = "get token";
        match self.ask(verb, self.request(Method::GET, &["tokens", &id.0]), MAX_BODY).await {
            Ok(answer) => self.shown(verb, id, &answer).map(Some),
            Err((error, _)) if error.status() == Some(404) => Ok(None),
            Err((error, _)) => Err(error),
        }
    }

    async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        #[derive(Serialize)]
        struct Update<'a> {
            permissions: Vec<PermissionBody<'a>>,
        }
        let verb = "change token";
        let request = self.request(Method::PATCH, &["tokens", &id.0]);
        let request = self.with_json(verb, request, &Update { permissions: permissions(grants) })?;
        let answer = self.ask(verb, request, MAX_BODY).await.map_err(|(error, _)| error)?;
        self.shown(verb, id, &answer)
    }

    async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        match self.ask("revoke token", self.request(Method::DELETE, &["tokens", &id.0]), MAX_BODY).await {
            Ok(_) => Ok(()),
            // Not described; a token that is not there cannot be used.
            Err((error, _)) if error.status() == Some(404) => Ok(()),
            Err((error, _)) => Err(error),
        }
    }

    async fn check(&self, credential: &Credential, check: &Check) -> Verdict {
        self.data.check(credential, check).await
    }
}

fn lacks(what: &str) -> ErrorKind {
    ErrorKind::Nonsense(format!("the answer has no {what}"))
}

#[derive(Serialize)]
struct PermissionBody<'a> {
    action: Action,
    resource: Cow<'a, str>,
}

fn permissions(grants: &Grants) -> Vec<PermissionBody<'_>> {
    grants
        .iter()
        .map(|grant| PermissionBody {
            action: grant.action,
            resource: match &grant.database {
                Database::All => Cow::Borrowed("*"),
                Database::Named(name) => Cow::Borrowed(name),
            },
        })
        .collect()
}
