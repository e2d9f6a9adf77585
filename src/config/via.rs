//! `via`, `influxctl` and `management_token` of a server: how its tokens are managed.

use super::{
    context::ListContext,
    influxctl::{InfluxctlConfig, Login, influxctl},
    management_token::{ManagementTokenConfig, management_token},
    section::{Located, Section},
};

/// How tokens are managed on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Over its management API, with this management token.
    Http(ManagementTokenConfig),
    /// By InfluxData's tool.
    Influxctl(InfluxctlConfig),
}

/// `None` where something is missing or wrong, which is a fault. `plain`: `http://` is allowed.
pub(super) fn via(section: &mut Section<'_>, plain: bool, context: &ListContext) -> Option<Via> {
    let via = section.string("via");
    let token = management_token(section, plain, context);
    let table = section.get("influxctl");
    match via {
        Some(Located { value: "influxctl", .. }) => {
            let config = influxctl(section);
            let login = login(section, token, config.login, context)?;
            Some(Via::Influxctl(InfluxctlConfig { login, ..config }))
        }
        None | Some(Located { value: "http", .. }) => {
            if let Some(table) = table {
                let (key, what) = (section.key("influxctl"), "is for via = \"influxctl\" only");
                section.faults.add_with_hint(table.span(), &key, what, "add via = \"influxctl\"");
            }
            section.require("management_token");
            token.map(Via::Http)
        }
        Some(other) => {
            section.not_one_of("via", &other, &["http", "influxctl"]);
            None
        }
    }
}

/// With a management token influxctl gets a profile of ours; without one it uses a person's.
fn login(
    section: &mut Section<'_>,
    token: Option<ManagementTokenConfig>,
    profile: Login,
    context: &ListContext,
) -> Option<Login> {
    let span = section.span.clone();
    let (what, hint) = match (section.get("management_token"), &profile) {
        (Some(_), Login::Profile { config: None, name: None }) => match token? {
            ManagementTokenConfig::Source(token) => return Some(Login::ManagementToken(token)),
            ManagementTokenConfig::OAuth(_) => (
                "influxctl cannot use a management token from \"oauth\"",
                "remove via = \"influxctl\", or name a management token that `influxctl management create` made",
            ),
        },
        (Some(_), _) => {
            ("\"management_token\" and an influxctl profile exclude each other", "remove one of them")
        }
        (None, Login::Profile { config: None, .. }) if !context.one_shot => (
            "needs \"management_token\": a daemon has no login of its own",
            "add one, or a profile with one: influxctl = { config = \"PATH\" }; one-shot commands such as `apply` can use a \
             person's login",
        ),
        (None, _) => return Some(profile),
    };
    section.faults.add_with_hint(span, section.path(), what, hint);
    None
}
