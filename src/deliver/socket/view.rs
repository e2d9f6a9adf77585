//! What one set of readable names looks like in each of the formats.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::served::Value;
use crate::model::{Name, Time, wiped_json};

/// Names and the generations of their values.
pub(super) type Ready = Arc<[(Name, u64)]>;

/// All names as a caller sees them, at one version of the table. Each format is rendered when it is first asked for.
#[derive(Debug)]
pub(super) struct View {
    pub(super) version: u64,
    changed_at: Time,
    /// Sorted. The outer `None`: the caller may not read it; the inner: there is no value.
    names: Vec<(Name, Option<Option<Value>>)>,
    /// Those with a value, and its generation.
    ready: Ready,
    not_ready: Vec<Name>,
    not_yours: Arc<[Name]>,
    may_read_something: bool,
    kv_v1: OnceLock<Bytes>,
    kv_v2: OnceLock<Bytes>,
    flat: OnceLock<Bytes>,
}

impl View {
    pub(super) fn new(
        version: u64,
        changed_at: Time,
        names: Vec<(Name, Option<Option<Value>>)>,
        reads_all: bool,
    ) -> Self {
        let ready = names
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_ref()?.as_ref()?.generation)))
            .collect();
        let those = |wanted: fn(&Option<Option<Value>>) -> bool| {
            names.iter().filter(move |(_, value)| wanted(value)).map(|(name, _)| name.clone())
        };
        let not_ready = those(|value| matches!(value, Some(None))).collect();
        let not_yours = those(Option::is_none).collect();
        Self {
            version,
            changed_at,
            ready,
            not_ready,
            not_yours,
            may_read_something: reads_all || names.iter().any(|(_, value)| value.is_some()),
            names,
            kv_v1: OnceLock::new(),
            kv_v2: OnceLock::new(),
            flat: OnceLock::new(),
        }
    }

    /// Whether there is anything that the caller may read, ready or not.
    pub(super) fn may_read_something(&self) -> bool {
        self.may_read_something
    }

    /// The names with a value, and its generation; no secrets, so that it may be kept.
    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The names that are the caller's, and have no value.
    pub(super) fn not_ready(&self) -> &[Name] {
        &self.not_ready
    }

    /// The names that are not the caller's; no secrets, so that it may be kept.
    pub(super) fn not_yours(&self) -> &Arc<[Name]> {
        &self.not_yours
    }

    /// As the second version of Vault's key-value engine answers (Vault API, "KV secrets engine - version 2").
    pub(super) fn kv_v2(&self) -> Bytes {
        self.kv_v2
            .get_or_init(|| {
                let metadata = Metadata {
                    created_time: self.changed_at,
                    custom_metadata: None,
                    deletion_time: "",
                    destroyed: false,
                    version: self.version,
                };
                render(&Answer::new(Versioned { data: Whole(self), metadata }))
            })
            .clone()
    }

    /// As the first version does.
    pub(super) fn kv_v1(&self) -> Bytes {
        self.kv_v1.get_or_init(|| render(&Answer::new(Whole(self)))).clone()
    }

    /// A flat object of what is ready, for `secretstores.http`: any value that is no text fails that whole store
    /// (Telegraf 1.39, `plugins/secretstores/http`).
    pub(super) fn flat(&self) -> Bytes {
        self.flat.get_or_init(|| render(&Flat(self))).clone()
    }
}

fn render(value: &impl Serialize) -> Bytes {
    Bytes::from_owner(wiped_json(value))
}

/// What every answer of Vault has around its data.
#[derive(Serialize)]
struct Answer<T> {
    request_id: &'static str,
    lease_id: &'static str,
    renewable: bool,
    lease_duration: u32,
    data: T,
    wrap_info: Option<()>,
    warnings: Option<()>,
    auth: Option<()>,
}

impl<T> Answer<T> {
    fn new(data: T) -> Self {
        Self {
            request_id: "",
            lease_id: "",
            renewable: false,
            lease_duration: 0,
            data,
            wrap_info: None,
            warnings: None,
            auth: None,
        }
    }
}

#[derive(Serialize)]
struct Versioned<T> {
    data: T,
    metadata: Metadata,
}

#[derive(Serialize)]
struct Metadata {
    created_time: Time,
    custom_metadata: Option<()>,
    deletion_time: &'static str,
    destroyed: bool,
    version: u64,
}

/// Every name: what is not ready or not the caller's is `false`, an error to Telegraf. One that is missing it takes
/// for an empty secret.
struct Whole<'a>(&'a View);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.names.len()))?;
        for (name, value) in &self.0.names {
            match value.as_ref().and_then(Option::as_ref) {
                Some(value) => map.serialize_entry(name, text(value))?,
                None => map.serialize_entry(name, &false)?,
            }
        }
        map.end()
    }
}

/// The names with a value, and nothing else.
struct Flat<'a>(&'a View);

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.0.names.iter().filter_map(|(name, value)| Some((name, value.as_ref()?.as_ref()?)));
        serializer.collect_map(values.map(|(name, value)| (name, text(value))))
    }
}

fn text(value: &Value) -> &str {
    value.secret.expose()
}
