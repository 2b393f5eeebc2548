//! What every room may use: error numbers, the constants, the time of day, the two sides, units that
//! people type, figures as people read them, and what both `main`s share. It uses no other room.

pub mod cli_support;
pub mod clock;
pub mod command_line;
pub mod constants;
pub mod endpoints;
pub mod errno;
pub mod files;
pub mod format;
pub mod http_words;
pub mod layers;
pub mod moments;
pub mod service_error;
pub mod side;
pub mod stderr;
pub mod stdout;
pub mod text;
pub mod units;
pub mod until;
pub mod wanted;
