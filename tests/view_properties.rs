//! What a metrics address shows of a server or a client is what its cores counted, histograms
//! included: a time from a bucket is above the true percentile, and less than twice it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use megaconn::base::errno::Errno;
use megaconn::base::side::Side;
use megaconn::observe::metrics::Metrics;
use megaconn::observe::snapshot::{Snapshot, SnapshotError};
use megaconn::observe::stats::{ClientStats, CoreStats, Kind, LostCause, ServerStats};
use proptest::prelude::*;
use proptest::sample::Index;

fn text_of<S: CoreStats + Debug>(cores: &[Arc<S>]) -> String {
    let cpus: Vec<u16> = (0..cores.len()).map(|cpu| u16::try_from(cpu).unwrap()).collect();
    Metrics::new(&cpus, cores, &[]).text()
}

/// Both sides' texts of cores that have counted so much, with the figure that tells it.
fn texts_of(counted: &[(u64, u64)], lost: u64) -> [(Side, String, &'static str); 2] {
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for (connected, connections) in counted {
        let (server, client) = (ServerStats::new(), ClientStats::new());
        server.accepted_total.add(*connected);
        client.connected_total.add(*connected);
        client.lost[LostCause::Silent as usize].add(lost);
        for core in [&server.common, &client.common] {
            core.set_connections(*connections);
            core.failed[Errno::EMFILE.index()].add(1);
        }
        servers.push(Arc::new(server));
        clients.push(Arc::new(client));
    }
    [
        (Side::Server, text_of(&servers), "accepted_total"),
        (Side::Client, text_of(&clients), "connected_total"),
    ]
}

/// Every core has every figure of its side.
fn has_all_of<S: CoreStats>(view: &Snapshot) {
    for figure in S::descriptions() {
        for core in &view.cores {
            match figure.kind {
                Kind::Latency => assert_eq!(core.latencies[figure.name].count(), 0),
                Kind::Counter | Kind::Gauge => {
                    assert!(core.figures.contains_key(figure.name), "{}", figure.name);
                }
                Kind::ByErrno | Kind::ByCause => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_view_is_what_was_counted(
        counted in prop::collection::vec((0..u64::MAX >> 8, 0..u64::MAX >> 8), 1..4),
        lost in 0..7_u64,
    ) {
        for (side, text, came) in texts_of(&counted, lost) {
            let view = Snapshot::from_metrics(&text).unwrap();
            prop_assert_eq!(view.side, side);
            let sum = |of: fn(&(u64, u64)) -> u64| counted.iter().map(of).sum::<u64>();
            prop_assert_eq!(view.figures[came], sum(|(connected, _)| *connected));
            prop_assert_eq!(view.figures["connections"], sum(|(_, connections)| *connections));
            prop_assert_eq!(view.failed["EMFILE"], counted.len() as u64);
            let all_lost = view.lost.get("silent").copied();
            let of_client = lost * counted.len() as u64;
            prop_assert_eq!(all_lost, (side == Side::Client).then_some(of_client));
            prop_assert!(view.host.is_some());
            match side {
                Side::Server => has_all_of::<ServerStats>(&view),
                Side::Client => has_all_of::<ClientStats>(&view),
            }
        }
    }

    #[test]
    fn a_percentile_is_below_the_time_of_its_bucket(
        before in prop::collection::vec(any::<u32>(), 0..50),
        // Microseconds to hours, evenly over their powers of two.
        since in prop::collection::vec((0..32_u32, any::<u32>()), 1..200),
        part in 0.01..1.0_f64,
    ) {
        let core = Arc::new(ClientStats::new());
        let record = |us: u32| core.message_latency_us.record(Duration::from_micros(us.into()));
        let look = || {
            let view = Snapshot::from_metrics(&text_of(&[Arc::clone(&core)]));
            view.unwrap().cores[0].latencies["message_latency_us"].clone()
        };
        before.into_iter().for_each(record);
        let first = look();
        let mut times: Vec<u32> = since.into_iter().map(|(power, n)| n >> power).collect();
        times.iter().copied().for_each(record);
        let risen = look().since(&first).unwrap();
        prop_assert_eq!(risen.count(), times.len() as u64);

        times.sort_unstable();
        let rank = (part * times.len() as f64).ceil();
        let mut smaller = times.iter().enumerate().filter(|(index, _)| (*index as f64) < rank);
        let exact = u64::from(*smaller.next_back().unwrap().1);
        let below = risen.below_us(part).unwrap();
        prop_assert!(below > exact, "{} is not below {}", exact, below);
        // The first bucket begins at 0, the last has no end.
        let is_tight = below == 16 || below == u64::MAX || below <= 2 * exact;
        prop_assert!(is_tight, "{} is far below {}", exact, below);
        prop_assert_eq!(below == u64::MAX, exact >= 1 << 26);
    }

    /// Whatever is done to a text, reading it ends, and what is read adds up.
    #[test]
    fn a_spoilt_text_is_no_reason_to_panic(
        is_of_server in any::<bool>(),
        spoils in prop::collection::vec((any::<Index>(), any::<Index>(), 0..5_u8, any::<char>()), 1..9)
    ) {
        let text = if is_of_server {
            let cores = [Arc::new(ServerStats::new()), Arc::default()];
            cores[0].push_lateness_us.record(Duration::from_millis(3));
            text_of(&cores)
        } else {
            let cores = [Arc::new(ClientStats::new()), Arc::default()];
            cores[0].connect_latency_us.record(Duration::from_millis(3));
            cores[1].lost[0].add(7);
            text_of(&cores)
        };
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (line, at, how, c) in &spoils {
            let number = line.index(lines.len());
            let mut chars: Vec<char> = lines[number].chars().chain([*c]).collect();
            let at = at.index(chars.len());
            match how {
                0 => chars[at] = *c,
                1 => chars.truncate(at),
                2 => chars.insert(at, *c),
                3 => drop(chars.remove(at)),
                _ => lines.swap(at.min(number), number),
            }
            lines[number] = chars.into_iter().collect();
        }
        if let Ok(view) = Snapshot::from_metrics(&(lines.join("\n") + "\n")) {
            for (name, value) in &view.figures {
                let each = view.cores.iter().filter_map(|core| core.figures.get(name));
                prop_assert!(name.starts_with("process_") || each.sum::<u64>() == *value);
            }
        }
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let text = text_of(&[Arc::<ClientStats>::default(), Arc::default()]);
    let bucket = "megaconn_connect_latency_seconds_bucket{side=\"client\",le=\"0.000016\",";
    for (from, to, why) in [
        ("side=\"client\"", "side=\"proxy\"", "neither a server nor a client"),
        ("{side=\"client\",core=\"1\"", "{side=\"server\",core=\"1\"", "another side"),
        (bucket, &bucket.replace("0.000016", "NaN"), "bound that cannot be"),
        (bucket, &bucket.replace("0.000016", "3.2e-5"), "bound that cannot be"),
        (bucket, &bucket.replace("le=\"0.000016\",", ""), "has no bound"),
        ("\n# EOF\n", "\n", "cut short"),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        let error = Snapshot::from_metrics(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(why), "`{error}` is no word of `{why}`");
    }
    for text in ["", "# EOF\n", "node_load1 NaN\n# EOF\n"] {
        assert_eq!(Snapshot::from_metrics(text), Err(SnapshotError::NotOurs));
    }
}
