//! Management tokens that an identity provider issues: the client credentials grant of OAuth 2.0 (RFC 6749, 4.4).
//!
//! InfluxDB Clustered takes a JWT of the provider it is set up with in place of a management token (its published API
//! description, `bearerAuthJwt`). There is no refresh token in this grant (4.4.3): another one is asked for in time.

use std::{borrow::Cow, time::Duration};

use data_encoding::BASE64;
use reqwest::{RequestBuilder, header};
use serde::Deserialize;
use url::form_urlencoded::{self, byte_serialize};
use zeroize::Zeroizing;

use super::{
    ErrorKind, ServerError,
    http::{Connecting, Http, ServerAnswer, authorization},
    server_text::shown,
};
use crate::{
    config::{OAuthAuthentication, OAuthClient, ServerConfig},
    model::{Secret, ServerName},
    source::read_secret,
};

/// The largest answer of a provider.
const MAX_ANSWER: usize = 64 << 10;

/// An identity provider, and who we are to it.
#[derive(Debug)]
pub(super) struct Provider {
    http: Http,
    client: OAuthClient,
}

/// A token that was just issued.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) token: Secret,
    /// For how long, where the provider says so.
    pub(super) lifetime: Option<Duration>,
}

impl Provider {
    /// Sends nothing yet.
    pub(super) fn new(
        name: &ServerName,
        config: &ServerConfig,
        client: OAuthClient,
    ) -> Result<Self, ServerError> {
        let connecting = Connecting {
            urls: &[&client.token_url],
            ca_file: client.ca_file.as_deref(),
            client_certificate: None,
            insecure_skip_verify: false,
            proxy: client.proxy.as_ref(),
            timeout: config.timeout,
        };
        let http = Http::connecting(name, config.product, &connecting)?;
        Ok(Self { http, client })
    }

    /// Its address, as it may be shown.
    pub(super) fn address(&self) -> String {
        self.client.token_url.to_string()
    }

    pub(super) async fn issue(&self) -> Result<Issued, ErrorKind> {
        let secret = read_secret(&self.client.secret).await.map_err(ErrorKind::ClientSecret)?;
        let not_issued = |why| ErrorKind::NotIssued { by: self.address(), why: Box::new(why) };
        let answer = self.http.send("issue", self.request(&secret), MAX_ANSWER).await;
        let answer = answer.map_err(|failed| not_issued(failed.error.kind))?;
        if !answer.is_success() {
            return Err(not_issued(refusal(&answer, &secret)));
        }
        issued(&answer).map_err(not_issued)
    }

    fn request(&self, secret: &Secret) -> RequestBuilder {
        let OAuthClient { token_url, id, authentication, parameters, .. } = &self.client;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in parameters {
            form.append_pair(name, value);
        }
        let request = self.http.pooled.post(token_url.clone()).header(header::ACCEPT, "application/json");
        let request = match authentication {
            // Both are encoded as in a form before they are joined (2.3.1).
            OAuthAuthentication::Basic => {
                let both =
                    Zeroizing::new([encoded(id).as_str(), ":", encoded(secret.expose()).as_str()].concat());
                let mut value = Zeroizing::new(String::with_capacity(2 * both.len() + 4));
                BASE64.encode_append(both.as_bytes(), &mut value);
                // Letters of base64 can stand in any header.
                match authorization("Basic", &value) {
                    Some(value) => request.header(header::AUTHORIZATION, value),
                    None => request,
                }
            }
            OAuthAuthentication::Post => {
                form.append_pair("client_id", id).append_pair("client_secret", secret.expose());
                request
            }
        };
        request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish())
    }
}

fn encoded(text: &str) -> Zeroizing<String> {
    Zeroizing::new(byte_serialize(text.as_bytes()).collect())
}

/// In the provider's words (5.2), which may not repeat what it was sent.
fn refusal(answer: &ServerAnswer, secret: &Secret) -> ErrorKind {
    #[derive(Deserialize)]
    struct OAuthError<'a> {
        #[serde(borrow)]
        error: Cow<'a, str>,
        #[serde(default, borrow)]
        error_description: Option<Cow<'a, str>>,
    }
    let Ok(OAuthError { error, error_description }) = serde_json::from_slice(&answer.body) else {
        return answer.failure(&[secret]);
    };
    let message = Zeroizing::new(match error_description {
        Some(why) => format!("{error}: {why}"),
        None => error.into_owned(),
    });
    ErrorKind::Status {
        status: answer.status,
        message: shown(&message, &[secret]),
        retry_after: answer.retry_after,
    }
}

/// What a success has (5.1).
fn issued(answer: &ServerAnswer) -> Result<Issued, ErrorKind> {
    #[derive(Deserialize)]
    struct Success<'a> {
        #[serde(borrow)]
        access_token: Cow<'a, str>,
        #[serde(borrow)]
        token_type: Cow<'a, str>,
        /// Some providers send the number as text.
        #[serde(default)]
        expires_in: Option<serde_json::Value>,
    }
    let Success { access_token, token_type, expires_in } = answer.json()?;
    let token = Secret::new(access_token.into_owned());
    let unusable = |what: &str| Err(ErrorKind::Nonsense(what.to_owned()));
    if !token_type.eq_ignore_ascii_case("bearer") {
        return unusable("not a bearer token");
    }
    if token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return unusable("the token has characters not valid in a header");
    }
    let seconds = match &expires_in {
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
        None => None,
    };
    Ok(Issued { token, lifetime: seconds.map(Duration::from_secs) })
}
