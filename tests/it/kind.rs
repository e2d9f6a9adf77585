//! The kinds of servers, by the product and the way to it. What is no kind's own is shown on each.

use influx_sandbox::{Dedicated, Options, influxctl::StandIn};

use crate::{host::Host, peers::missing};

/// An entry of the table: all that tests know of a kind.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Has a sandbox play it.
    pub(crate) play: fn(&mut Options),
    /// What a list says of it beside addresses and the management token.
    pub(crate) server: fn(&Host) -> String,
    /// The path below which its tokens and databases are managed.
    pub(crate) base: fn() -> String,
    /// Whether it tells its date: without one the clock of this machine is believed, which no test can move.
    pub(crate) has_date: bool,
}

impl Kind {
    pub(crate) const CLUSTERED: Self = Self {
        name: "Clustered over HTTP",
        play: |_| {},
        server: |_| "product = \"clustered\"\n".to_owned(),
        base: || "/api/v0".to_owned(),
        has_date: true,
    };

    /// A release that has no management API for others.
    pub(crate) const INFLUXCTL: Self = Self {
        name: "Clustered by influxctl",
        play: |options| options.rest = false,
        server: |host| format!("product = \"clustered\"\n{}", by_influxctl(host)),
        base: Self::CLUSTERED.base,
        has_date: false,
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
        has_date: true,
    };

    pub(crate) const DEDICATED_BY_INFLUXCTL: Self = Self {
        name: "Cloud Dedicated by influxctl",
        play: |options| {
            (Self::DEDICATED.play)(options);
            options.rest = false;
        },
        server: |host| format!("{}{}", (Self::DEDICATED.server)(host), by_influxctl(host)),
        base: Self::DEDICATED.base,
        has_date: false,
    };

    const ALL: [&'static Self; 4] =
        [&Self::CLUSTERED, &Self::DEDICATED, &Self::INFLUXCTL, &Self::DEDICATED_BY_INFLUXCTL];

    /// Those that can be had here.
    pub(crate) fn all() -> Vec<&'static Self> {
        let is_there = StandIn::program().is_some();
        if !is_there {
            missing("influxctl");
        }
        Self::ALL.into_iter().filter(|kind| is_there || kind.has_date).collect()
    }
}

/// The lines that make the stand-in the way to the server; it is put beside the list.
fn by_influxctl(host: &Host) -> String {
    let folder = host.path("bin");
    if !folder.exists() {
        let stand_in = StandIn::new(&folder, "2.12.0").unwrap();
        stand_in.set_console(&host.sandbox.address().to_string());
    }
    format!("via = \"influxctl\"\ninfluxctl = {{ path = \"{}\" }}\n", folder.join("influxctl").display())
}

/// The same scenario on a host with each kind of server that tells its date and what its tokens may do, where that matters.
pub(crate) fn on_each_dated(scenario: impl Fn(Host)) {
    for kind in Kind::all().into_iter().filter(|kind| kind.has_date) {
        println!("on {}", kind.name);
        scenario(Host::on(kind));
    }
}

/// The same scenario on a host with each kind of server.
pub(crate) fn on_each(scenario: impl Fn(Host)) {
    for kind in Kind::all() {
        // Read where the scenario fails.
        println!("on {}", kind.name);
        scenario(Host::on(kind));
    }
}
