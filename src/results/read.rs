//! A JSON file of a run directory, read as far as it can be.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::results::lenient::plausible;

/// Why nothing of a file can be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON, or not all of it.
    #[error("is not whole ({0})")]
    NotWhole(serde_json::Error),
    /// It does not say what it is.
    #[error("has no schema")]
    NoSchema,
    /// It is of another schema, which is this.
    #[error("is of another schema, {0:?}")]
    OtherSchema(String),
    /// It is of the schema, and of another shape.
    #[error("is not as it should be ({0})")]
    OtherShape(serde_json::Error),
}

/// The file of `schema` that has these bytes. Values of it that are not as they should be are
/// missing.
///
/// # Errors
/// When the file is no whole JSON, or not of `schema`.
pub fn json<T: DeserializeOwned>(bytes: &[u8], schema: &str) -> Result<T, Unreadable> {
    let value: Value = serde_json::from_slice(bytes).map_err(Unreadable::NotWhole)?;
    match value.get("schema").and_then(Value::as_str) {
        Some(found) if found == schema => {}
        Some(found) => return Err(Unreadable::OtherSchema(found.to_owned())),
        None => return Err(Unreadable::NoSchema),
    }
    T::deserialize(plausible(value)).map_err(Unreadable::OtherShape)
}
