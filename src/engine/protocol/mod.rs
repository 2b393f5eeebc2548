//! What bytes mean.

pub mod message;
