//! `via`, `influxctl` and `management_token` of a server: how its tokens are managed.

use std::{ops::Range, path::PathBuf};

use super::{
    Context, Influxctl, Login, ManagementToken, Via,
    fault::{Faults, Shown},
    oauth::management_token,
    server::missing,
    tree::{At, Section, neither},
};

/// `None` where something that it cannot do without is missing or wrong, and said. `plain`: `http://` will do.
pub(super) fn via(
    section: &mut Section<'_, '_>,
    plain: bool,
    context: &Context,
    faults: &mut Faults<'_>,
) -> Option<Via> {
    let via = section.string("via", faults);
    let table = section.section("influxctl", faults);
    let has_token = section.get("management_token").is_some();
    let token = management_token(section, plain, context, faults);
    match via {
        Some(At { value: "influxctl", .. }) => {
            let at = section.span.clone();
            let given = table.map(|table| given(table, faults)).unwrap_or_default();
            let login = login(section, at, has_token, token, &given, context, faults)?;
            let Given { path, account, cluster, .. } = given;
            Some(Via::Influxctl(Influxctl { program: program(path), login, account, cluster }))
        }
        None | Some(At { value: "http", .. }) => {
            if let Some(table) = table {
                let what = "is for via = \"influxctl\" only";
                faults.add_with_hint(table.span.clone(), table.path(), what, "add via = \"influxctl\"");
            }
            if !has_token {
                missing(section, "management_token", faults);
            }
            token.map(Via::Http)
        }
        Some(other) => {
            neither(other, &section.key("via"), ["http", "influxctl"], faults);
            None
        }
    }
}

/// The tool as a person runs it, who is logged in.
pub(super) fn by_a_person(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Influxctl {
    let given = section.section("influxctl", faults).map(|table| given(table, faults)).unwrap_or_default();
    Influxctl {
        program: program(given.path),
        login: Login::Profile { config: given.config, name: given.profile },
        account: None,
        cluster: None,
    }
}

fn program(path: Option<PathBuf>) -> PathBuf {
    path.unwrap_or_else(|| PathBuf::from("influxctl"))
}

/// `influxctl = { … }`.
#[derive(Default)]
struct Given {
    path: Option<PathBuf>,
    config: Option<PathBuf>,
    profile: Option<String>,
    account: Option<String>,
    cluster: Option<String>,
}

fn given(mut table: Section<'_, '_>, faults: &mut Faults<'_>) -> Given {
    let mut text = |key: &'static str| {
        let At { value, span } = table.string(key, faults)?;
        // A word that begins so would be taken for an option.
        let is_plain = !value.is_empty() && !value.starts_with('-') && !value.contains(char::is_control);
        if !is_plain {
            faults.add(span, &table.key(key), format!("expected a name or a path, found {}", Shown(value)));
        }
        is_plain.then(|| value.to_owned())
    };
    let given = Given {
        path: text("path").map(PathBuf::from),
        config: text("config").map(PathBuf::from),
        profile: text("profile"),
        account: text("account"),
        cluster: text("cluster"),
    };
    table.finish(faults);
    given
}

/// A management token goes into a profile of ours; without one somebody else's profile says who we are.
fn login(
    section: &Section<'_, '_>,
    at: Range<usize>,
    has_token: bool,
    token: Option<ManagementToken>,
    given: &Given,
    context: &Context,
    faults: &mut Faults<'_>,
) -> Option<Login> {
    let has_profile = given.config.is_some() || given.profile.is_some();
    if has_token && has_profile {
        let what = "\"management_token\" and a profile of influxctl's exclude each other";
        faults.add_with_hint(at, section.path(), what, "leave one of them out");
        return None;
    }
    if has_token {
        return match token? {
            ManagementToken::Kept(token) => Some(Login::ManagementToken(token)),
            ManagementToken::Issued(_) => {
                let what = "influxctl takes no management token that \"oauth\" gets";
                let fix = "leave via = \"influxctl\" out, or name a management token that `influxctl management create` made";
                faults.add_with_hint(at, section.path(), what, fix);
                None
            }
        };
    }
    if !context.one_shot && given.config.is_none() {
        let what = "needs \"management_token\": a daemon has no login of its own";
        let fix = "or name with influxctl = { config = \"PATH\" } a profile that has one; one-shot commands such as `apply` \
                   do with a person's login";
        faults.add_with_hint(at, section.path(), what, fix);
        return None;
    }
    Some(Login::Profile { config: given.config.clone(), name: given.profile.clone() })
}
