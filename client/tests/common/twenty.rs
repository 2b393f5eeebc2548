//! A run of 20 connections, whatever becomes of them.

use std::net::SocketAddr;

use serde_json::Value;

use crate::common::{Finished, Program, client, result_in};

/// 20 connections, and what became of them.
pub(crate) fn run(target: SocketAddr, flags: &[&str]) -> (Finished, Value) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let target = target.to_string();
    let always = ["run", "--target", &target, "--connections", "20", "--out", out];
    let finished = Program::start(&mut client(&[&always, flags].concat())).finish();
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:#?}");
    (finished, result_in(directory.path()))
}
