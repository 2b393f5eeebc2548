//! The walls: every limit that stops or disturbs many connections, one row each.
//!
//! A row says what the wall limits, how to read it, what a plan needs of it, what betrays it while
//! a run goes, and what lifts it. The table has three readers: `megaconn plan` and `megaconn doctor`
//! before a run ([`reading`]), and the verdict after it ([`diagnosis`]). To add a wall, add a row to
//! one of the files of [`table`], and nothing else.

pub mod absence;
pub mod diagnosis;
pub mod doctor;
pub mod evidence;
pub mod fix;
pub mod have;
pub mod host;
mod look;
pub mod obsolete;
pub mod of_server;
pub mod pattern;
pub mod place;
pub mod present;
pub mod reading;
pub mod remedy;
pub mod run_facts;
pub mod sign;
pub mod symptom;
pub mod table;
mod unexplained;
pub mod wall;
