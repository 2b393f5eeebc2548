//! Any bytes as a simulated world around the server's shard: the first two say what kind of world it
//! is, each of the others is one decision of it: which peer acts when, what fails, in which order answers
//! come. The tests' own worlds know seeds only; here an order is searched for.
//!
//! The simulator asserts every rule that a shard could break, and the tests' world compares the
//! books after every turn; at the end all peers leave, and nothing may be left.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "the test needs more of it")]
#[path = "../../tests/world/mod.rs"]
mod world;

fuzz_target!(|bytes: &[u8]| {
    if let Some((seed, script)) = bytes.split_first_chunk() {
        world::World::scripted(u16::from_le_bytes(*seed).into(), None, script).run();
    }
});
