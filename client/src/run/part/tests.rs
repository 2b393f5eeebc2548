//! Parts as they are typed, and as schedulers say them.
