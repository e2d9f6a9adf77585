//! What each verb does, and prints.

use std::{
    env,
    io::{self, Write as _},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Failure,
    arguments::{self, Flags, Line},
    defect::confirm,
    output::{self, Form},
    profile::Profile,
    server::Server,
    settings::Settings,
    version::Version,
};

/// What goes to stdout.
pub(super) fn run(settings: &Settings, line: &Line, form: &Form<'_>) -> Result<String, Failure> {
    match line.verb.name {
        "help" => return Ok(arguments::help(&line.arguments, settings.version)),
        "version" => return Ok(version(settings.version)),
        _ => {}
    }
    let profile = Profile::of(settings.version, &line.global)?;
    let server = Server::new(settings, profile, line.timeout()?)?;
    match line.verb.name {
        "token create" => create(&server, line, form),
        "token get" => get(&server, line, form),
        "token list" => list(&server, line, form),
        "token update" => update(&server, line),
        "token revoke" | "token delete" => revoke(&server, line, settings.version),
        "cluster list" => clusters(&server, form),
        "database list" => databases(&server, form, settings.version),
        "management list" => management(&server, form),
        verb => Err(Failure::new(format!("the stand-in does not play {verb}"))),
    }
}

/// The version and the architecture, says the documentation, and not in which form; before 2.4.2 wrong ones.
fn version(version: Version) -> String {
    let told = if (Version::of(2, 4, 0)..Version::of(2, 4, 2)).contains(&version) {
        "unknown".to_owned()
    } else {
        format!("v{version}")
    };
    format!("influxctl {told} {}/{}\n", env::consts::OS, env::consts::ARCH)
}

/// Reads first, as the flags are documented.
fn permissions(flags: &Flags) -> Vec<Value> {
    [("read", "read-database"), ("write", "write-database")]
        .into_iter()
        .flat_map(|(action, flag)| {
            flags.many(flag).map(move |name| json!({ "action": action, "resource": name }))
        })
        .collect()
}

fn create(server: &Server, line: &Line, form: &Form<'_>) -> Result<String, Failure> {
    let mut body = json!({ "description": line.arguments[0], "permissions": permissions(&line.flags) });
    if let Some(at) = line.flags.text("expires-at") {
        body["expiresAt"] = expiry(at)?.to_string().into();
    }
    let token = server.ask("POST", "/tokens", Some(&body))?;
    // A log line, and these go to stderr since 2.0.3, as everywhere here.
    let _unread = writeln!(io::stderr(), "warn\tthe token is shown once: keep it");
    Ok(form.created(&token, server.place()))
}

/// As Go reads RFC 3339: a capital T, and Z or an offset with a colon.
fn expiry(text: &str) -> Result<Timestamp, Failure> {
    let bytes = text.as_bytes();
    let offset = bytes.len().checked_sub(6).map(|at| &bytes[at..]);
    let zoned = bytes.ends_with(b"Z")
        || offset.is_some_and(|offset| matches!(offset[0], b'+' | b'-') && offset[3] == b':');
    let parsed = (zoned && bytes.get(10) == Some(&b'T')).then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| Failure::new(format!("parsing time \"{text}\": not RFC 3339")))
}

fn tokens(server: &Server, line: &Line) -> Result<Vec<Value>, Failure> {
    let all = server.ask("GET", "/tokens", None)?;
    let all = all.as_array().ok_or_else(|| Failure::new("unexpected answer: no list"))?;
    let with_revoked = line.flags.is_set("include-revoked");
    Ok(all.iter().filter(|token| with_revoked || token.get("revokedAt").is_none()).cloned().collect())
}

fn list(server: &Server, line: &Line, form: &Form<'_>) -> Result<String, Failure> {
    let mut tokens = tokens(server, line)?;
    let key = match line.flags.text("sort") {
        None | Some("id") => "id",
        Some("description") => "description",
        Some(_) => return Err(Failure::usage("sorts by id or description")),
    };
    tokens.sort_by(|a, b| a[key].as_str().cmp(&b[key].as_str()));
    if !form.json {
        return Ok(token_table(&tokens));
    }
    Ok(output::text(&tokens.iter().map(|token| form.token(token, server.place())).collect()))
}

fn token_table(tokens: &[Value]) -> String {
    let row = |token: &Value| vec![output::cell(&token["id"]), output::cell(&token["description"])];
    output::table(&["ID", "DESCRIPTION"], &tokens.iter().map(row).collect::<Vec<_>>())
}

/// An object, it is assumed: no output is documented.
fn get(server: &Server, line: &Line, form: &Form<'_>) -> Result<String, Failure> {
    let token = server.ask("GET", &format!("/tokens/{}", line.arguments[0]), None)?;
    if token.get("revokedAt").is_some() && !line.flags.is_set("include-revoked") {
        return Err(Failure::new("rpc error: code = NotFound desc = not found"));
    }
    Ok(if form.json { output::text(&form.token(&token, server.place())) } else { token_table(&[token]) })
}

/// What is given replaces all there was; what is not given stays.
fn update(server: &Server, line: &Line) -> Result<String, Failure> {
    let mut body = json!({});
    let permissions = permissions(&line.flags);
    if !permissions.is_empty() {
        body["permissions"] = permissions.into();
    }
    if let Some(description) = line.flags.text("description") {
        body["description"] = description.into();
    }
    let token = server.ask("PATCH", &format!("/tokens/{}", line.arguments[0]), Some(&body))?;
    Ok(token_table(&[token]))
}

fn revoke(server: &Server, line: &Line, version: Version) -> Result<String, Failure> {
    if !line.flags.is_set("force") {
        confirm(&format!("this ends {} token(s) for good, continue?", line.arguments.len()))?;
    }
    let mut said = String::new();
    let mut failed = None;
    for id in &line.arguments {
        match server.ask("DELETE", &format!("/tokens/{id}"), None) {
            Ok(_) => said += &format!("revoked {id}\n"),
            // Since 2.9.8 the others are revoked all the same.
            Err(failure) if version < Version::of(2, 9, 8) => return Err(failure),
            Err(failure) => failed = Some(failure),
        }
    }
    failed.map_or(Ok(said), Err)
}

/// One cluster: the one that is asked.
fn clusters(server: &Server, form: &Form<'_>) -> Result<String, Failure> {
    server.ask("GET", "/databases", None)?;
    let place = server.place();
    let url = server.host();
    if !form.json {
        let row = [place.cluster, "sandbox", "ready", url].map(str::to_owned).to_vec();
        return Ok(output::table(&["ID", "NAME", "STATE", "URL"], &[row]));
    }
    let created = output::protobuf(Timestamp::constant(1_686_670_941, 520_023_000));
    Ok(output::text(&json!([{
        "account_id": place.account, "cluster_id": place.cluster, "name": "sandbox", "url": url, "state": "ready",
        "created_at": created, "category": 1,
    }])))
}

fn databases(server: &Server, form: &Form<'_>, version: Version) -> Result<String, Failure> {
    let databases = server.ask("GET", "/databases", None)?;
    let databases = databases.as_array().ok_or_else(|| Failure::new("unexpected answer: no list"))?;
    if !form.json {
        let row = |database: &Value| {
            ["name", "retentionPeriod", "maxTables", "maxColumnsPerTable"]
                .map(|key| output::cell(&database[key]))
                .to_vec()
        };
        let headings = ["DATABASE NAME", "RETENTION PERIOD", "MAX TABLES", "MAX COLUMNS PER TABLE"];
        return Ok(output::table(&headings, &databases.iter().map(row).collect::<Vec<_>>()));
    }
    if databases.is_empty() && version < Version::of(2, 1, 0) {
        return Ok("null\n".to_owned());
    }
    let place = server.place();
    let row = |database: &Value| {
        let mut row = json!({
            "account_id": place.account, "cluster_id": place.cluster, "database_name": database["name"],
            "retention_period_ns": database["retentionPeriod"], "max_tables": database["maxTables"],
            "max_columns_per_table": database["maxColumnsPerTable"],
        });
        if version >= Version::of(2, 10, 3) {
            row["id"] = database["name"].clone();
        }
        row
    };
    Ok(output::text(&databases.iter().map(row).collect()))
}

/// The one token that the sandbox has for its management.
fn management(server: &Server, form: &Form<'_>) -> Result<String, Failure> {
    server.ask("GET", "/databases", None)?;
    let prefix: String = server.token().chars().take(9).collect();
    let id = "33333333-3333-4333-8333-333333333333";
    if !form.json {
        let row = [id, "sandbox", &prefix].map(str::to_owned).to_vec();
        return Ok(output::table(&["ID", "DESCRIPTION", "PREFIX"], &[row]));
    }
    let created = output::protobuf(Timestamp::constant(1_710_273_527, 0));
    Ok(output::text(&json!([{
        "id": id, "account_id": server.place().account, "token_prefix": prefix, "created_at": created,
        "description": "sandbox", "created_by": id,
    }])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_as_go_reads_it() {
        for text in ["2030-01-01T00:00:00Z", "2030-01-01T00:00:00.5Z", "2030-01-01T02:00:00+02:00"] {
            assert!(expiry(text).is_ok(), "{text}");
        }
        for text in
            ["2030-01-01T00:00:00+0000", "2030-01-01t00:00:00z", "2030-01-01 00:00:00Z", "2030-01-01", ""]
        {
            assert!(expiry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_tells_itself() {
        assert!(version(Version::of(2, 12, 0)).starts_with("influxctl v2.12.0 "));
        assert!(version(Version::of(2, 4, 1)).contains("unknown"));
    }
}
