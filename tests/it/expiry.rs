//! Servers that make something else of the expiry they are asked for: it is told, and the lifetime is kept all the same.

use std::time::Duration;

use influx_sandbox::Expiry;
use jiff::SignedDuration;
use serde_json::Value;

use crate::{host::Host, kind::Kind};

const DAY: Duration = Duration::from_secs(24 * 3600);
const TOKEN: &str = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\nlifetime = \"9d\"\n";

/// A host with each kind of server that does so with an expiry; what a first run said.
fn on_each(expiry: Expiry, scenario: impl Fn(Host, &str)) {
    for kind in Kind::all_in_time() {
        println!("on {}", kind.name);
        let host = Host::on_with(kind, |options| options.expiry = expiry);
        host.list(TOKEN);
        let ran = host.apply();
        host.assert_settled("t0");
        scenario(host, &ran.stderr);
    }
}

fn status(host: &Host) -> Value {
    host.status()["tokens"][0].clone()
}

#[test]
fn a_token_that_outlives_its_expiry_is_replaced_in_time_all_the_same() {
    for (expiry, told) in
        [(Expiry::Ignored, "the server set none: "), (Expiry::After(400 * DAY), "the server set 20")]
    {
        on_each(expiry, |host, said| {
            // Where influxctl prints none, that need not be so: what was asked for is believed until it has passed.
            let is_told = host.kind.has_date || expiry != Expiry::Ignored;
            let is_said = said.contains("token t0: expiry 20") && said.contains(told);
            assert_eq!(is_said, is_told, "{said}");
            let first = status(&host);
            assert_eq!(first["expires_at"].is_null(), is_told && expiry == Expiry::Ignored, "{first}");
            host.shift_clock(SignedDuration::from_hours(5 * 24));
            host.apply();
            let now = status(&host);
            assert_eq!((&now["generation"], &now["retiring"][0]["id"]), (&2.into(), &first["id"]));
            assert!(now["retiring"][0]["until"].is_string(), "it is ended: {now}");
        });
    }
}

#[test]
fn a_token_that_expires_sooner_than_it_was_to_is_replaced_by_then() {
    on_each(Expiry::After(Duration::from_secs(2 * 3600)), |host, said| {
        assert!(said.contains("token t0: expiry 20") && said.contains("the server set 20"), "{said}");
        host.shift_clock(SignedDuration::from_mins(40));
        host.apply();
        assert_eq!(host.mints(), 1);
        host.shift_clock(SignedDuration::from_mins(21));
        host.apply();
        assert_eq!((host.mints(), &status(&host)["generation"]), (2, &2.into()));
    });
}

#[test]
fn an_expiry_that_is_kept_is_nothing_to_tell() {
    on_each(Expiry::Kept, |host, said| {
        assert!(!said.contains("expir"), "{said}");
        assert!(!host.apply().stderr.contains("expire"));
    });
}
