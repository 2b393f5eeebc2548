//! The PROXY protocol over real sockets: both our ends, HAProxy and nginx before our server and behind our client,
//! what each of them saw as the source, and what it is called when one end alone speaks it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::{Server, World, free_ports, number, result_in, scrape, until};
use real::{Place, Real, STDOUT, daemon, nginx};
use rustix::process::Signal;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;
#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "common/real.rs"]
mod real;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const VERSIONS: [&str; 2] = ["v1", "v2"];

/// Messages by schedule, short connections and a sweep.
const TRAFFIC: [&str; 7] = ["--message-every", "1s", "--hold", "2s", "--churn", "30/s", "--sweep"];

/// A run to its end: its exit status and its result.
fn run(world: &World, target: &str, flags: &[&str]) -> (Option<i32>, Value) {
    let finished = world.client_to(target, flags).finish();
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:#?}");
    (finished.code, world.result())
}

/// Whether all were established, held, verified and swept, and short ones beside them.
fn is_met((code, result): &(Option<i32>, Value), connections: u64) {
    assert_eq!((*code, number(result, "established")), (Some(0), connections), "{result:#}");
    let plateau = &result["plateaus"][0];
    let messages = &plateau["messages"];
    assert!(number(messages, "sent") >= connections, "{messages:#}");
    assert_eq!(messages["sent"], messages["received"], "{messages:#}");
    let churn = &plateau["churn"];
    assert!(number(churn, "completed") > 20, "{churn:#}");
    assert_eq!(churn["completed"], churn["started"], "{churn:#}");
    assert_eq!(plateau["sweep"]["answered"], connections, "{plateau:#}");
}

/// One of our servers, at 127.0.0.1.
fn world(flags: &[&str]) -> World {
    World::with(LOOPBACK, 1, "100ms", flags)
}

#[test]
fn both_ends_speak_both_versions_below_every_layer() {
    let layers: [(&str, &str, &[&str], &[&str]); 4] = [
        ("tcp", "1000", &[], &[]),
        ("ws", "1000", &["--websocket"], &[]),
        ("tls", "200", &["--tls-self-signed"], &["--tls-insecure"]),
        ("wss", "200", &["--tls-self-signed", "--websocket"], &["--tls-insecure"]),
    ];
    for (scheme, connections, serve, more) in layers {
        let world = world(&[&["--proxy-protocol"], serve].concat());
        let target = format!("{scheme}://{}", world.server.address);
        for version in VERSIONS {
            let flags = ["--proxy-protocol", version, "--connections", connections];
            let met = run(&world, &target, &[&flags[..], &TRAFFIC, more].concat());
            is_met(&met, connections.parse().expect("a number"));
        }
    }
}

#[test]
fn both_ends_speak_it_over_ipv6() {
    let world = World::with(Ipv6Addr::LOCALHOST.into(), 1, "100ms", &["--proxy-protocol"]);
    for version in VERSIONS {
        let flags = ["--proxy-protocol", version, "--connections", "200"];
        let target = world.server.address.to_string();
        is_met(&run(&world, &target, &[&flags[..], &TRAFFIC].concat()), 200);
    }
}

/// A server that speaks first waits for the header, and one that says nothing is sent one as well.
#[test]
fn pushes_sinks_and_scripts_come_behind_a_header() {
    let banner = ["--mode", "push", "--push-every", "200ms", "--banner", "hi"];
    let expect = ["--expect", "push", "--push-every", "200ms", "--banner", "hi"];
    let hello = ["--hello", "hello\\n", "--hello-answer", "hello\\n", "--message", "a{n}"];
    let cases: [(&[&str], &[&str]); 3] = [
        (&banner, &expect),
        (&["--mode", "sink"], &["--expect", "nothing", "--message-every", "500ms"]),
        (&[], &[&hello[..], &["--answer", "a{any:10}", "--message-every", "500ms"]].concat()),
    ];
    for (serve, expect) in cases {
        let world = world(&[&["--proxy-protocol"], serve].concat());
        let target = world.server.address.to_string();
        for version in VERSIONS {
            let flags = ["--proxy-protocol", version, "--connections", "1000", "--hold", "2s"];
            let (code, result) = run(&world, &target, &[&flags[..], expect].concat());
            assert_eq!((code, number(&result, "established")), (Some(0), 1_000), "{result:#}");
            let plateau = &result["plateaus"][0];
            let (sent, pushed) =
                (number(&plateau["messages"], "sent"), &plateau["pushes"]["received"]);
            assert!(sent > 1_000 || pushed.as_u64() > Some(5_000), "{plateau:#}");
        }
    }
}

/// What one end alone speaks has a wall, and a fix that has the flag.
#[test]
fn a_header_of_one_end_alone_is_named() {
    let (plain, awaits) = (world(&[]), world(&["--proxy-protocol"]));
    let asked = ["--connections", "20", "--hold", "0s"];
    let seen = |world: &World, target: &str, flags: &[&str]| {
        let flags = [&asked[..], flags].concat();
        let (code, result) = run(world, &format!("{target}{}", world.server.address), &flags);
        assert_eq!(code, Some(1), "{result:#}");
        let wall = &result["verdict"]["wall"];
        assert!(wall["fix"].to_string().contains("--proxy-protocol"), "{wall:#}");
        wall["id"].as_str().unwrap_or_default().to_owned()
    };
    for version in VERSIONS {
        let header = ["--proxy-protocol", version];
        assert_eq!(seen(&plain, "tcp://", &header), "other-protocol");
        assert_eq!(seen(&plain, "ws://", &header), "opening-refused");
        let tls = [&header[..], &["--tls-insecure"]].concat();
        assert_eq!(seen(&plain, "tls://", &tls), "tls-handshake");
    }
    assert_eq!(seen(&awaits, "tcp://", &[]), "malformed");
    assert_eq!(seen(&awaits, "ws://", &[]), "malformed");
    assert_eq!(seen(&awaits, "tls://", &["--tls-insecure"]), "malformed");
    let unseen = ["--server-metrics", "none"];
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let target = format!("ws://{}", awaits.server.address);
    let flags = [&["run", "--target", &target, "--out", out], &asked[..], &unseen].concat();
    common::Program::start(&mut common::client(&flags)).finish();
    let wall = &result_in(directory.path())["verdict"]["wall"];
    assert_eq!(wall["id"], "opening-unanswered", "{wall:#}");
    assert!(wall["fix"].to_string().contains("--proxy-protocol"), "{wall:#}");
}

// ---- HAProxy and nginx ------------------------------------------------------------------------

const CONNECTIONS: &str = "1000";

fn server(flags: &[&str]) -> Server {
    let cores = common::cores(1);
    let flags = [&["--cores", &cores, "--metrics", "127.0.0.1:0"], flags].concat();
    Server::start(&common::server_binary(), LOOPBACK, 1, &flags)
}

/// A run to its end, against any server.
fn run_to(target: SocketAddr, flags: &[&str]) -> (Option<i32>, Value) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let (target, cores) = (target.to_string(), common::cores(1));
    let always = ["run", "--target", &target, "--cores", &cores, "--out", out];
    let always = [&always[..], &["--connections", CONNECTIONS], &TRAFFIC].concat();
    let finished = common::Program::start(&mut common::client(&[&always, flags].concat())).finish();
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:#?}");
    (finished.code, result_in(directory.path()))
}

/// Our server took every header that came.
fn took_all(server: &Server) {
    let metrics = scrape(server.program.metrics());
    let malformed = |line: &&str| line.starts_with("megaconn_malformed_total");
    let counts: Vec<&str> = metrics.lines().filter(malformed).collect();
    assert!(!counts.is_empty() && counts.iter().all(|line| line.ends_with(" 0")), "{counts:?}");
}

/// HAProxy, whose section listens at the place, and at `behind` what it passes the place's connections to.
fn haproxy(place: Place, sections: &str) -> Option<Real> {
    let text = format!(
        "global\n maxconn 2500\n log stdout format raw local0\n\
         defaults\n mode tcp\n log global\n maxconn 1200\n \
         timeout connect 5s\n timeout client 1m\n timeout server 1m\n{sections}"
    );
    let conf = place.write("conf", &text);
    Real::start(&daemon("haproxy"), Signal::TERM, place, &["-db", "-f", &conf])
}

#[test]
fn haproxy_stands_before_our_server() {
    let server = server(&["--proxy-protocol"]);
    for send in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"] {
        let place = Place::new();
        let (address, behind) = (place.address, server.address);
        let sections = format!(
            "listen before\n bind {address}\n unique-id-format %ci-%cp\n server us {behind} {send}\n"
        );
        let Some(_real) = haproxy(place, &sections) else { return };
        is_met(&run_to(address, &[]), 1_000);
        took_all(&server);
    }
}

/// The connections of the client come to it from another address, that of a section before, so that the one in its log
/// is of the header.
#[test]
fn haproxy_stands_behind_our_client() {
    let server = server(&[]);
    for version in VERSIONS {
        let place = Place::new();
        let (address, awaits) = (place.address, free_ports(LOOPBACK, 1));
        let sections = format!(
            "listen relay\n bind {address}\n no log\n server awaits {awaits}\n\
             listen awaits\n bind {awaits} accept-proxy\n log-format \"saw %ci %fi:%fp\"\n \
             server us {}\n",
            server.address
        );
        let Some(real) = haproxy(place, &sections) else { return };
        is_met(&run_to(address, &["--proxy-protocol", version]), 1_000);
        saw_all(|| real.wrote(STDOUT), address);
    }
}

/// A header that says who connects, as both kinds of log have it: `saw SOURCE TARGET:PORT`, and the client connects from
/// 127.0.0.2 on.
fn saw_all(log: impl Fn() -> String, target: SocketAddr) {
    let expected = target.to_string();
    let count = |log: &str| {
        let seen = log.lines().filter_map(|line| line.strip_prefix("saw ")?.split_once(' '));
        let ours = seen.filter(|(source, _)| *source != "127.0.0.1");
        ours.filter(|(source, target)| source.starts_with("127.") && *target == expected).count()
    };
    until("each connection is in the log, with what its header said", || count(&log()) >= 1_000);
    let log = log();
    let sources: BTreeSet<&str> =
        log.lines().filter_map(|line| line.strip_prefix("saw ")?.split(' ').next()).collect();
    assert!(sources.contains("127.0.0.2"), "{sources:?}");
}

/// nginx passes a stream on; `server` is what stands in its section.
fn passing_on(place: Place, server: &str) -> Option<Real> {
    let stream = format!(
        "log_format saw 'saw $proxy_protocol_addr $proxy_protocol_server_addr:$proxy_protocol_server_port';\n\
         access_log off;\n server {{ listen {}{server} }}",
        place.address
    );
    nginx(place, "warn", &stream)
}

#[test]
fn nginx_stands_before_our_server() {
    let server = server(&["--proxy-protocol"]);
    let place = Place::new();
    let address = place.address;
    let section = format!("; proxy_pass {}; proxy_protocol on;", server.address);
    let Some(_real) = passing_on(place, &section) else { return };
    is_met(&run_to(address, &[]), 1_000);
    took_all(&server);
}

#[test]
fn nginx_stands_behind_our_client() {
    let server = server(&[]);
    for version in VERSIONS {
        let place = Place::new();
        let address = place.address;
        let log = place.directory.path().join("saw").display().to_string();
        let section =
            format!(" proxy_protocol; proxy_pass {}; access_log {log} saw;", server.address);
        let Some(real) = passing_on(place, &section) else { return };
        is_met(&run_to(address, &["--proxy-protocol", version]), 1_000);
        saw_all(|| real.wrote("saw"), address);
    }
}
