//! What to do about a request that did not succeed.

use url::Url;

use super::{ErrorKind, RefusalCode, ServerError};
use crate::hint::Hint;

impl Hint for ServerError {
    fn hint(&self) -> Option<String> {
        let hint = match &self.kind {
            ErrorKind::Status { status: 401, .. } => self.product.descriptor().hints.unauthorized,
            ErrorKind::Status { status: 403, .. }
            | ErrorKind::Refused { code: RefusalCode::PermissionDenied, .. } => {
                "the management token has no right to this: check who created it"
            }
            ErrorKind::Status { status: 404, .. } => self.product.descriptor().hints.not_found,
            ErrorKind::Redirect { location, .. } => return Some(redirect_hint(location.as_deref())),
            ErrorKind::Dns(_) => "check the host in `url`, and this host's resolver",
            ErrorKind::Connect(_) => "check host and port in `url`, and what lies between",
            ErrorKind::Tls { cause, .. } => return cause.hint("ca_file", "url"),
            ErrorKind::Compressed(_) => {
                "a proxy before the server compresses answers: turn that off there for the paths below `url`"
            }
            ErrorKind::NoProgram { .. } => {
                "install influxctl 2.10.0 or later (InfluxData's documentation, \"Install influxctl\"), or name its path in \
                 `influxctl = { path = \"…\" }`"
            }
            ErrorKind::Outdated { .. } => "install influxctl 2.10.0 or later",
            ErrorKind::UnknownShape { .. } => {
                "this answer of influxctl's is not known here: please report it, as it stands, with `influxctl version`"
            }
            ErrorKind::Timeout(_) => {
                "check whether the server is overloaded; a long list may need a longer `timeout`"
            }
            ErrorKind::Nonsense(_) => "another program than InfluxDB may answer at this address",
            ErrorKind::ManagementToken(error) | ErrorKind::ClientSecret(error) => return error.hint(),
            ErrorKind::NotIssued { why, .. } => return not_issued_hint(why),
            ErrorKind::IssuedRefused { .. } => {
                "check that the cluster is set up with this provider, that `scopes` and `audience` are what it expects, and that \
                 this client may manage tokens there"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Where the API stands below an address, that address; a page or a path of the server's own is no place for tokens.
fn redirect_hint(location: Option<&str>) -> String {
    let address = location.and_then(|location| Url::parse(location).ok()).filter(Url::has_host);
    let Some(mut address) = address else {
        return "no management API at `url`, perhaps a login page: check host, port and path".to_owned();
    };
    let path = address.path().to_owned();
    let Some((base, below)) = path.split_once("/api/v0") else {
        return format!("no management API at `url`, it redirects to {address}: check host, port and path");
    };
    if below.ends_with('/') {
        return "a proxy adds a slash to the path: change that there".to_owned();
    }
    address.set_path(base);
    address.set_query(None);
    address.set_fragment(None);
    let address = address.as_str().trim_end_matches('/');
    format!("write `url = {address:?}`, if you trust it")
}

/// What to do where the identity provider is the trouble.
fn not_issued_hint(why: &ErrorKind) -> Option<String> {
    let hint = match why {
        ErrorKind::Status { status: 400 | 401 | 403, .. } => {
            "check that `client_id` and what `client_secret` names are the provider's, that it lets this client use the client \
             credentials grant with these `scopes`, and whether it wants authentication = \"post\""
        }
        ErrorKind::Status { status: 404 | 405, .. } | ErrorKind::Nonsense(_) => {
            "check that `token_url` is the provider's token endpoint: `token_endpoint` in what it shows at \
             /.well-known/openid-configuration"
        }
        ErrorKind::Redirect { .. } => "write the address it points to as `token_url`, if you trust it",
        ErrorKind::Dns(_) | ErrorKind::Connect(_) => {
            "check host and port in `token_url`, this host's resolver, and what lies between"
        }
        ErrorKind::Tls { cause, .. } => return cause.hint("oauth = { ca_file = … }", "token_url"),
        ErrorKind::Compressed(_) => "a proxy before the provider compresses answers: turn that off there",
        _ => return None,
    };
    Some(hint.to_owned())
}
