//! A client that hardly gets a CPU: what it does ends by the clock all the same.

use std::time::{Duration, Instant};

use lab::host::{Cage, ControlGroup, Scene};
use lab::netns::Sight;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;

/// Of what a starved client does after the end of a hold: close, and write its report.
const REST: Duration = Duration::from_secs(20);

#[test]
fn a_hold_ends_by_the_clock_with_a_tenth_of_a_cpu() {
    let Some(group) = ControlGroup::cpu(10) else { return };
    let Some(scene) = Scene::new(Sight::With, &Cage::open(), &[]) else { return };
    for _ in 0..3 {
        // More messages than a tenth of a CPU sends.
        let flags = ["--connections", "300", "--hold", "3s", "--message-every", "20ms"];
        let mut client = scene.client(&Cage::open().group(&group), &flags);
        assert!(client.says("holding"), "{:#?}", client.finish());
        let begun = Instant::now();
        let run = scene.end(client);
        let took = begun.elapsed();
        let held = run.result["plateaus"][0]["hold_seconds"].as_f64().expect("it was held");
        assert!((2.9..6.0).contains(&held), "a hold of 3 s took {held} s: {run:#?}");
        assert!(took < Duration::from_secs(3) + REST, "it ended after {took:?}: {run:#?}");
        assert_eq!(run.result["established"], 300, "{run:#?}");
    }
}
