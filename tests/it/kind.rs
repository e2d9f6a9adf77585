//! The kinds of servers, by the product and the way to it. What is no kind's own is shown on each.

use influx_sandbox::{Dedicated, Options, influxctl::StandIn};

use crate::{host::Host, local_clock, peers::missing};

/// An entry of the table: all that tests know of a kind.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Has a sandbox play it.
    pub(crate) play: fn(&mut Options),
    /// What a list says of it beside addresses and the management token.
    pub(crate) server: fn(&Host) -> String,
    /// The path below which its tokens and databases are managed.
    pub(crate) base: fn() -> String,
    /// Whether it tells its date: without one the clock of the host is believed.
    pub(crate) has_date: bool,
    /// Whether its list tells what a token may do. Where not, nothing can be imported, and another token is minted where the
    /// list asks for other grants.
    pub(crate) tells_grants: bool,
}

impl Kind {
    pub(crate) const CLUSTERED: Self = Self {
        name: "Clustered over HTTP",
        play: |_| {},
        server: |_| "product = \"clustered\"\n".to_owned(),
        base: || "/api/v0".to_owned(),
        has_date: true,
        tells_grants: true,
    };

    /// A release that has no management API for others.
    pub(crate) const INFLUXCTL: Self = Self {
        name: "Clustered by influxctl",
        play: |options| options.rest = false,
        server: |host| format!("product = \"clustered\"\n{}", by_influxctl(host)),
        base: Self::CLUSTERED.base,
        has_date: false,
        tells_grants: false,
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
        tells_grants: true,
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
        tells_grants: true,
    };

    const ALL: [&'static Self; 4] =
        [&Self::CLUSTERED, &Self::DEDICATED, &Self::INFLUXCTL, &Self::DEDICATED_BY_INFLUXCTL];

    /// Those of which a host can be had here on which time passes: its clock is moved where the server tells no date.
    pub(crate) fn all_in_time() -> Vec<&'static Self> {
        let can_move = local_clock::library().is_some();
        if !can_move {
            missing("libfaketime");
        }
        Self::all().into_iter().filter(|kind| can_move || kind.has_date).collect()
    }

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

/// The same scenario on a host with each kind of server.
pub(crate) fn on_each(scenario: impl Fn(Host)) {
    on(Kind::all(), scenario);
}

/// And one that takes its time, which `Host::shift_clock` moves.
pub(crate) fn on_each_in_time(scenario: impl Fn(Host)) {
    on(Kind::all_in_time(), scenario);
}

/// With one of these.
pub(crate) fn on(kinds: impl IntoIterator<Item = &'static Kind>, scenario: impl Fn(Host)) {
    for kind in kinds {
        // Read where the scenario fails.
        println!("on {}", kind.name);
        scenario(Host::on(kind));
    }
}
