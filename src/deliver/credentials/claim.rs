//! What systemd says of a credential that it asks for: the name of its socket.

use crate::model::{InvalidName, Name};

/// The longest name of a unit (systemd.unit(5)).
const MAX_UNIT: usize = 255;
/// So many hexadecimal digits tell one asking from the others.
const MAX_RANDOM: usize = 16;
/// What Telegraf's store for systemd puts before a secret's key, unless it is told otherwise.
const TELEGRAF: &str = "telegraf.";

/// Which unit is to have which credential. Anybody who may connect can say so: it is worth as much as the cgroup of
/// whoever says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The unit.
    pub(super) unit: String,
    /// The credential, as the unit calls it.
    pub(super) id: String,
}

impl Claim {
    /// Reads an abstract address, `RANDOM/unit/UNIT/ID` (systemd.exec(5), `LoadCredential=`), without its first byte.
    pub(super) fn parse(address: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(address).ok()?.split('/');
        let (random, kind, unit, id) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_random = (1..=MAX_RANDOM).contains(&random.len()) && random.bytes().all(is_hexadecimal);
        let is_unit = (1..=MAX_UNIT).contains(&unit.len()) && unit.bytes().all(is_of_a_unit);
        let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic());
        let is_whole = parts.next().is_none() && kind == "unit";
        (is_whole && is_random && is_unit && is_id).then(|| Self { unit: unit.to_owned(), id: id.to_owned() })
    }

    /// The token that is meant.
    ///
    /// # Errors
    /// No token can have such a name.
    pub(super) fn token(&self) -> Result<Name, InvalidName> {
        self.id.strip_prefix(TELEGRAF).unwrap_or(&self.id).parse()
    }
}

fn is_hexadecimal(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_of_a_unit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn systemd_names_the_unit_and_the_credential() {
        for (address, unit, id, token) in [
            (
                "7ef34a1cb22a5580/unit/telegraf.service/telegraf.edge_writer",
                "telegraf.service",
                "telegraf.edge_writer",
                Some("edge_writer"),
            ),
            ("0/unit/a.service/edge_writer", "a.service", "edge_writer", Some("edge_writer")),
            (r"f/unit/tmpl@in\x2dst.service/t", r"tmpl@in\x2dst.service", "t", Some("t")),
            ("a/unit/var-lib.mount/telegraf", "var-lib.mount", "telegraf", Some("telegraf")),
            ("a/unit/a.service/telegraf.telegraf.t", "a.service", "telegraf.telegraf.t", None),
            ("a/unit/a.service/telegraf.", "a.service", "telegraf.", None),
            ("a/unit/a.service/edge-writer", "a.service", "edge-writer", None),
            ("a/unit/a.service/other.t", "a.service", "other.t", None),
        ] {
            let claim = Claim::parse(address.as_bytes()).expect(address);
            assert_eq!((claim.unit.as_str(), claim.id.as_str()), (unit, id), "{address}");
            assert_eq!(claim.token().ok(), token.map(|name| name.parse().expect("a name")), "{address}");
        }
    }

    #[test]
    fn what_systemd_does_not_say_is_no_claim() {
        let long = format!("a/unit/{}/t", "u".repeat(MAX_UNIT + 1));
        for address in [
            "",
            "/",
            "///",
            "a/unit/a.service",
            "a/unit/a.service/",
            "a/unit//t",
            "/unit/a.service/t",
            "a/unit/a.service/t/",
            "a/unit/a.service/t/u",
            "a/user/a.service/t",
            "A/unit/a.service/t",
            "x/unit/a.service/t",
            "00000000000000000/unit/a.service/t",
            "a/unit/a service/t",
            "a/unit/a.service/t\0",
            "a/unit/a.service\0/t",
            "a/unit/a.service/t u",
            "a/unit/ä.service/t",
            "a/unit/a*.service/t",
            &long,
        ] {
            assert_eq!(Claim::parse(address.as_bytes()), None, "{address:?}");
        }
        assert_eq!(Claim::parse(b"a/unit/a.service/\xff"), None);
    }

    proptest! {
        #[test]
        fn nothing_that_an_address_can_be_is_a_panic(address in prop::collection::vec(any::<u8>(), 0..108)) {
            let _parsed = Claim::parse(&address).map(|claim| claim.token());
        }

        #[test]
        fn a_claim_is_what_was_said_and_nothing_around_it(
            random in 0..=u64::MAX, unit in "[a-zA-Z0-9:_.@\\\\-]{1,60}", id in "[!-.0-~]{1,30}",
        ) {
            let claim = Claim::parse(format!("{random:x}/unit/{unit}/{id}").as_bytes());
            prop_assert_eq!(claim, Some(Claim { unit, id }));
        }
    }
}
