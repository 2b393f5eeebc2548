//! Parts that are made up, merged.
