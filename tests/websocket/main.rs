//! Both ends of WebSocket against RFC 6455: each rule of its sections 4, 5, 7 and 8.1 as a row of a
//! table, bytes cut anywhere, and random sequences of frames.

mod ending;
mod ends;
mod framing;
mod http;
mod random;
mod spoken;
mod table;
mod text;
mod upgrade;
mod wire;
