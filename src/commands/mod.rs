//! The commands of `megaconn`, a file or folder each.

pub(crate) mod answer;
pub(crate) mod broadcast;
pub(crate) mod cli;
pub(crate) mod doctor;
pub(crate) mod measure;
pub(crate) mod merge;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod top;
