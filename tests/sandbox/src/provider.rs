//! An identity provider that a cluster trusts: the client credentials grant of OAuth 2.0 (RFC 6749, 4.4), and nothing
//! else of it.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use url::form_urlencoded;

use crate::{
    answer::Answer,
    state::{State, random_text},
};

/// Where it issues tokens.
pub(crate) const PATH: &str = "/oauth/token";

/// How it behaves, and whom it knows.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The one client.
    pub client_id: String,
    /// What proves that it is the one.
    pub client_secret: String,
    /// Proved in the body; else in the header.
    pub in_body: bool,
    /// What else a request must have.
    pub parameters: BTreeMap<String, String>,
    /// Seconds that its tokens live; it may not tell, which makes them live an hour.
    pub expires_in: Option<u64>,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            client_id: "influx-tokend".to_owned(),
            client_secret: random_text("s%+ ", 16),
            in_body: false,
            parameters: BTreeMap::new(),
            expires_in: Some(3600),
        }
    }
}

pub(crate) fn answer(
    state: &mut State,
    provider: &Provider,
    authorization: Option<&str>,
    body: &[u8],
) -> Answer {
    let form: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let get = |name: &str| form.get(name).map(String::as_str);
    let client = match provider.in_body {
        true => {
            get("client_id").zip(get("client_secret")).map(|(id, secret)| (id.to_owned(), secret.to_owned()))
        }
        false => authorization.and_then(basic),
    };
    if client != Some((provider.client_id.clone(), provider.client_secret.clone())) {
        return refusal(401, "invalid_client", "no such client, or its secret is another");
    }
    if get("grant_type") != Some("client_credentials") {
        return refusal(400, "unsupported_grant_type", "client_credentials only");
    }
    if let Some((name, _)) =
        provider.parameters.iter().find(|(name, value)| get(name) != Some(value.as_str()))
    {
        return refusal(400, "invalid_request", &format!("{name} is another"));
    }
    let now = state.clock.now();
    let lives = SignedDuration::from_secs(provider.expires_in.map_or(3600, u64::cast_signed));
    let token = random_text("ey.", 32);
    state.issued.insert(token.clone(), now.saturating_add(lives).unwrap_or(Timestamp::MAX));
    let mut issued = json!({ "access_token": token, "token_type": "Bearer" });
    if let Some(seconds) = provider.expires_in {
        issued["expires_in"] = seconds.into();
    }
    Answer::json(200, &issued).with("cache-control", "no-store")
}

/// Id and secret, each encoded as in a form before they were joined (2.3.1).
fn basic(authorization: &str) -> Option<(String, String)> {
    let joined = BASE64.decode(authorization.strip_prefix("Basic ")?.as_bytes()).ok()?;
    let (id, secret) = std::str::from_utf8(&joined).ok()?.split_once(':')?;
    let decoded = |text: &str| {
        let text = format!("x={text}");
        form_urlencoded::parse(text.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    Some((decoded(id)?, decoded(secret)?))
}

fn refusal(status: u16, error: &str, why: &str) -> Answer {
    Answer::json(status, &json!({ "error": error, "error_description": why }))
}
