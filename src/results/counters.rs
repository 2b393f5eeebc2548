//! `counters.json`: what both kernels counted before the run, at the end of each plateau and after.

use serde::{Deserialize, Serialize};

use crate::host::counters::Counters;
use crate::results::lenient::{List, Maybe, Part};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moments {
    /// [`crate::results::COUNTERS`]'s.
    pub schema: Maybe<String>,
    /// In the order of time.
    pub moments: List<Moment>,
}

/// The counters at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moment {
    /// `before`, `plateau of N` or `after`.
    pub at: Maybe<String>,
    /// Of the client's host.
    pub client: Part<Counters>,
    /// `null` when the server's metrics address was not given, or did not answer.
    pub server: Maybe<Counters>,
}
