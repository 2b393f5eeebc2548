//! Runs the real binaries for the tests of both packages: a program under test, and a server on
//! ports of its own. Every wait is bounded, and a guard that is dropped ends exactly its process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Time that anything may take; only a test that fails waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Time in which a program that ends by itself has ended: a run may wait for some windows of connections
/// that do not answer, of ten seconds each, one after the other.
const ENDS_WITHIN: Duration = Duration::from_secs(100);

/// A process under test; ended when dropped.
pub(crate) struct Program {
    child: Child,
    stderr: Receiver<String>,
    said: Vec<String>,
    stdout: Option<JoinHandle<String>>,
}

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit status; `None` after a signal that nobody caught.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    /// Lines.
    pub(crate) stderr: Vec<String>,
}

impl Program {
    /// Starts it; both outputs are read from now on, so that it never waits for us.
    pub(crate) fn start(command: &mut Command) -> Program {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut out = child.stdout.take().expect("stdout is piped");
        let err = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (say, stderr) = mpsc::channel();
        thread::spawn(move || {
            // A test that is over has dropped the receiver; the pipe is emptied all the same.
            err.lines().map_while(Result::ok).for_each(|line| drop(say.send(line)));
        });
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).map_or_else(|error| error.to_string(), |_| text)
        });
        Program { child, stderr, said: Vec::new(), stdout: Some(stdout) }
    }

    /// Waits for a line on stderr that begins so; `false` when the program ended without it.
    pub(crate) fn says(&mut self, start: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.next_line(deadline) {
            if line.starts_with(start) {
                return true;
            }
        }
        false
    }

    /// What it has said, up to where [`Program::says`] has listened, behind such a beginning.
    pub(crate) fn said(&self, start: &str) -> Option<&str> {
        self.said.iter().find_map(|line| line.strip_prefix(start))
    }

    /// Its metrics address, once it has said it.
    pub(crate) fn metrics(&self) -> SocketAddr {
        let url = self.said("metrics=http://").expect("it was started with --metrics");
        url.trim_end_matches("/metrics").parse().expect("a URL has an address")
    }

    /// Waits until it has ended by itself.
    pub(crate) fn finish(&mut self) -> Finished {
        let deadline = Instant::now() + ENDS_WITHIN;
        while self.next_line(deadline).is_some() {}
        let status = self.child.wait().expect("our own child can be waited for");
        let stdout = self.stdout.take().expect("a program finishes once");
        Finished {
            code: status.code(),
            stdout: stdout.join().expect("the reader of stdout does not panic"),
            stderr: std::mem::take(&mut self.said),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).expect("a child that was not waited for can be signalled");
    }

    /// The next line on stderr; `None` when it was closed, which is when the program ends.
    fn next_line(&mut self, deadline: Instant) -> Option<String> {
        match self.stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.said.push(line.clone());
                Some(line)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no end, only: {:#?}", self.said),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; waiting for it twice is allowed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `megaconn serve` on ports that were free.
pub(crate) struct Server {
    pub(crate) program: Program,
    /// The first address it listens on.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts `binary` on `ports` consecutive ports of `ip` and waits until it listens.
    pub(crate) fn start(binary: &Path, ip: IpAddr, ports: u16, flags: &[&str]) -> Server {
        // Between our look at a port and the server's bind somebody else may take it.
        for _ in 0..5 {
            let address = free_ports(ip, ports);
            let listen = format!("{address}-{}", address.port() + ports - 1);
            let mut command = Command::new(binary);
            let mut program =
                Program::start(command.args(["serve", "--listen", &listen]).args(flags));
            if program.says("listening on") {
                return Server { program, address };
            }
            let finished = program.finish();
            let in_use = finished.stderr.iter().any(|line| line.contains("the port is in use"));
            assert!(in_use, "the server did not start: {finished:#?}");
        }
        panic!("five times somebody took the port between our look and the server's bind");
    }
}

/// The first of `count` consecutive ports that nobody uses.
pub(crate) fn free_ports(ip: IpAddr, count: u16) -> SocketAddr {
    for _ in 0..100 {
        let first = TcpListener::bind((ip, 0)).expect("some port is free");
        let address = first.local_addr().expect("a bound socket has an address");
        let others =
            (1..count).map(|n| TcpListener::bind((ip, address.port().checked_add(n)?)).ok());
        let others: Option<Vec<_>> = others.collect();
        if others.is_some() {
            return address;
        }
    }
    panic!("no {count} consecutive ports of {ip} are free");
}

/// The CPUs that we may run on, at most `most`: with many, the locked memory would not suffice.
pub(crate) fn cores(most: usize) -> String {
    let mask = rustix::thread::sched_getaffinity(None).expect("our own mask can be read");
    let allowed = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| mask.is_set(*cpu));
    allowed.take(most).map(|cpu| cpu.to_string()).collect::<Vec<_>>().join(",")
}

/// A connection on which no read or write waits for ever.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("the time is not zero");
    stream.set_nodelay(true).expect("a TCP socket has this option");
    stream
}

/// Sends `bytes` and reads as many back.
pub(crate) fn echo(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    Ok(back)
}

/// The whole answer to an HTTP request.
pub(crate) fn http(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    let mut answer = Vec::new();
    stream.write_all(request).expect("a request is taken");
    stream.read_to_end(&mut answer).expect("an answer ends");
    String::from_utf8(answer).expect("an answer is text")
}

/// The text at a metrics address.
pub(crate) fn scrape(address: SocketAddr) -> String {
    let answer = http(address, b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let (head, text) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    text.to_owned()
}

/// All lines of a `--stats` file that are whole.
pub(crate) fn ticks(stats: &Path) -> Vec<Value> {
    let text = fs::read_to_string(stats).unwrap_or_default();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let parse = |line| serde_json::from_str(line).expect("a line of statistics is JSON");
    text[..whole].lines().map(parse).collect()
}

/// A figure as it stood last, over all cores.
pub(crate) fn last(stats: &Path, figure: &str) -> u64 {
    // By core, because the lines of one tick do not reach the file at one time.
    let lines = ticks(stats).into_iter();
    let newest: BTreeMap<_, _> =
        lines.map(|line| (number(&line, "core"), number(&line, figure))).collect();
    newest.into_values().sum()
}

/// A whole number in a JSON object.
pub(crate) fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("{key} is no count in {object}"))
}

/// Waits for something that comes to be by itself.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The one line by which a program refuses, checked for its form: exit status 2, and a fix.
pub(crate) fn refusal(command: &mut Command) -> String {
    let finished = Program::start(command).finish();
    assert_eq!(finished.code, Some(2), "{command:?} ended with {finished:#?}");
    let [line] = finished.stderr.as_slice() else {
        panic!("{command:?} did not say one line: {finished:#?}")
    };
    assert!(line.starts_with("error: "), "{command:?} said {line}");
    assert!(line.contains("fix: "), "{command:?} names no fix: {line}");
    assert_eq!(finished.stdout, "", "{command:?} has data in spite of its error");
    line.clone()
}
