//! The products, and all in which they differ for the rest of this program.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Database, InvalidDatabase};

macro_rules! products {
    ($($(#[$doc:meta])* $product:ident: $descriptor:ident,)*) => {
        /// A kind of InfluxDB.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Product {
            $($(#[$doc])* $product,)*
        }

        impl Product {
            /// Each of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$product),*];

            /// What it can do.
            #[must_use]
            pub const fn descriptor(self) -> Descriptor {
                match self {
                    $(Self::$product => $descriptor,)*
                }
            }
        }
    };
}

products! {
    /// InfluxDB Clustered.
    Clustered: CLUSTERED,
    /// InfluxDB Cloud Dedicated.
    Dedicated: DEDICATED,
}

/// The management API, since release 20250508-1719206.
const CLUSTERED: Descriptor = Descriptor {
    name: "clustered",
    address: Address::Own,
    expiry: Expiry::Absolute,
    grants: GrantSupport::Editable,
    list: ListScope::All,
    label: LabelPlace::Description,
    // `ClusterDatabaseName` in the description of the API.
    database_names: DatabaseNames { max: 64 },
    hints: Hints {
        unauthorized: "the management token is unknown there, expired or revoked: create one with `influxctl management \
                       create`, put it where `management_token` says, and run `influx-tokend apply`; a systemd credential is \
                       read again only at restart",
        not_found: "the server has no such API: InfluxDB Clustered has it since release 20250508; check that `url` is the \
                    cluster's address alone",
    },
};

/// The same API, below each cluster of each account.
const DEDICATED: Descriptor = Descriptor {
    name: "dedicated",
    address: Address::Console { url: "https://console.influxdata.com", data_domain: "a.influxdb.io" },
    hints: Hints {
        not_found: "the server has no such cluster: check that `account` and `cluster` are those that `influxctl cluster list \
                    --format json` shows",
        ..CLUSTERED.hints
    },
    ..CLUSTERED
};

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.descriptor().name)
    }
}

/// What a product can do. The way to it may be able to do less: an old influxctl, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `product` of a list.
    pub name: &'static str,
    /// Where it is found.
    pub address: Address,
    /// How a new token is told when to expire.
    pub expiry: Expiry,
    /// Whether tokens have grants, and whether those can be changed.
    pub grants: GrantSupport,
    /// Which tokens its list shows.
    pub list: ListScope,
    /// Where a token bears its label.
    pub label: LabelPlace,
    /// How databases may be called.
    pub database_names: DatabaseNames,
    /// What to do about requests that it refuses.
    pub hints: Hints,
}

/// Where a product is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Each deployment has its own: `url` of a list.
    Own,
    /// One console manages all clusters: `account` and `cluster` of a list say which.
    Console {
        /// The console, where `url` does not say another.
        url: &'static str,
        /// The data of a cluster is at its id below this domain, where `data_url` does not say another.
        data_domain: &'static str,
    },
}

/// How a new token is told when to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At a time.
    Absolute,
    /// So long after the server has created it.
    Relative,
    /// Not at all: tokens live until they are revoked.
    None,
}

/// What a token may do, and whether that can be changed. Whether it can be read, each row of a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantSupport {
    /// There are no grants: each token may do everything, and what a spec asks for is only probed.
    Absent,
    /// A token keeps those that it was created with.
    Fixed,
    /// They can be changed in place.
    Editable,
}

/// Which tokens a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListScope {
    /// All that there are.
    All,
    /// Those that its caller may see: none, without an error, to one that may see none.
    CallersOwn,
}

impl ListScope {
    /// Whether a token that a list lacks does not exist. `shows_ours`: the list shows others that were minted here.
    #[must_use]
    pub fn proves_absence(self, shows_ours: impl FnOnce() -> bool) -> bool {
        match self {
            Self::All => true,
            Self::CallersOwn => shows_ours(),
        }
    }
}

/// Where a token bears its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelPlace {
    /// At the end of its description.
    Description,
    /// At the end of its name, which says what a description would.
    TokenName,
    /// Its user's name is the label: one word, without a colon.
    UserName,
}

impl fmt::Display for LabelPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Description => "description",
            Self::TokenName => "token name",
            Self::UserName => "user name",
        })
    }
}

/// How databases (buckets, in version 2) may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseNames {
    /// The longest name, in characters.
    pub max: usize,
}

impl DatabaseNames {
    /// Whether a name will do; `*` always does.
    ///
    /// # Errors
    /// It is too long.
    pub fn check(self, database: &Database) -> Result<(), InvalidDatabase> {
        match database {
            Database::Named(name) if name.chars().count() > self.max => {
                Err(InvalidDatabase { max: self.max })
            }
            Database::Named(_) | Database::All => Ok(()),
        }
    }
}

/// What to do about requests that a server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// 401: it does not know the management token.
    pub unauthorized: &'static str,
    /// 404: there is no such API at the address.
    pub not_found: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_a_product_as_a_list_does() {
        for product in Product::ALL {
            let name = product.descriptor().name;
            assert_eq!(serde_json::to_value(product).expect("text"), name);
            assert_eq!(product.to_string(), name);
        }
    }

    #[test]
    fn a_database_name_may_be_as_long_as_the_product_takes() {
        let names = Product::Clustered.descriptor().database_names;
        let named = |length: usize| Database::Named("ü".repeat(length));
        assert_eq!([64, 65].map(|length| names.check(&named(length)).is_ok()), [true, false]);
        assert_eq!(names.check(&Database::All), Ok(()));
    }
}
