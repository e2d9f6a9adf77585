//! The configuration file and the login: which server, as whom.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{Failure, arguments::Flags, defect::hang, print, version::Version};

/// One `[[profile]]`, as far as it is used.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) dedicated: bool,
    pub(super) host: Option<String>,
    pub(super) port: Option<String>,
    pub(super) account: Option<String>,
    pub(super) cluster: Option<String>,
    /// HTTP: the sandbox has no other.
    pub(super) plain: bool,
    pub(super) login: Login,
}

/// What is presented to the server.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) token: String,
    /// Where a login of earlier is kept.
    pub(super) cached: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Switch,
    /// `scopes`, and what is in `parameters`: not looked at.
    Any,
}

const FIRST: Version = Version::FIRST;

const KEYS: &[(&str, Kind, Version)] = &[
    ("name", Kind::Text, FIRST),
    ("product", Kind::Text, FIRST),
    ("host", Kind::Text, FIRST),
    ("port", Kind::Text, FIRST),
    ("account_id", Kind::Text, FIRST),
    ("cluster_id", Kind::Text, FIRST),
    ("database", Kind::Text, Version::of(2, 4, 0)),
    ("token", Kind::Text, Version::of(2, 4, 0)),
    ("mgmt_token", Kind::Text, Version::of(2, 6, 0)),
    ("tls.insecure", Kind::Switch, Version::of(2, 8, 0)),
    ("tls.disable", Kind::Switch, FIRST),
    ("tls.cert", Kind::Text, FIRST),
    ("tls.key", Kind::Text, FIRST),
    ("tls.ca", Kind::Text, FIRST),
    ("auth.token.token_file", Kind::Text, Version::of(2, 2, 0)),
    ("auth.oauth2.client_id", Kind::Text, FIRST),
    ("auth.oauth2.scopes", Kind::Any, FIRST),
    ("auth.oauth2.parameters", Kind::Any, FIRST),
    ("auth.oauth2.token_url", Kind::Text, FIRST),
    ("auth.oauth2.device_url", Kind::Text, FIRST),
];

/// Dotted keys and their values.
type Values = BTreeMap<String, String>;

impl Profile {
    pub(super) fn of(version: Version, global: &Flags) -> Result<Self, Failure> {
        let named = env::var("INFLUXCTL_PROFILE").ok().filter(|_| version >= Version::of(2, 10, 1));
        // 2.10.1 calls it the profile's name, 2.10.2 the file's path. A caller had better not set it.
        let (path, name) = match named {
            Some(named) if version >= Version::of(2, 10, 2) && named.contains('/') => (Some(named), None),
            named => (None, named),
        };
        let file = match global.text("config").map(str::to_owned).or(path) {
            Some(file) => PathBuf::from(file),
            None => home()?.join(".config/influxctl/config.toml"),
        };
        let name = global.text("profile").map(str::to_owned).or(name).unwrap_or_else(|| "default".to_owned());
        let text = fs::read_to_string(&file)
            .map_err(|error| Failure::new(format!("configuration {}: {error}", file.display())))?;
        let values = profiles(&text, version)?
            .into_iter()
            .find(|values| values.get("name") == Some(&name))
            .ok_or_else(|| Failure::new(format!("no profile named {name}")))?;
        Self::from_values(&values, global, version)
    }

    fn from_values(values: &Values, global: &Flags, version: Version) -> Result<Self, Failure> {
        let value = |key: &str| values.get(key).cloned();
        let dedicated = match values.get("product").map(String::as_str) {
            Some("clustered") => false,
            Some("dedicated") => true,
            _ => return Err(Failure::new("the product is neither clustered nor dedicated")),
        };
        Ok(Self {
            dedicated,
            host: value("host"),
            port: value("port"),
            account: global.text("account").map(str::to_owned).or_else(|| value("account_id")),
            cluster: global.text("cluster").map(str::to_owned).or_else(|| value("cluster_id")),
            plain: values.get("tls.disable").is_some_and(|disable| disable == "true"),
            login: login(values, version)?,
        })
    }
}

fn login(values: &Values, version: Version) -> Result<Login, Failure> {
    if let Some(token) = values.get("mgmt_token") {
        return Ok(Login { token: token.clone(), cached: None });
    }
    if let Some(file) = values.get("auth.token.token_file") {
        return Ok(Login { token: kept(Path::new(file))?, cached: None });
    }
    let folder = home()?.join(".cache/influxctl");
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let Some(file) = files.into_iter().find(|file| file.extension().is_some_and(|end| end == "json")) else {
        return Err(log_in(values));
    };
    let cached = (version >= Version::of(2, 5, 0)).then(|| file.clone());
    Ok(Login { token: kept(&file)?, cached })
}

/// Where somebody can: a real one shows a code, opens a browser if there is one, and polls until the code is typed.
fn log_in(values: &Values) -> Failure {
    let dedicated = values.get("product").is_some_and(|product| product == "dedicated");
    if !dedicated && !values.keys().any(|key| key.starts_with("auth.oauth2.")) {
        return Failure::new("not logged in");
    }
    print("log in at https://login.invalid/device with the code ABCD-EFGH\n");
    hang()
}

/// Bare, or in an object as OAuth has it: the form of neither file is documented.
fn kept(file: &Path) -> Result<String, Failure> {
    let text =
        fs::read_to_string(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let object: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let token = object.as_ref().and_then(|object| object.get("access_token")?.as_str());
    Ok(token.unwrap_or(text.trim()).to_owned())
}

fn home() -> Result<PathBuf, Failure> {
    env::var_os("HOME").map(PathBuf::from).ok_or_else(|| Failure::new("$HOME is not defined"))
}

fn profiles(text: &str, version: Version) -> Result<Vec<Values>, Failure> {
    let document = DeTable::parse(text).map_err(|error| Failure::new(format!("configuration: {error}")))?;
    let mut profiles = Vec::new();
    for (key, value) in document.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("profile", DeValue::Array(array)) => {
                for table in array.iter().filter_map(|value| value.get_ref().as_table()) {
                    let mut values = Values::new();
                    flatten(table, "", version, &mut values)?;
                    profiles.push(values);
                }
            }
            (key, _) => unknown(key, version)?,
        }
    }
    Ok(profiles)
}

fn flatten(table: &DeTable<'_>, prefix: &str, version: Version, into: &mut Values) -> Result<(), Failure> {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        let below = format!("{path}.");
        let known = KEYS.iter().find(|(name, _, since)| *name == path && *since <= version);
        let text = match (known, value.get_ref()) {
            (Some((_, Kind::Any, _)), _) => continue,
            (Some((_, Kind::Text, _)), DeValue::String(text)) => text.to_string(),
            (Some((_, Kind::Switch, _)), DeValue::Boolean(switch)) => switch.to_string(),
            (Some(_), _) => return Err(Failure::new(format!("configuration: {path} is of the wrong type"))),
            (None, DeValue::Table(table)) if KEYS.iter().any(|(name, ..)| name.starts_with(&below)) => {
                flatten(table, &below, version, into)?;
                continue;
            }
            (None, _) => {
                unknown(&path, version)?;
                continue;
            }
        };
        into.insert(path, text);
    }
    Ok(())
}

/// They were passed over in 2.0.0.
fn unknown(key: &str, version: Version) -> Result<(), Failure> {
    if version < Version::of(2, 0, 1) {
        return Ok(());
    }
    Err(Failure::new(format!("configuration: unrecognized option {key}")))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    const NEW: Version = Version::of(2, 12, 0);

    fn one(text: &str, version: Version) -> Result<Values, Failure> {
        profiles(text, version).map(|mut profiles| profiles.remove(0))
    }

    #[test]
    fn a_profile_is_read() {
        let text = "[[profile]]\nname = \"default\"\nproduct = \"clustered\"\nhost = \"h\"\nport = \"1\"\n\
                    mgmt_token = \"t\"\n[profile.tls]\ndisable = true\n[profile.auth.oauth2]\nscopes = [\"x\"]\n\
                    parameters = { audience = \"y\" }\n";
        let values = one(text, NEW).unwrap();
        assert_eq!(values["tls.disable"], "true");
        let profile = Profile::from_values(&values, &Flags::default(), NEW).unwrap();
        assert!(profile.plain && !profile.dedicated);
        assert_eq!(profile.login.token, "t");
    }

    #[test]
    fn what_a_version_does_not_know_is_an_error() {
        for (line, since) in [
            ("mgmt_token = \"t\"", Version::of(2, 6, 0)),
            ("token = \"t\"", Version::of(2, 4, 0)),
            ("tls = { insecure = true }", Version::of(2, 8, 0)),
            ("auth = { token = { token_file = \"f\" } }", Version::of(2, 2, 0)),
        ] {
            let text = format!("[[profile]]\n{line}\n");
            assert!(one(&text, since).is_ok(), "{line}");
            assert!(one(&text, Version::of(2, 0, 1)).is_err(), "{line}");
            assert!(one(&text, FIRST).is_ok(), "{line}");
        }
        for text in ["[[profile]]\nport = 443\n", "[[profile]]\nshoe = \"x\"\n", "shoe = 1\n"] {
            assert!(profiles(text, NEW).is_err(), "{text}");
        }
    }
}
