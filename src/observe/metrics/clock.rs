//! Which time it is by the wall clock of a process that gives its figures, for those who have to know how far clocks are
//! apart.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::base::clock::microseconds;
use crate::base::moments::wall_clock;
use crate::observe::metrics::PREFIX;

/// Its name, behind the prefix.
const NAME: &str = "wall_clock_us";

/// Adds it, as it is now.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Microseconds since 1970 by the wall clock of this host, when this was written.";
    let now_us = microseconds(wall_clock());
    encoder.encode_descriptor(NAME, help, None, MetricType::Gauge)?.encode_gauge(&now_us)
}

/// What a text says of it.
#[must_use]
pub fn of_text(text: &str) -> Option<u64> {
    let name = format!("{PREFIX}_{NAME}{{");
    let line = text.lines().find(|line| line.starts_with(&name))?;
    line.rsplit(' ').next()?.parse().ok()
}
