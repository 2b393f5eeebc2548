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

#[test]
fn stopped_while_it_closes_down_a_plateau_is_in_the_result_as_far_as_it_came() {
    let world = World::on_loopback();
    let mut client = world.client(&["--connections", "5k,100", "--hold", "1s"]);
    assert!(client.says("holding 5,000"), "{:#?}", client.finish());
    // Nothing ends a connection from now on: of the closes each core has its window out, and waits.
    world.server.program.signal(Signal::STOP);
    // The hold, and the look for figures of a server that gives none.
    thread::sleep(Duration::from_secs(6));
    client.signal(Signal::INT);
    let finished = client.finish();
    world.server.program.signal(Signal::CONT);
    assert_eq!(finished.code, Some(130), "{finished:#?}");
    let result = world.result();
    let plateaus = result["plateaus"].as_array().expect("a list");
    assert_eq!(plateaus.len(), 2, "{result:#}");
    assert_eq!(plateaus[0]["cut_short"], false, "{result:#}");
    let last = &plateaus[1];
    assert_eq!((number(last, "connections"), &last["cut_short"]), (100, &true.into()), "{last:#}");
    let (closed, left) = (number(&last["closed"], "connections"), number(last, "established"));
    assert!(closed > 0 && left > 100 && closed + left == 5_000, "{last:#}");
    assert!(last["hold_seconds"].is_null() && sum(&last["lost"]) == 0, "{last:#}");
    assert_eq!((number(&result, "established"), number(&result, "untried")), (5_000, 0));
}
