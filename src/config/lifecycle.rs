//! `[lifecycle]`.

use std::{sync::Arc, time::Duration};

use super::{
    bounds::{self, duration},
    probe::probe,
    section::{Located, Section},
};
use crate::{
    duration::render,
    model::{Lifecycle, Probe},
};

/// What holds for tokens without such a key of their own.
pub(super) struct TokenDefaults {
    pub(super) lifetime: Option<Located<Duration>>,
    pub(super) probe: Option<Arc<Probe>>,
}

pub(super) fn lifecycle(root: &mut Section<'_>) -> (Lifecycle, TokenDefaults) {
    let mut lifecycle = Lifecycle::default();
    let mut defaults = TokenDefaults { lifetime: None, probe: Some(Arc::default()) };
    let Some(mut section) = root.section("lifecycle") else { return (lifecycle, defaults) };
    defaults.lifetime = duration(&mut section, &bounds::LIFETIME);
    if let Some(Located { value, .. }) = duration(&mut section, &bounds::OVERLAP) {
        lifecycle.overlap = value;
    }
    if let Some(Located { value, span }) = duration(&mut section, &bounds::OVERLAP_CAP) {
        if value < lifecycle.overlap {
            let least = render(lifecycle.overlap);
            let what = format!("is shorter than overlap: expected at least {least}");
            section.faults.add(span, &section.key("overlap_cap"), what);
        }
        lifecycle.overlap_cap = Some(value);
    }
    if let Some(Located { value, .. }) = duration(&mut section, &bounds::GRACE) {
        lifecycle.grace = value;
    }
    lifecycle.trust_local_clock = section.choice("local_clock", &[("trusted", true)]).unwrap_or(false);
    if let Some(probe) = probe(&mut section, defaults.probe.as_deref()) {
        defaults.probe = probe.map(Arc::new);
    }
    section.finish();
    (lifecycle, defaults)
}
