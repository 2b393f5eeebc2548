//! `environment.json`: what the figures were taken on.

use serde::{Deserialize, Serialize};

use crate::results::lenient::{List, Map, Maybe};

/// The host, its limits and how the client was called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// [`crate::results::ENVIRONMENT`]'s.
    pub schema: Maybe<String>,
    /// Of the client.
    pub version: Maybe<String>,
    /// The commit the client was built from.
    pub commit: Maybe<String>,
    /// Its release.
    pub kernel: Maybe<String>,
    /// The hardware's name.
    pub machine: Maybe<String>,
    /// The processor's name.
    pub cpu_model: Maybe<String>,
    /// CPUs that the client may use.
    pub cpus: Maybe<u64>,
    /// All of the host's.
    pub memory_bytes: Maybe<u64>,
    /// What of it was available before the run.
    pub memory_available_bytes: Maybe<u64>,
    /// `/proc/self/limits`, soft and hard limit by name.
    pub limits: Map<String>,
    /// Sysctls that bear on many connections; one that is not there is `null`.
    pub sysctls: Map<Maybe<String>>,
    /// The client's.
    pub command_line: List<String>,
    /// Of the client.
    pub user_id: Maybe<u64>,
    /// `loopback`, `netns` or `remote`.
    pub topology: Maybe<String>,
}
