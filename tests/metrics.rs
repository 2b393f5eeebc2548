//! The metrics address of the real server: what a scraper reads there, and that no scraper, however
//! slow, many or rude, disturbs anybody.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, Server, connect, cores, echo, http, scrape, until};
use megaconn::base::constants::{HTTP_CLIENTS, HTTP_REQUEST_BYTES, HTTP_TIMEOUT};
use megaconn::host::counters::Counters;
use megaconn::host::procfs::ProcFs;
use megaconn::observe::snapshot::Snapshot;
use megaconn::observe::stats::{Kind, Listed, ServerStats};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Time by which a busy host may delay anything.
const SLACK: Duration = Duration::from_secs(2);

struct World {
    server: Server,
    metrics: SocketAddr,
}

impl World {
    fn new() -> World {
        let cores = cores(1);
        let flags = ["--cores", &cores, "--metrics", "127.0.0.1:0"];
        let binary = Path::new(env!("CARGO_BIN_EXE_megaconn"));
        let server = Server::start(binary, IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags);
        let metrics = server.program.metrics();
        World { server, metrics }
    }

    fn view(&self) -> Snapshot {
        Snapshot::server_from_metrics(&scrape(self.metrics)).unwrap()
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.server.program.id())).unwrap().count()
    }

    /// Processor time that the metrics thread has had, in ticks of 10 ms.
    fn metrics_ticks(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.server.program.id());
        for task in fs::read_dir(tasks).unwrap() {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            if let Some((_, fields)) = stat.split_once("(metrics) ") {
                let fields: Vec<&str> = fields.split(' ').collect();
                // utime and stime are fields 14 and 15 of proc_pid_stat(5); the state is the third.
                return fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
            }
        }
        panic!("no thread is named metrics");
    }
}

/// Reads what comes until the end; a reset is an end, too.
fn last_words(mut stream: &TcpStream) -> String {
    let mut words = Vec::new();
    let _ = stream.read_to_end(&mut words);
    String::from_utf8_lossy(&words).into_owned()
}

#[test]
fn a_scraper_sees_every_figure_as_it_is() {
    let world = World::new();
    let streams: Vec<TcpStream> = (0..7).map(|_| connect(world.server.address)).collect();
    for stream in &streams {
        assert_eq!(echo(stream, b"seen?").unwrap(), b"seen?");
    }
    let view = world.view();
    for (figure, expected) in
        [("connections", 7), ("accepted_total", 7), ("messages_total", 7), ("recv_bytes_total", 35)]
    {
        assert_eq!(view.figures.get(figure), Some(&expected), "{figure}");
    }
    for figure in ServerStats::descriptions() {
        let is_number = matches!(figure.kind, Kind::Counter | Kind::Gauge);
        let is_there = view.figures.contains_key(figure.name);
        assert_eq!(is_there, is_number, "{}", figure.name);
    }
    let files = world.open_files() as u64;
    assert!(view.figures["process_open_files"].abs_diff(files) <= 3, "{files} files are open");
    assert!(view.figures["process_resident_bytes"] > 1 << 20);
    let [core] = view.cores.as_slice() else { panic!("{:?}", view.cores) };
    let ran = Duration::from_micros(core.figures["ran_us_total"]);
    assert!(ran > Duration::ZERO && ran < PATIENCE, "the core's thread ran for {ran:?}");
    assert!(core.figures.contains_key("waited_us_total"));
    assert_eq!((core.core, core.cpu.to_string()), (0, cores(1)));
    // The counters are those of this host, which is the server's.
    let (seen, now) = (view.host.unwrap(), Counters::read(&ProcFs::host()));
    let passive = |counters: &Counters| counters.get("Tcp.PassiveOpens").unwrap();
    assert!(passive(&seen) >= 7 && passive(&seen) <= passive(&now));
    assert_eq!(seen.iter().count(), now.iter().count());

    drop(streams);
    until("they are gone", || world.view().figures["closed_total"] == 7);
}

#[test]
fn prometheus_itself_can_read_it() {
    let world = World::new();
    assert_eq!(echo(&connect(world.server.address), b"hello").unwrap(), b"hello");
    let program = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        samples = [s for f in parse(sys.stdin.read()) for s in f.samples]\n\
        print(len(samples), sum(int(s.value) for s in samples if s.name == 'megaconn_accepted_total'))";
    // Debian's package is for Debian's own Python, which need not be the first in the path.
    let has_parser = |python: &&str| {
        let import = ["-c", "import prometheus_client.openmetrics.parser"];
        let output = Command::new(python).args(import).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_parser) else {
        let fix = "apt-get install python3-prometheus-client";
        return eprintln!("SKIPPED: no python3 has prometheus_client to read metrics with ({fix})");
    };
    let text = scrape(world.metrics);
    let mut python = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "it is no OpenMetrics; the parser's words are above");
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), format!("{samples} 1"));
}

#[test]
fn other_requests_are_answered_with_their_status() {
    let world = World::new();
    let long = HTTP_REQUEST_BYTES;
    for (request, status) in [
        ("GET /metrics?format=any HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 404),
        ("GET /metrics/ HTTP/1.1\r\n\r\n".to_owned(), 404),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi".to_owned(), 405),
        ("\u{0}\u{1}\u{2} what is this\r\n\r\n".to_owned(), 400),
        ("GET /metrics HTTP/9.9\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(long)), 431),
        (format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(10 * long)), 431),
        (format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500)), 431),
    ] {
        let answer = http(world.metrics, request.as_bytes());
        let start = &request[..request.len().min(30)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{start:?}: {answer:.200}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    }
    // One that is as long as it may be is taken.
    let most = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "z".repeat(long - 30));
    assert_eq!(most.len(), long);
    assert!(http(world.metrics, most.as_bytes()).starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn a_silent_client_is_let_go_and_one_too_many_is_told() {
    let world = World::new();
    let files = world.open_files();
    let began = Instant::now();
    let idle: Vec<TcpStream> = (0..100).map(|_| connect(world.metrics)).collect();
    // Echoes go on meanwhile, and the process does not run out of files.
    assert_eq!(echo(&connect(world.server.address), b"still").unwrap(), b"still");
    assert!(world.open_files() <= files + HTTP_CLIENTS + 3, "{} files", world.open_files());
    let told = idle.iter().filter(|stream| last_words(stream).starts_with("HTTP/1.1 503 "));
    assert_eq!(told.count(), 100 - HTTP_CLIENTS);
    assert!(began.elapsed() >= HTTP_TIMEOUT, "who says nothing has its time");
    assert!(began.elapsed() < HTTP_TIMEOUT + SLACK, "it took {:?}", began.elapsed());
    until("all are let go", || world.open_files() <= files + 1);
    assert_eq!(world.view().figures["accepted_total"], 1);
}

#[test]
fn a_client_that_sends_byte_by_byte_or_takes_nothing_has_its_time_and_no_more() {
    let world = World::new();
    let (began, files) = (Instant::now(), world.open_files());
    let (slow, deaf) = (connect(world.metrics), connect(world.metrics));
    (&deaf).write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let slowly = thread::spawn(move || {
        for byte in b"GET /metrics HTTP/1.1\r\n".repeat(1000) {
            if (&slow).write_all(&[byte]).is_err() || began.elapsed() > PATIENCE {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        began.elapsed()
    });
    // Others are answered meanwhile.
    while began.elapsed() < HTTP_TIMEOUT / 2 {
        let asked = Instant::now();
        world.view();
        assert!(asked.elapsed() < SLACK, "a scrape took {:?}", asked.elapsed());
    }
    let took = slowly.join().unwrap();
    assert!(took >= HTTP_TIMEOUT && took < HTTP_TIMEOUT + SLACK, "it was let go on {took:?}");
    // Who does not read is not waited for. The answer, if the kernel can keep it, is there for it.
    until("all are let go", || world.open_files() <= files);
    assert!(last_words(&deaf).ends_with("# EOF\n"));
}

/// Who asks without end gets an answer each 50 ms at most, so its cost has a bound.
#[test]
fn a_client_that_asks_without_end_costs_little() {
    let world = World::new();
    let lasts = Duration::from_secs(3);
    let (began, before) = (Instant::now(), world.metrics_ticks());
    let metrics = world.metrics;
    let scrapers: Vec<_> = (0..16)
        .map(|_| {
            thread::spawn(move || {
                let mut answers = 0;
                while began.elapsed() < lasts {
                    let Ok(mut stream) = TcpStream::connect(metrics) else { continue };
                    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
                    answers += u64::from(last_words(&stream).ends_with("# EOF\n"));
                }
                answers
            })
        })
        .collect();
    let stream = connect(world.server.address);
    let mut echoes = 0;
    while began.elapsed() < lasts {
        assert_eq!(echo(&stream, b"me, too").unwrap(), b"me, too");
        echoes += 1;
    }
    let answers: u64 = scrapers.into_iter().map(|scraper| scraper.join().unwrap()).sum();
    let cost = Duration::from_millis(10 * (world.metrics_ticks() - before));
    let most = lasts / 4;
    eprintln!("{answers} answers cost {cost:?} in {lasts:?}, beside {echoes} echoes");
    assert!(answers > 0 && cost < most, "{answers} answers cost {cost:?} in {lasts:?}");
    assert!(echoes > 100, "{echoes} echoes in {lasts:?}");
}
