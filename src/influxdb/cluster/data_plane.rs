//! The data plane of InfluxDB Clustered and Cloud Dedicated: whether it accepts a token, asked without changing anything there.

use reqwest::{RequestBuilder, header};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    config::ServerConfig,
    influxdb::{
        Check, Plane, Verdict,
        http::{ErrorBody, Http, MAX_BODY, ServerAnswer, authorization, under},
        server_text::shown,
    },
    model::{Credential, Secret},
};

/// Where data is written and queried.
#[derive(Debug)]
pub(super) struct DataPlane {
    http: Http,
    url: Url,
}

impl DataPlane {
    pub(super) fn new(http: Http, config: &ServerConfig) -> Self {
        Self { http, url: config.data_url.clone() }
    }

    pub(super) async fn check(&self, credential: &Credential, check: &Check) -> Verdict {
        let secret = credential.secret();
        let (verb, request) = self.question(check);
        // The data plane's v2 and v1 paths both take this scheme; the word is case-sensitive there.
        let Some(value) = authorization("Token", secret.expose()) else {
            return Verdict::Misconfigured { why: "the token cannot be sent in a header".to_owned() };
        };
        let request = request.header(header::AUTHORIZATION, value).header(header::CONNECTION, "close");
        match self.http.send(verb, request, MAX_BODY).await {
            Ok(answer) => verdict(&answer, check, secret),
            Err(failed) => Verdict::Unreachable { why: failed.error.kind.to_string(), retry_after: None },
        }
    }

    /// A request that shows whether a token is accepted and changes nothing: an empty write is authorised before it
    /// is looked at; a query for a measurement that does not exist is planned and not run.
    fn question(&self, check: &Check) -> (&'static str, RequestBuilder) {
        match check.plane {
            Plane::Write => {
                let mut url = under(&self.url, &["api", "v2", "write"]);
                url.query_pairs_mut().append_pair("bucket", &check.database).append_pair("precision", "ns");
                let request =
                    self.http.fresh.post(url).header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
                ("probe writes", request.body("# influx-tokend\n"))
            }
            Plane::Query => {
                let mut url = under(&self.url, &["query"]);
                url.query_pairs_mut()
                    .append_pair("db", &check.database)
                    .append_pair("q", "SELECT * FROM \"influx_tokend_probe\" LIMIT 1");
                ("probe queries", self.http.fresh.get(url).header(header::ACCEPT, "application/json"))
            }
        }
    }
}

/// The statuses of the data plane differ between its documents and its source; what they agree on is used: 401 and
/// 403 refuse, whatever for, and what is neither a success nor one of them says nothing about the token.
fn verdict(answer: &ServerAnswer, check: &Check, secret: &Secret) -> Verdict {
    let misconfigured = || Verdict::Misconfigured { why: answer.failure(&[secret]).to_string() };
    match (answer.status, check.plane) {
        (401 | 403, _) => Verdict::Refused { status: answer.status },
        (429 | 500..=599, _) => Verdict::Unreachable {
            why: answer.failure(&[secret]).to_string(),
            retry_after: answer.retry_after,
        },
        (204, Plane::Write) => Verdict::Accepted,
        // A newer router may object to the body, which it looks at only after the token.
        (400, Plane::Write) if objects_to_body(answer) => Verdict::Accepted,
        (200, Plane::Query) => query_verdict(answer, secret),
        _ => misconfigured(),
    }
}

/// How servers say of a write that there is nothing in it, or nothing that is line protocol: they have accepted the token by
/// then (the routers of InfluxDB 3 authorise before they read a body, and look the database up after). A 400 in any other
/// words may come before that: of a bucket or a database that is missing or has no valid name, of a header, or of a proxy.
const BODY_OBJECTIONS: [&str; 7] = [
    "incoming write was empty",
    "writing requires points",
    "no data written, errors encountered on line(s)",
    "failed to parse line protocol",
    "line protocol parsing error",
    "line protocol parse failed",
    "partial write of line protocol occurred",
];

/// Whether a 400 is about the body of the write alone.
fn objects_to_body(answer: &ServerAnswer) -> bool {
    let Ok(ErrorBody { message }) = answer.json() else { return false };
    // Compared to the letter where it begins: whatever stands further on may be the name of a database.
    let message = message.strip_prefix("write buffer error: ").unwrap_or(&message);
    BODY_OBJECTIONS.iter().any(|objection| message.starts_with(objection))
}

/// An error inside a 200 comes after the token was accepted, or before it was looked at: only one of a database that
/// does not exist shows which, and that is not of use either. No result says as little.
fn query_verdict(answer: &ServerAnswer, secret: &Secret) -> Verdict {
    #[derive(Deserialize)]
    struct Results {
        results: Vec<StatementResult>,
        error: Option<String>,
    }
    #[derive(Deserialize)]
    struct StatementResult {
        error: Option<String>,
    }
    let Results { results, error } = match answer.json::<Results>() {
        Ok(results) => results,
        Err(kind) => return Verdict::Misconfigured { why: kind.to_string() },
    };
    if results.is_empty() && error.is_none() {
        return Verdict::Misconfigured { why: "the answer has no result".to_owned() };
    }
    match error.or_else(|| results.into_iter().find_map(|result| result.error)) {
        None => Verdict::Accepted,
        Some(error) => {
            let why = shown(&Zeroizing::new(error), &[secret]);
            Verdict::Misconfigured { why: why.unwrap_or_else(|| "an error that cannot be shown".to_owned()) }
        }
    }
}
