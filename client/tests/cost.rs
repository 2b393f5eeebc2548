//! What a run says of the memory of a connection, against arithmetic: the kernel's objects of one
//! socket, as its own slab table describes them.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use common::World;
use megaconn::host::procfs::ProcFs;
use megaconn::host::sockets::Sockstat;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Layers of which a socket has one object each, and the slab cache of that.
const ONE_EACH: [(&str, &str); 4] =
    [("tcp", "TCP"), ("inode", "sock_inode_cache"), ("filp", "filp"), ("dentry", "dentry")];

/// How far a fit may be from the arithmetic. Slabs that were half empty before the run, and
/// whatever else the host does, are in it.
const TOLERANCE: f64 = 0.04;

/// Fits of which one must be right.
const TRIES: usize = 8;

/// Sockets are counted on the whole host, so that one of these tests is no other one's noise.
static ALONE: Mutex<()> = Mutex::new(());

/// An object of a slab cache.
#[derive(Debug)]
struct Object {
    bytes: f64,
    /// Its share of a slab, which no object fills whole.
    bytes_in_slab: f64,
}

/// By cache, from the columns that slabinfo(5) names; `None` where that is not for us.
fn objects() -> Option<BTreeMap<String, Object>> {
    let text = fs::read_to_string("/proc/slabinfo").ok()?;
    let object = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
        let page = rustix::param::page_size() as f64;
        let bytes_in_slab = number(5)? * page / number(4)?;
        Some((fields[0].to_owned(), Object { bytes: number(3)?, bytes_in_slab }))
    };
    Some(text.lines().filter_map(object).collect())
}

/// What a run with several plateaus says of the cost of a connection.
fn measured() -> Value {
    let world = World::on_loopback();
    let plateaus = ["--connections", "2k,8k,16k", "--hold", "300ms"];
    let finished = world.client(&plateaus).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = world.result();
    let points = result["cost_per_connection"]["fit"]["connections"].clone();
    assert_eq!(points, serde_json::json!([0, 2_000, 8_000, 16_000]));
    result
}

#[test]
fn the_fit_is_the_arithmetic_of_the_kernels_objects() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(objects) = objects() else {
        eprintln!("SKIPPED: a fit by slab, because /proc/slabinfo is not for this user");
        return no_slab_is_told_apart(&measured());
    };
    let in_slabs = ONE_EACH.map(|(_, cache)| objects[cache].bytes_in_slab);
    let both_sockets = 2.0 * in_slabs.iter().sum::<f64>();
    let floor: f64 = ONE_EACH.iter().map(|(_, cache)| objects[*cache].bytes).sum();
    let mut seen = Vec::new();
    // Others open files and sockets on this host as well, and disturb some of them; a fit that is
    // wrong by itself is so in all of them.
    for _ in 0..TRIES {
        let result = measured();
        let cost = &result["cost_per_connection"];
        let slope = |layer: &str| cost["fit"]["by_layer"][layer]["slope_bytes"].as_f64().unwrap();
        let sum: f64 = ONE_EACH.iter().map(|(layer, _)| slope(layer)).sum();
        assert_eq!(cost["sockets_counted"], 2, "both ends are here");
        seen.push((sum, slope("tcp"), cost["other_sockets"].as_i64()));
        // What was freed before leaves room in slabs that are there: from the objects alone to their
        // share of new slabs, all is right.
        let is_right = |bytes: f64, of_objects: f64, of_slabs: f64| {
            (of_objects * (1.0 - TOLERANCE)..of_slabs * (1.0 + TOLERANCE)).contains(&(bytes / 2.0))
        };
        if is_right(sum, floor, both_sockets / 2.0)
            && is_right(slope("tcp"), objects["TCP"].bytes, in_slabs[0])
        {
            eprintln!(
                "a socket: {floor} B of objects, {:.0} B of slabs; by the fit {:.0} B",
                both_sockets / 2.0,
                sum / 2.0
            );
            assert!(cost["kernel_bytes"].as_f64().unwrap() > sum * (1.0 - TOLERANCE));
            return;
        }
    }
    panic!("{both_sockets} B for both sockets by arithmetic; by {TRIES} fits {seen:?}");
}

/// Where slabs cannot be told apart, that is said, and their sum is still there.
fn no_slab_is_told_apart(result: &Value) {
    let cost = &result["cost_per_connection"];
    let layers: Vec<&String> = cost["fit"]["by_layer"].as_object().unwrap().keys().collect();
    assert!(layers.contains(&&"slabs".to_owned()) && !layers.contains(&&"tcp".to_owned()));
    assert!(cost["by_slab"].is_null());
    let note = result["notes"]["cost_per_connection.by_slab"].as_str().unwrap();
    assert!(ONE_EACH.iter().all(|(layer, _)| note.contains(layer)), "{note}");
}

/// Connections through a proxy: enough for its sockets to be told from those of others.
const PROXIED: usize = 1_500;

/// Waits until the host's sockets are as many as a moment before, for some seconds at most.
fn wait_for_quiet() {
    let sockets = || Sockstat::read(&ProcFs::host()).tcp_allocated;
    for _ in 0..20 {
        let before = sockets();
        thread::sleep(Duration::from_millis(300));
        if sockets() == before {
            return;
        }
    }
}

/// A proxy on a port of its own that passes on no byte, only the end; it lives as long as the test.
fn proxy(behind: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (take, taken) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_nonblocking(true).unwrap();
            take.send((stream, TcpStream::connect(behind).unwrap())).unwrap();
        }
    });
    thread::spawn(move || {
        let mut pairs: Vec<(TcpStream, TcpStream)> = Vec::new();
        loop {
            pairs.extend(taken.try_iter());
            pairs.retain(|(stream, _)| {
                let read = stream.peek(&mut [0]).map_err(|error| error.kind());
                matches!(read, Ok(1..) | Err(ErrorKind::WouldBlock))
            });
            thread::sleep(Duration::from_millis(20));
        }
    });
    address
}

/// A11: a proxy on this host has two sockets of each connection besides, and its kernel memory is theirs
/// too. Others open and close sockets meanwhile, so that a count may be none; it is never another one.
#[test]
fn the_sockets_of_a_proxy_on_this_host_are_counted() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::on_loopback();
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        wait_for_quiet();
        let target = proxy(world.server.address).to_string();
        let count = PROXIED.to_string();
        // The proxy keeps up, so that it has both sockets of each when memory is read.
        let flags = ["--rate", "750", "--expect", "nothing", "--close", "reset", "--hold", "500ms"];
        let flags = [&["--connections", &count][..], &flags].concat();
        let finished = world.client_to(&target, &flags).finish();
        assert_eq!(finished.code, Some(0), "{finished:#?}");
        let counted = world.result()["cost_per_connection"]["sockets_counted"].as_u64();
        let line = finished.stdout.lines().find(|line| line.contains("per connection")).unwrap();
        assert!([None, Some(4)].contains(&counted), "{counted:?}: {line}");
        assert_eq!(line.contains("(4 sockets)"), counted == Some(4), "{line}");
        assert!(!line.contains("(2 sockets)"), "{line}");
        if counted == Some(4) {
            return;
        }
        seen.push(line.to_owned());
    }
    panic!("four sockets were counted in none of {TRIES} runs: {seen:#?}");
}
