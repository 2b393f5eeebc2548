//! What a run that a signal stops tells: one count of connections, and the verdict of what there is.
//! Rows A10 and A13 of the faults.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use common::{Program, World, client, cores, number, result_in, sum};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

#[test]
fn stopped_while_it_opens_a_run_has_one_count() {
    let world = World::on_loopback();
    let mut client = world.client(&["--connections", "60k", "--rate", "20k/s", "--hold", "10m"]);
    assert!(client.says("metrics="), "{:#?}", client.finish());
    thread::sleep(Duration::from_millis(900));
    client.signal(Signal::INT);
    let finished = client.finish();
    assert_eq!(finished.code, Some(130), "{finished:#?}");
    let result = world.result();
    let plateau = &result["plateaus"][0];
    let established = number(&result, "established");
    assert!(established > 0 && established < 60_000, "{result:#}");
    assert_eq!(number(plateau, "established"), established, "{result:#}");
    let untried = number(&result, "untried");
    assert_eq!(established + untried + sum(&result["failed"]) + sum(&result["lost"]), 60_000);
    assert!(result["verdict"]["wall"].is_null(), "nothing was lost: {}", result["verdict"]);
    assert_eq!(result["notes"]["verdict.wall"], "nothing was lost until the run ended");
}

#[test]
fn what_was_lost_before_a_signal_has_its_wall() {
    // Its queue is full with the look at the target; what comes then has no answer.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    full.bind(&SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0).into()).expect("some port is free");
    full.listen(0).expect("it is bound");
    let target = full.local_addr().expect("it is bound").as_socket().expect("it is of IPv4");
    let out = tempfile::tempdir().expect("there is a place for temporary files");
    let place = out.path().to_str().expect("temporary names are plain");
    let (cores, to) = (cores(1), target.to_string());
    let flags = ["--connections", "100", "--connects-in-flight", "16", "--cores", &cores];
    let flags = [&["run", "--target", &to, "--out", place][..], &flags].concat();
    let mut client = Program::start(&mut client(&flags));
    assert!(client.says("metrics="), "{:#?}", client.finish());
    thread::sleep(Duration::from_millis(11_000));
    client.signal(Signal::INT);
    let finished = client.finish();
    assert_eq!(finished.code, Some(130), "{finished:#?}");
    let result = result_in(out.path());
    assert!(sum(&result["failed"]) > 0, "{result:#}");
    let wall = &result["verdict"]["wall"];
    assert!(wall["id"].is_string() && number(wall, "lost") > 0, "{:#}", result["verdict"]);
    assert_eq!(number(wall, "lost"), sum(&result["failed"]), "what was not tried was not lost");
}
