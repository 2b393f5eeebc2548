//! Counts this network namespace's connections in every way there is and says what each one takes:
//! `cargo run --release --example count -- 127.0.0.1:7000-7015`, while `million.sh` holds.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use megaconn::base::endpoints::Endpoints;
use megaconn::host::procfs::ProcFs;
use megaconn::host::sockets::{self, Sockstat};

/// Times that each count is taken.
const TIMES: usize = 9;

fn main() {
    let targets: Vec<SocketAddr> = std::env::args()
        .skip(1)
        .flat_map(|text| text.parse::<Endpoints>().expect("ADDR:PORT[-PORT]").each())
        .collect();
    println!("{:44} {:>10} {:>10} {:>10}", "", "count", "median ms", "most ms");
    let procfs = ProcFs::host();
    let sums = || Sockstat::read(&procfs);
    show("sockstat: TCP sockets over IPv4", || sums().tcp_in_use);
    show("sockstat: in TIME_WAIT", || sums().tcp_time_wait);
    let at = |port| targets.iter().any(|target| target.port() == port);
    show("sock_diag: listeners at the targets' ports", || {
        sockets::listeners(at).map(|found| found.len() as u64)
    });
    show("sock_diag: in TIME_WAIT to the targets", || sockets::time_wait_to(&targets));
    if let Some(first) = targets.first() {
        let port = Some(first.port());
        show("sock_diag: established at the first port", || sockets::established_at(port));
    }
    show("sock_diag: all established", || sockets::established_at(None));
}

fn show(what: &str, count: impl Fn() -> Option<u64>) {
    let mut counted = None;
    let mut took: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let began = Instant::now();
            counted = count();
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    let ms = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1e3);
    let counted = counted.map_or_else(|| "not told".to_owned(), |count| count.to_string());
    println!("{what:44} {counted:>10} {:>10} {:>10}", ms(took[TIMES / 2]), ms(took[TIMES - 1]));
}
