//! The kinds of servers, by the product and the way to it. What is no kind's own is shown on each.

use influx_sandbox::{Dedicated, Options};

use crate::host::Host;

/// An entry of the table: all that tests know of a kind.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Has a sandbox play it.
    pub(crate) play: fn(&mut Options),
    /// What a list says of it beside addresses and the management token.
    pub(crate) server: fn(&Host) -> String,
    /// The path below which its tokens and databases are managed.
    pub(crate) base: fn() -> String,
}

impl Kind {
    pub(crate) const CLUSTERED: Self = Self {
        name: "Clustered over HTTP",
        play: |_| {},
        server: |_| "product = \"clustered\"\n".to_owned(),
        base: || "/api/v0".to_owned(),
    };

    pub(crate) const DEDICATED: Self = Self {
        name: "Cloud Dedicated over HTTP",
        play: |options| options.dedicated = Some(Dedicated::default()),
        server: |_| {
            let Dedicated { account, cluster, .. } = Dedicated::default();
            format!("product = \"dedicated\"\naccount = \"{account}\"\ncluster = \"{cluster}\"\n")
        },
        base: || {
            let Dedicated { account, cluster, .. } = Dedicated::default();
            format!("/api/v0/accounts/{account}/clusters/{cluster}")
        },
    };

    pub(crate) const ALL: [&'static Self; 2] = [&Self::CLUSTERED, &Self::DEDICATED];
}

/// The same scenario on a host with each kind of server.
pub(crate) fn on_each(scenario: impl Fn(Host)) {
    for kind in Kind::ALL {
        // Read where the scenario fails.
        println!("on {}", kind.name);
        scenario(Host::on(kind));
    }
}
