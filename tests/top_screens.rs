//! The live view as text: what is known of servers and clients, and the whole screen that is made of
//! it, at 80x24 and wide.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::Arc;
use std::time::Duration;

use megaconn::base::side::Side;
use megaconn::host::counters::Counters;
use megaconn::observe::metrics::Metrics;
use megaconn::observe::snapshot::Snapshot;
use megaconn::observe::stats::{ClientStats, CommonStats, LostCause, ServerStats};
use megaconn::top::render::render;
use megaconn::top::state::{Key, Sort, State};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const SECOND: Duration = Duration::from_secs(1);
const NOBODY: &str = "nothing listens there (ECONNREFUSED)";

/// A process that counts what it is told to.
struct Process {
    cores: Cores,
    /// Seconds that it has lived.
    age: u64,
}

enum Cores {
    OfServer(Vec<Arc<ServerStats>>),
    OfClient(Vec<Arc<ClientStats>>),
}

impl Process {
    fn new(side: Side, cores: usize) -> Process {
        let cores = 0..cores;
        let cores = match side {
            Side::Server => Cores::OfServer(cores.map(|_| Arc::default()).collect()),
            Side::Client => Cores::OfClient(cores.map(|_| Arc::default()).collect()),
        };
        Process { cores, age: 0 }
    }

    /// Holds connections, and does so much in the second since.
    fn works(&mut self, connections: u64, new: u64, messages: u64) {
        self.age += 1;
        let both = |core: &CommonStats, number: u64| {
            core.set_connections(connections + number);
            core.segments.set(connections / 20_000 + 1);
            core.recv_bytes_total.add(64 * messages);
            core.send_bytes_total.add(64 * messages);
            core.messages_total.add(messages * number);
        };
        match &self.cores {
            Cores::OfServer(cores) => {
                for (core, number) in cores.iter().zip(1..) {
                    both(core, number);
                    core.accepted_total.add(new);
                    core.sends_stalled.set(number);
                }
            }
            Cores::OfClient(cores) => {
                for (core, number) in cores.iter().zip(1..) {
                    both(core, number);
                    core.connected_total.add(new);
                    core.messages_in_flight.set(7 * number);
                    core.connects_in_flight.set(256);
                    (0..messages).for_each(|n| {
                        core.message_latency_us.record(Duration::from_micros(100 + n));
                    });
                }
            }
        }
    }

    /// A core of a client.
    fn client(&self, core: usize) -> &ClientStats {
        match &self.cores {
            Cores::OfClient(cores) => &cores[core],
            Cores::OfServer(_) => panic!("it is a server"),
        }
    }

    /// A core of a server.
    fn server(&self, core: usize) -> &ServerStats {
        match &self.cores {
            Cores::OfServer(cores) => &cores[core],
            Cores::OfClient(_) => panic!("it is a client"),
        }
    }

    /// As its metrics address would show it; what differs from machine to machine is made up.
    fn view(&self) -> Snapshot {
        let cpus = |n: usize| (0..n).map(|n| u16::try_from(2 * n).unwrap()).collect::<Vec<_>>();
        let text = match &self.cores {
            Cores::OfServer(cores) => Metrics::new(&cpus(cores.len()), cores, &[]).text(),
            Cores::OfClient(cores) => Metrics::new(&cpus(cores.len()), cores, &[]).text(),
        };
        let mut view = Snapshot::from_metrics(&text).unwrap();
        view.figures.insert("process_resident_bytes".into(), 30 << 20);
        view.figures.insert("process_open_files".into(), 44);
        for (core, number) in view.cores.iter_mut().zip(1..) {
            core.figures.insert("ran_us_total".into(), self.age * 110_000 * number);
            core.figures.insert("waited_us_total".into(), self.age * 4_000);
        }
        let mut host = Counters::default();
        for (name, a_second) in [
            ("IpExt.InOctets", 12_345_678),
            ("Tcp.InSegs", 96_512),
            ("Tcp.CurrEstab", 500),
            ("TcpExt.ListenOverflows", 3),
            ("TcpExt.TCPSynRetrans", 41),
            ("TcpExt.TCPReqQFullDrop", 0),
            ("softnet.time_squeeze", 1),
            ("cpu0.ticks", 100),
            ("cpu0.busy_ticks", 61),
            ("cpu2.ticks", 100),
            ("cpu2.busy_ticks", 100),
        ] {
            host.set(name, 1_000 + self.age * a_second);
        }
        view.host = Some(host);
        view
    }
}

fn state(addresses: &[&str]) -> State {
    let named = addresses.iter().map(|address| {
        let (host, _) = address.rsplit_once(':').unwrap();
        ((*address).to_owned(), host.to_owned())
    });
    State::new(&named.collect::<Vec<_>>(), SECOND)
}

/// A server and a client on one host, seen for some seconds.
fn both(cores: usize) -> (State, [Process; 2]) {
    let mut state = state(&["127.0.0.1:9100", "127.0.0.1:9101"]);
    let mut processes = [Side::Server, Side::Client].map(|side| Process::new(side, cores));
    for second in 1..=8 {
        for (number, process) in processes.iter_mut().enumerate() {
            process.works(30_000 * u64::from(second), 30_000, 1_200 / u64::from(second));
            state.looked(number, SECOND * second, Ok(process.view()));
        }
        state.tick(SECOND * second);
    }
    (state, processes)
}

fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(frame, state, true)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| -> String { (0..width).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

#[test]
fn a_screen_of_80_by_24_has_it_all() {
    let (mut state, processes) = both(2);
    processes[0].server(0).failed[12].add(5);
    processes[1].client(1).lost[LostCause::Reset as usize].add(3);
    for (number, process) in processes.iter().enumerate() {
        let mut view = process.view();
        view.cores.iter_mut().for_each(|core| core.latencies.clear());
        // The next look is a second later, and nothing has happened but what is said.
        state.looked(number, 9 * SECOND, Ok(view));
    }
    insta::assert_snapshot!("quiet_80x24", screen(&state, 80, 24));
    let (state, _) = both(2);
    insta::assert_snapshot!("both_80x24", screen(&state, 80, 24));
    insta::assert_snapshot!("both_160x40", screen(&state, 160, 40));
}

#[test]
fn one_address_is_in_the_title_and_it_is_waited_for() {
    let mut state = state(&["[::1]:9100"]);
    insta::assert_snapshot!("first_80x24", screen(&state, 80, 24));
    state.looked(0, SECOND, Err(NOBODY.into()));
    state.tick(3 * SECOND);
    insta::assert_snapshot!("not_seen_80x24", screen(&state, 80, 24));
    let mut process = Process::new(Side::Client, 1);
    process.works(5, 5, 5);
    state.looked(0, 4 * SECOND, Ok(process.view()));
    state.tick(4 * SECOND);
    // One look has no rates.
    insta::assert_snapshot!("one_look_80x24", screen(&state, 80, 24));
}

#[test]
fn a_process_that_is_gone_is_said_to_be_and_is_no_part_of_the_sums() {
    let (mut state, [_, mut client]) = both(2);
    state.looked(0, 9 * SECOND, Err(NOBODY.into()));
    state.looked(0, 10 * SECOND, Err("no answer in time".into()));
    client.works(100, 0, 3);
    state.looked(1, 9 * SECOND, Ok(client.view()));
    state.tick(21 * SECOND);
    let gone = screen(&state, 80, 24);
    insta::assert_snapshot!("gone_80x24", gone);

    // Another server comes in its place: it counts from nothing, and no rate is of both.
    let mut server = Process::new(Side::Server, 2);
    server.works(7, 7, 7);
    state.looked(0, 22 * SECOND, Ok(server.view()));
    assert_eq!(state.shown().rows()[0].new_per_s, None);
    server.works(9, 2, 1);
    state.looked(0, 23 * SECOND, Ok(server.view()));
    assert_eq!(state.shown().rows()[0].new_per_s, Some(2.0));
    // Even when nobody saw that the first one went.
    let mut other = Process::new(Side::Server, 2);
    other.works(1, 1, 1);
    state.looked(0, 24 * SECOND, Ok(other.view()));
    assert_eq!(state.shown().rows()[0].new_per_s, None);
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let mut state = state(&["127.0.0.1:9100"]);
    let mut client = Process::new(Side::Client, 1);
    client.works(10, 10, 10);
    state.looked(0, SECOND, Ok(client.view()));
    client.works(11, 50, 30);
    client.client(0).churned_total.add(6);
    state.looked(0, SECOND + SECOND / 4, Ok(client.view()));
    let rows = state.shown().rows();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.connections, row.core), (Some(12), Some((0, 0))));
    // 50 held ones and 6 short ones in a quarter of a second.
    assert_eq!(row.new_per_s, Some(4.0 * 56.0));
    assert_eq!(row.messages_per_s, Some(4.0 * 36.0));
    assert_eq!(row.bytes_per_s, Some(4.0 * 2.0 * 64.0 * 30.0));
    assert_eq!((row.busy, row.waited), (Some(0.44), Some(0.016)));
    assert_eq!(row.cpu_busy, Some(0.61));
    let latency = row.latency.as_ref().unwrap();
    assert_eq!((latency.of, latency.buckets.count()), ("message", 30));
    assert_eq!(latency.buckets.below_us(0.5), Some(128));
    assert_eq!(row.queues, [("connecting", 256), ("echoes", 7), ("closing", 0)]);
    // Bad ones first, and no levels.
    let moved: Vec<_> = state.shown().moved();
    let names: Vec<&str> = moved.iter().map(|counter| counter.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "TcpExt.TCPSynRetrans",
            "TcpExt.ListenOverflows",
            "softnet.time_squeeze",
            "IpExt.InOctets",
            "Tcp.InSegs"
        ]
    );
    assert_eq!(moved[0].per_s, 4.0 * 41.0);
}

#[test]
fn keys_sort_pause_scroll_explain_and_quit() {
    let (mut state, mut processes) = both(12);
    let first = |state: &State| state.sorted()[0].core.unwrap().0;
    assert_eq!((state.sort, first(&state)), (Sort::Core, 0));
    assert!(state.press(Key::Sort));
    assert_eq!((state.sort, first(&state)), (Sort::Connections, 11));
    state.press(Key::Down(10));
    insta::assert_snapshot!("scrolled_80x24", screen(&state, 80, 24));
    state.press(Key::Down(usize::MAX));
    assert!(screen(&state, 80, 24).contains("of 26 rows"));

    assert!(state.press(Key::Pause));
    let before = screen(&state, 80, 24);
    assert!(before.contains("PAUSED") && before.contains("p go on"), "{before}");
    for (number, process) in processes.iter_mut().enumerate() {
        process.works(1, 1, 1);
        state.looked(number, 10 * SECOND, Ok(process.view()));
    }
    state.tick(10 * SECOND);
    assert_eq!(screen(&state, 80, 24), before, "it stands still");
    // It can be sorted all the same, and goes on where the processes are.
    state.press(Key::Up(usize::MAX));
    assert_ne!(screen(&state, 80, 24), before);
    state.press(Key::Pause);
    assert!(!screen(&state, 80, 24).contains("PAUSED"));
    assert_eq!(state.shown().rows()[0].connections, Some(2));
    for _ in 0..5 {
        state.press(Key::Sort);
    }
    assert_eq!(state.sort, Sort::Core, "six orders, and from the start again");

    assert!(state.press(Key::Help));
    insta::assert_snapshot!("help_80x24", screen(&state, 80, 24));
    assert!(state.press(Key::Quit), "out of the help first");
    assert!(!state.press(Key::Quit));
}

#[test]
fn counters_of_two_hosts_have_their_host_before_them() {
    let mut state = state(&["10.0.0.1:9100", "10.0.0.2:9100", "10.0.0.1:9101"]);
    let mut processes =
        [Side::Server, Side::Client, Side::Client].map(|side| Process::new(side, 1));
    for second in 1..=2 {
        for (number, process) in processes.iter_mut().enumerate() {
            process.works(1, 1, 1);
            state.looked(number, SECOND * second, Ok(process.view()));
        }
    }
    let moved = state.shown().moved();
    let overflows = moved.iter().filter(|counter| counter.name.ends_with("ListenOverflows"));
    let names: Vec<&str> = overflows.map(|counter| counter.name.as_str()).collect();
    assert_eq!(names, ["10.0.0.1 TcpExt.ListenOverflows", "10.0.0.2 TcpExt.ListenOverflows"]);
}

#[test]
fn the_last_minutes_are_three() {
    let mut state = state(&["127.0.0.1:9100"]);
    let mut server = Process::new(Side::Server, 1);
    for second in 1..=400_u32 {
        // A peak once a minute, a second long.
        let messages = if second % 60 == 0 { 4_000 } else { 1_000 };
        server.works(1, 0, messages);
        state.looked(0, SECOND * second, Ok(server.view()));
        state.tick(SECOND * second);
    }
    let screen = screen(&state, 80, 24);
    let bars = screen.lines().find(|line| line.starts_with("server msg/s")).unwrap();
    assert_eq!(bars.matches('█').count(), 3, "{bars}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any size of a window, any keys, any number of cores: a screen, and nothing worse.
    #[test]
    fn no_window_is_too_small(
        width in 0..200_u16,
        height in 0..60_u16,
        cores in 0..9_usize,
        keys in prop::collection::vec(0..6_usize, 0..12),
    ) {
        let (mut state, _) = both(cores);
        state.looked(0, 9 * SECOND, Err("gone".repeat(100)));
        let of_number =
            [Key::Sort, Key::Pause, Key::Help, Key::Down(3), Key::Up(2), Key::Down(usize::MAX)];
        for key in keys {
            state.press(of_number[key]);
            let screen = screen(&state, width, height);
            prop_assert_eq!(screen.lines().count(), usize::from(height));
        }
    }
}
