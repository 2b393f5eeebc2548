//! `--tls-resume`: handshakes that are resumed are counted, and the server sees them so.

use std::net::{Ipv4Addr, TcpStream};

use common::{World, number, result_in, until};
use openssl::{Running, openssl, pair};
use real::{Place, Real, daemon};
use rustix::process::Signal;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;
#[path = "common/openssl.rs"]
mod openssl;
#[path = "common/real.rs"]
#[expect(dead_code, reason = "this file needs only a part of it")]
mod real;

/// A run of one core that is met; its result.
fn run(target: &str, flags: &[&str]) -> Value {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let cores = common::cores(1);
    let always = ["run", "--target", target, "--cores", &cores, "--out", out];
    let finished =
        common::Program::start(&mut common::client(&[&always[..], flags].concat())).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    result_in(directory.path())
}

/// Full and resumed handshakes of the connections that are held, or of the short ones.
fn handshakes(result: &Value, part: &str) -> [u64; 2] {
    let handshakes = &result["plateaus"][0][part]["handshakes"];
    assert!(handshakes["rate_per_s"].as_f64() > Some(0.0), "{result:#}");
    ["full", "resumed"].map(|kind| number(handshakes, kind))
}

#[test]
fn our_server_resumes_what_had_a_ticket() {
    let loopback = Ipv4Addr::LOCALHOST.into();
    for (tickets, least) in [(&["--tls-tickets"][..], 1), (&[], 0)] {
        let world = World::with(loopback, 1, "100ms", &[&["--tls-self-signed"], tickets].concat());
        let target = format!("tls://{}", world.server.address);
        // Held connections begin one after the other, and then in a burst.
        let flags = ["--tls-insecure", "--tls-resume", "--hold", "2s", "--churn", "100/s"];
        let load = ["--connections", "200", "--rate", "100/s", "--message-every", "1s"];
        let result = run(&target, &[&flags[..], &load].concat());
        let (held, short) = (handshakes(&result, "connect"), handshakes(&result, "churn"));
        assert_eq!(held[0] + held[1], 200, "{held:?}");
        assert!(short[0] + short[1] > 150, "{short:?}");
        if least == 0 {
            assert_eq!([held[1], short[1]], [0, 0], "the server gave no ticket");
        } else {
            assert!(held[0] < 50 && short[0] == 0, "{held:?} {short:?}");
        }
    }
}

/// Connections that all begin at once, after a few: there are not as many tickets, and the last one serves again.
#[test]
fn a_burst_is_resumed_too_and_without_the_flag_nothing_is() {
    let flags = ["--tls-self-signed", "--tls-tickets"];
    let world = World::with(Ipv4Addr::LOCALHOST.into(), 1, "100ms", &flags);
    let target = format!("tls://{}", world.server.address);
    let burst = ["--connections", "5,400", "--hold", "500ms", "--tls-insecure"];
    let result = run(&target, &[&burst[..], &["--tls-resume"]].concat());
    let second = &result["plateaus"][1]["connect"]["handshakes"];
    assert_eq!((number(second, "full"), number(second, "resumed")), (0, 395), "{result:#}");
    let result = run(&target, &burst);
    let second = &result["plateaus"][1]["connect"]["handshakes"];
    assert_eq!((number(second, "full"), number(second, "resumed")), (395, 0), "{result:#}");
}

/// openssl serves one connection after the other. A certificate goes out in a full handshake alone.
#[test]
fn openssl_sees_sessions_that_are_reused() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let [certificate, key] = pair(place.path());
    let messages = place.path().join("messages");
    let file = messages.to_str().expect("temporary names are plain");
    for (version, more) in [
        ("-tls1_2", &[][..]),
        ("-tls1_2", &["-no_ticket"]),
        ("-tls1_3", &[]),
        // Where it guards against early data that is sent again, it takes each ticket once.
        ("-tls1_3", &["-max_early_data", "16384"]),
    ] {
        let address = common::free_ports(Ipv4Addr::LOCALHOST.into(), 1);
        let listen = address.to_string();
        let words = ["s_server", "-accept", &listen, version, "-cert", &certificate, "-key", &key];
        let words = [&words[..], &["-rev", "-quiet", "-msg", "-msgfile", file], more].concat();
        let server = Running(openssl(&words).spawn().expect("openssl is there"));
        until("it listens", || TcpStream::connect(address).is_ok());
        let target = format!("tls://{address}");
        let flags = ["--tls-ca", &certificate, "--tls-resume", "--churn", "5/s", "--hold", "2s"];
        let script = ["--message", "hello\\n", "--answer", "olleh\\n"];
        let result = run(&target, &[&flags[..], &script].concat());
        let [full, resumed] = handshakes(&result, "churn");
        assert!(full == 1 && resumed >= 7, "{version} {more:?}: {full} {resumed}");
        let said = std::fs::read_to_string(&messages).expect("openssl writes it");
        let seen = |what: &str| said.lines().filter(|line| line.ends_with(what)).count() as u64;
        let expected = [full, full + resumed];
        assert_eq!([seen(", Certificate"), seen(", ServerHello")], expected, "{version} {more:?}");
        drop(server);
    }
}

fn nginx(place: Place, pair: &[String; 2], version: &str) -> Option<Real> {
    let own = place.directory.path().to_str().expect("temporary names are plain").to_owned();
    let names = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = names.map(|name| format!("{name}_temp_path {own}/{name};")).join(" ");
    let [certificate, key] = pair;
    let text = format!(
        "daemon off; master_process off; pid {own}/pid; error_log {own}/log warn;\n\
         events {{ worker_connections 1000; }}\n\
         http {{ {paths} log_format reused '$ssl_protocol $ssl_session_reused';\n\
         access_log {own}/reused reused;\n\
         server {{ listen {} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
         ssl_protocols {version}; ssl_session_cache shared:s:1m;\n\
         location / {{ return 200 \"hello\\n\"; }} }} }}\n",
        place.address
    );
    let conf = place.write("conf", &text);
    Real::start(&daemon("nginx"), Signal::TERM, place, &["-p", &own, "-c", &conf])
}

#[test]
fn nginx_sees_sessions_that_are_reused() {
    let files = tempfile::tempdir().expect("there is a place for temporary files");
    let pair = pair(files.path());
    for version in ["TLSv1.2", "TLSv1.3"] {
        let Some(server) = nginx(Place::new(), &pair, version) else { return };
        let target = format!("tls://127.0.0.1:{}", server.port);
        let flags = ["--tls-ca", &pair[0], "--tls-resume", "--churn", "50/s", "--hold", "2s"];
        let ask = ["--message", "GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"];
        let answer = ["--answer", "HTTP/1.1 200{any}\\r\\n\\r\\nhello\\n"];
        let result = run(&target, &[&flags[..], &ask, &answer].concat());
        let [full, resumed] = handshakes(&result, "churn");
        assert!(full <= 3 && resumed > 70, "{version}: {full} {resumed}");
        let log = server.wrote("reused");
        let seen = |what: &str| log.matches(&format!("{version} {what}\n")).count() as u64;
        assert_eq!([seen("."), seen("r")], [full, resumed], "{version}: {log}");
    }
}
