//! nginx and HAProxy as ends of TLS: before our server they are its clients, and behind our client its servers.

use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;

use crate::common::until;
use crate::lab::host::skipped;
use crate::real::{Place, Real, STDOUT, daemon, nginx};
use crate::tls::{VERSIONS, meets, tls_server, wants_certificates};
use crate::{CONNECTIONS, Papers, is_met, run, server};

/// What a proxy is asked to do.
struct Case<'a> {
    papers: &'a Papers,
    version: &'a str,
    is_mutual: bool,
    /// What it passes connections on to.
    behind: SocketAddr,
}

/// Starts a proxy; `None` where it is missing.
type Start = fn(Place, &Case) -> Option<Real>;

/// A line of its configuration, where a certificate is shown or wanted.
fn if_mutual(case: &Case, line: String) -> String {
    if case.is_mutual { line } else { String::new() }
}

// ---- at our server ------------------------------------------------------------------------

/// Held and short connections by a proxy that speaks TLS to our server: it shows its certificate where that is wanted, and
/// comes again with its tickets where it has some. `resumed` counts them in what it has written.
fn stands_before_our_server(start: Start, resumed: fn(&Real) -> usize) {
    let Some(papers) = Papers::new() else { return };
    let plain = tls_server(&papers, &[]);
    let mutual = tls_server(&papers, &wants_certificates(&papers));
    let resuming = tls_server(&papers, &["--tls-tickets"]);
    for version in VERSIONS {
        for (server, is_mutual, is_resumed) in
            [(&plain, false, false), (&mutual, true, false), (&resuming, false, true)]
        {
            let place = Place::new();
            let address = place.address.to_string();
            let case = Case { papers: &papers, version, is_mutual, behind: server.address };
            let Some(real) = start(place, &case) else { return };
            let flags = ["--connections", CONNECTIONS, "--message-every", "300ms", "--hold", "2s"];
            let met = run(&address, &[&flags[..], &["--churn", "30/s"]].concat());
            is_met(&met);
            let churn = &met.1["plateaus"][0]["churn"];
            assert_eq!(churn["completed"], churn["started"], "{churn:#}");
            if is_resumed {
                until("short connections are resumed", || resumed(&real) > 20);
            } else {
                assert_eq!(resumed(&real), 0, "{version}");
            }
        }
    }
}

#[test]
fn haproxy_stands_before_our_server_in_tls() {
    stands_before_our_server(
        |place, case| {
            let Case { papers, version, behind, .. } = case;
            let crt = if_mutual(case, format!("crt {}", papers.client.both));
            let section = format!(
                "bind {}\n log-format \"tls %[ssl_bc_protocol] %[ssl_bc_is_resumed]\"\n \
                 server us {behind} ssl ca-file {} verify required verifyhost localhost \
                 ssl-min-ver TLSv{version} ssl-max-ver TLSv{version} {crt}",
                place.address, papers.authority
            );
            haproxy(place, &section)
        },
        |real| real.wrote(STDOUT).lines().filter(|line| line.ends_with(" 1")).count(),
    );
}

#[test]
fn nginx_stands_before_our_server_in_tls() {
    // Its debug log alone says what is resumed.
    let built = Command::new(daemon("nginx")).arg("-V").output();
    if !built.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("--with-debug")) {
        return skipped("nginx with a debug log; fix: apt-get install nginx-light");
    }
    stands_before_our_server(
        |place, case| {
            let Case { papers, version, behind, .. } = case;
            let own = if_mutual(
                case,
                format!(
                    "proxy_ssl_certificate {}; proxy_ssl_certificate_key {};",
                    papers.client.certificate, papers.client.key
                ),
            );
            let section = format!(
                "listen {}; proxy_pass {behind}; proxy_ssl on; proxy_ssl_protocols TLSv{version}; \
                 proxy_ssl_verify on; proxy_ssl_trusted_certificate {}; proxy_ssl_name localhost; {own}",
                place.address, papers.authority
            );
            nginx(place, "debug", &format!("server {{ {section} }}"))
        },
        |real| real.wrote("errors").matches("SSL reused session").count(),
    );
}

// ---- at our client ------------------------------------------------------------------------

fn stands_behind_our_client(start: Start) {
    let Some(papers) = Papers::new() else { return };
    let server = server(&[]);
    for version in VERSIONS {
        for is_mutual in [false, true] {
            let place = Place::new();
            let address = place.address;
            let case = Case { papers: &papers, version, is_mutual, behind: server.address };
            let Some(_real) = start(place, &case) else { return };
            meets(address, &papers, is_mutual, &[]);
        }
    }
}

#[test]
fn haproxy_stands_behind_our_client_in_tls() {
    stands_behind_our_client(|place, case| {
        let Case { papers, version, behind, .. } = case;
        let wants = if_mutual(case, format!("ca-file {} verify required", papers.authority));
        let section = format!(
            "bind {} ssl crt {} ssl-min-ver TLSv{version} ssl-max-ver TLSv{version} {wants}\n \
             server us {behind}",
            place.address, papers.server.both
        );
        haproxy(place, &section)
    });
}

#[test]
fn nginx_stands_behind_our_client_in_tls() {
    stands_behind_our_client(|place, case| {
        let Case { papers, version, behind, .. } = case;
        let wants = if_mutual(
            case,
            format!("ssl_verify_client on; ssl_client_certificate {};", papers.authority),
        );
        let section = format!(
            "listen {} ssl; ssl_certificate {}; ssl_certificate_key {}; \
             ssl_protocols TLSv{version}; {wants} proxy_pass {behind};",
            place.address, papers.server.certificate, papers.server.key
        );
        nginx(place, "debug", &format!("server {{ {section} }}"))
    });
}

// ---- starting them ------------------------------------------------------------------------

fn haproxy(place: Place, section: &str) -> Option<Real> {
    let text = format!(
        "global\n maxconn 500\n log stdout format raw local0\n\
         defaults\n mode tcp\n log global\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
         listen tls\n {section}\n"
    );
    let conf = place.write("conf", &text);
    Real::start(&daemon("haproxy"), Signal::TERM, place, &["-db", "-f", &conf])
}
