//! How a run is shown and kept: the summary, the progress line, the run directory.

pub(crate) mod directory;
pub(crate) mod histograms;
pub(crate) mod notes;
pub(crate) mod progress;
pub(crate) mod result;
pub(crate) mod summary;

#[cfg(test)]
mod written;
