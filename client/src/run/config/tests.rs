//! Lines of flags, and what they come to.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use clap::Parser;
use megaconn::base::constants::CONNECTS_IN_FLIGHT;
use megaconn::plan::named;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::*;
use crate::measure::server_metrics::Look;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

fn of(flags: Flags) -> Result<Config, FlagError> {
    let resolved = named::resolve(&flags.targets.target).expect("every host has localhost");
    let hosts = resolved.hosts();
    let script = flags.script.read().expect("nothing is in a file");
    let part = flags.part.read(|_| None, Duration::from_secs(1_000_000_000));
    let part = part.map_err(FlagError)?;
    Config::new(flags, resolved.endpoints, hosts, script, None, part)
}

/// The flags of `line`, which has a target besides. The words of a bound are joined by `_`.
fn flags(line: &str) -> Flags {
    let words = ["run", "--target", "127.0.0.1:7000-7001"].map(str::to_owned).into_iter();
    let words = words.chain(line.split_whitespace().map(|word| word.replace('_', " ")));
    match Line::try_parse_from(words) {
        Ok(line) => line.flags,
        Err(error) => panic!("{line}: {error}"),
    }
}

/// Of ten connections, and what else is in `line`.
fn config(line: &str) -> Config {
    of(flags(&format!("--connections 10 {line}"))).expect("the flags go together")
}

fn refusal(line: &str) -> String {
    of(flags(line)).err().unwrap_or_else(|| panic!("{line} is taken")).to_string()
}

#[test]
fn what_is_not_typed_has_its_default() {
    let Config {
        targets,
        load,
        traffic,
        memory_reserve,
        gates,
        outputs,
        bystanders,
        endpoints,
        ..
    } = config("");
    assert_eq!(endpoints.len(), 1);
    assert_eq!((targets.target.len(), targets.source.len()), (1, 1));
    assert_eq!((targets.source_ports.is_none(), Ok(targets.cores)), (true, "all".parse()));
    let (hold, connects_in_flight) = (Duration::from_secs(10), CONNECTS_IN_FLIGHT);
    let expected =
        Load { plateaus: vec![10], to_max: false, rate_per_s: None, connects_in_flight, hold };
    assert_eq!(load, expected);
    assert_eq!((traffic.message_bytes, traffic.message_count), (64, 1));
    assert_eq!(
        (traffic.schedule, traffic.churn, traffic.close),
        (Schedule::None, None, ShutdownMode::Sending)
    );
    assert_eq!((traffic.sweep, traffic.keepalive), (false, None));
    assert!(matches!(traffic.expect, Expect::Echo(_)));
    assert_eq!(memory_reserve, None);
    assert_eq!(
        gates,
        Gates {
            min_established: 10,
            wants_all: true,
            max_lost: 0,
            max_p99: None,
            stop_on_miss: None
        }
    );
    assert_eq!((outputs.out, outputs.stats), (None, None));
    assert_eq!(outputs.stats_every, Duration::from_secs(1));
    assert_eq!((outputs.metrics, outputs.server_metrics), (None, Look::Auto));
    assert!(bystanders.is_none());
}

#[test]
fn each_flag_is_where_it_is_used() {
    let Config { targets, load, traffic, memory_reserve, gates, outputs, .. } = config(
        "--source 127.0.0.9 --source-ports 40000-40009 --cores 0 --rate 5/s \
         --connects-in-flight 7 --hold 3s --message-bytes 100 --message-count 4 --churn 6/s \
         --close reset --sweep --keepalive 9s --memory-reserve 1MiB --min-established 8 \
         --max-lost 2 --max-p99 1ms --out runs/x --stats-every 2s --server-metrics 127.0.0.1:1 \
         --metrics 127.0.0.1:2",
    );
    let ports = targets.source_ports.expect("it was typed");
    assert_eq!((ports.low, ports.high, Ok(targets.cores)), (40_000, 40_009, "0".parse()));
    assert_eq!(Ok(&targets.source[0]), "127.0.0.9".parse().as_ref());
    let hold = Duration::from_secs(3);
    let expected = Load {
        plateaus: vec![10],
        to_max: false,
        rate_per_s: Some(5.0),
        connects_in_flight: 7,
        hold,
    };
    assert_eq!(load, expected);
    assert_eq!((traffic.message_bytes, traffic.message_count), (100, 4));
    assert_eq!((traffic.churn_per_s(), traffic.close), (Some(6.0), ShutdownMode::Reset));
    assert_eq!((traffic.sweep, traffic.keepalive), (true, Some(Duration::from_secs(9))));
    assert_eq!(memory_reserve, Some(1 << 20));
    let max_p99 = Some(Duration::from_millis(1));
    assert_eq!(
        gates,
        Gates { min_established: 8, wants_all: false, max_lost: 2, max_p99, stop_on_miss: None }
    );
    assert_eq!(outputs.out, Some(PathBuf::from("runs/x")));
    assert_eq!(outputs.stats_every, Duration::from_secs(2));
    assert_eq!(outputs.server_metrics, Look::At(SocketAddr::from(([127, 0, 0, 1], 1))));
    assert_eq!(outputs.metrics.map(|address| address.port()), Some(2));
}

#[test]
fn each_contradiction_is_refused_with_its_fix() {
    for (line, expected) in [
        (
            "--connections 9 --expect push --churn 5/s",
            "--churn needs an answer; fix: --expect echo",
        ),
        ("--connections 9 --expect nothing --sweep", "--sweep needs an answer; fix: --expect echo"),
        (
            "--connections 9 --expect push --message-every 1s",
            "--expect push sends nothing; fix: no --message-* flags",
        ),
        (
            "--connections 9 --expect push --message-count 1",
            "--expect push sends nothing; fix: no --message-* flags",
        ),
        ("--churn 5/s --message-rate 5/s", "--message-* need connections; fix: --connections"),
        (
            "--connections 9 --expect push --max-p99 1s",
            "--max-p99 needs answers; fix: --expect echo",
        ),
        ("--connections 9 --banner hi", "--banner is for pushes; fix: --expect push"),
        ("--connections 9 --push-text hi", "--push-text is for pushes; fix: --expect push"),
        ("--connections 9 --push-every 1s", "--push-every is for pushes; fix: --expect push"),
        (
            "--churn 5/s --bystanders --keep-bystanders ping_p99_<_5ms",
            "--keep-bystanders needs connections; fix: --connections",
        ),
        (
            "--connections 9 --keep-bystanders ping_p99_<_5ms",
            "--keep-bystanders needs them; fix: --bystanders",
        ),
        (
            "--connections 9 --ping 127.0.0.2",
            "--ping and its like are bystanders; fix: add --bystanders",
        ),
        (
            "--connections 9 --expect push --push-every 31m",
            "--push-every is too long; fix: 30m or less",
        ),
        (
            "--connections 9,9",
            "--connections: 9 is followed by 9; fix: write plateaus that differ, or a longer --hold",
        ),
        (
            "--connections 9,3 --bystanders --keep-bystanders ping_p99_<_5ms",
            "--keep-bystanders searches upwards; fix: --connections that rise",
        ),
        (
            "--churn 5/s --resolve-every 1s",
            "--resolve-every needs a name among the targets, and all are addresses; \
             fix: --target example.org:7000, or no --resolve-every",
        ),
        (
            "--connections 9 --target localhost:7002 --resolve-every 1s",
            "--resolve-every moves short connections, and there are none; \
             fix: --churn 100/s, or no --resolve-every",
        ),
        (
            "--connections 9 --message-kind text",
            "--message-kind is of messages of a script; fix: add --message",
        ),
        (
            "--connections 9,5 --lifetime exp:5s",
            "--lifetime fills places under their numbers, which plateaus that fall give twice; \
             fix: --connections that rise",
        ),
        (
            "--connections max --lifetime exp:5s",
            "--connections max opens until there is no more, and nothing can take a place then; \
             fix: --connections with a number",
        ),
        (
            "--connections 9 --bystanders --keep-bystanders ping_p99_<_5ms --lifetime exp:5s",
            "--keep-bystanders closes connections on its way, and --lifetime fills their places; \
             fix: one of the two",
        ),
    ] {
        assert_eq!(refusal(line), expected, "{line}");
    }
    // Of several the one that stands first in the list is told.
    let several = "--connections 9,9 --expect nothing --churn 5/s --banner hi";
    assert_eq!(refusal(several), "--churn needs an answer; fix: --expect echo");
}

#[test]
fn what_contradicts_nothing_is_taken() {
    for line in [
        "--expect push --message-count 0",
        "--expect push --push-every 30m --banner hi --push-text ho",
        "--expect nothing --message-rate 5/s",
        "--bystanders --ping 127.0.0.2",
        "--churn 5/s --target localhost:7002 --resolve-every 1s",
        "--churn 5/s --target localhost:7002 --resolve-every 1s --proxy-protocol v1",
        "--keepalive-message x --keepalive-every 5s --keepalive-answer y",
    ] {
        config(line);
    }
}

/// A hello or an upgrade that fills a buffer leaves no room for a header before it.
#[test]
fn what_is_said_first_has_room_behind_a_header() {
    let hello = |bytes: usize| format!("--hello {}", "x".repeat(bytes));
    assert_eq!(config(&hello(4_096)).traffic.proxy_protocol, None);
    let header = |bytes: usize| format!("{} --proxy-protocol v2", hello(bytes));
    assert_eq!(config(&header(3_989)).traffic.proxy_protocol, Some(Version::V2));
    let error = refusal(&format!("--connections 9 {}", header(3_990)));
    assert_eq!(error, "--hello is too long behind a header; fix: 3989 bytes at most");
}

#[test]
fn a_message_proves_a_connection_when_nothing_else_does() {
    for (line, expected) in [
        ("", 1),
        ("--message-count 0", 0),
        ("--message-every 1s", 0),
        ("--message-rate 5/s", 0),
        ("--expect nothing", 0),
        ("--expect push", 0),
    ] {
        assert_eq!(config(line).traffic.message_count, expected, "{line}");
    }
}

#[test]
fn a_schedule_is_by_connection_or_over_all() {
    let schedule = |line: &str| config(line).traffic.schedule;
    assert_eq!(schedule("--message-every 3s"), Schedule::Every(Duration::from_secs(3)));
    assert_eq!(schedule("--message-every exp:3s"), Schedule::Exponential(Duration::from_secs(3)));
    assert_eq!(schedule("--message-rate 2k/s"), Schedule::PerSecond(2_000.0));
    for (line, is_any) in [
        ("", false),
        ("--message-count 9", false),
        ("--message-every 1s", true),
        ("--message-rate 1/s", true),
        ("--churn 1/s", true),
        ("--expect push", true),
        ("--expect nothing", false),
    ] {
        assert_eq!(config(line).traffic.is_any(), is_any, "{line}");
    }
}

#[test]
fn short_connections_take_tuples_until_the_first_is_free_again() {
    for (line, tuples) in [
        // For as long as there is churn, and a second more.
        ("--connections 9 --hold 10s --churn 5/s", 5 * 11),
        ("--connections 9,10,11 --hold 10s --churn 5/s", 5 * 31),
        // For a TIME_WAIT at most, which a reset does not leave.
        ("--connections 9 --hold 5m --churn 5/s", 5 * (TIME_WAIT.as_secs() + 1)),
        (
            "--connections 9 --hold 5m --churn 5/s --close reset",
            5 * (CONNECT_TIMEOUT.as_secs() + 1),
        ),
        ("--churn 5/s", 5 * 11),
        ("--churn 300/m", 5 * 11),
    ] {
        let config = of(flags(line)).expect("the flags go together");
        assert_eq!(config.traffic.churn, Some(Churn { per_s: 5.0, tuples }), "{line}");
    }
}

#[test]
fn churn_alone_holds_nothing() {
    let config = of(flags("--churn 5/s")).expect("the flags go together");
    assert_eq!((config.load.plateaus.as_slice(), config.connections()), (&[0][..], 0));
    assert_eq!(config.gates.min_established, 0);
}

#[test]
fn the_highest_plateau_is_the_most_that_is_held() {
    let falling = of(flags("--connections 10k,100k,10k")).expect("the flags go together");
    assert_eq!(falling.load.plateaus, [10_000, 100_000, 10_000]);
    assert_eq!((falling.connections(), falling.gates.min_established), (100_000, 100_000));
    let config = of(flags("--connections 1k,10k,20k")).expect("the flags go together");
    assert_eq!((config.connections(), config.gates.min_established), (20_000, 20_000));
    assert_eq!(config.expected_time(), (Duration::from_secs(10) + BYSTANDERS_TIME) * 3);
    assert_eq!(config.targets().len(), 2);
}

#[test]
fn as_many_as_there_can_be_come_after_all_numbers() {
    let both = of(flags("--connections 1k,max")).expect("the flags go together");
    assert_eq!((&both.load.plateaus[..], both.load.to_max), (&[1_000][..], true));
    assert_eq!((both.gates.min_established, both.traffic.message_count), (1_000, 1));
    assert_eq!(both.expected_time(), (Duration::from_secs(10) + BYSTANDERS_TIME) * 2);
    let alone = of(flags("--connections max --message-every 1s --min-established 2M"));
    let alone = alone.expect("the flags go together");
    assert_eq!((&alone.load.plateaus[..], alone.gates.min_established), (&[][..], 2_000_000));
    assert_eq!(alone.traffic.message_count, 1, "each is verified before the hold");
    let one = of(flags("--connections max")).expect("the flags go together");
    assert_eq!(one.gates.min_established, 1);
    assert!(refusal("--connections max,10").contains("fix: write max last"));
    let search = refusal("--connections 10,max --bystanders --keep-bystanders ping_loss_<_1%");
    assert!(search.contains("fix: --connections with a number"), "{search}");
}

#[test]
fn a_search_holds_as_long_as_it_takes_to_tell_and_misses_no_number() {
    let config = config("--bystanders --keep-bystanders ping_loss_<_0.1% --hold 1s");
    let keep = config.keep().expect("it searches");
    let whom = &config.bystanders.as_ref().expect("it watches").whom;
    assert_eq!(config.load.hold, hold_at_least(keep, whom.rate_per_s));
    assert!(config.load.hold > Duration::from_secs(1));
    assert_eq!(config.gates.min_established, 0);
    let steps = u32::try_from(SEARCH_STEPS).expect("there are few");
    assert_eq!(config.expected_time(), (config.load.hold + BYSTANDERS_TIME) * steps);
}

#[test]
fn bystanders_ping_the_first_target_first_and_have_a_file_in_the_run_directory() {
    let config = config("--bystanders --ping 127.0.0.2 --ping 127.0.0.1 --out runs/x");
    let BystanderPlan { whom, keep } = config.bystanders.expect("it watches");
    let pinged: Vec<_> = whom.ping.iter().map(ToString::to_string).collect();
    assert_eq!(pinged, ["127.0.0.1", "127.0.0.2"]);
    assert_eq!((whom.dir, keep.is_none()), (Some(PathBuf::from("runs/x")), true));
}

/// A filter ends the process, by SIGSYS, at the first system call that asks the host.
#[test]
fn no_system_call_asks_the_host() {
    let asking = [
        libc::SYS_openat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_mkdirat,
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_io_uring_setup,
        libc::SYS_sched_getaffinity,
        libc::SYS_prlimit64,
        libc::SYS_uname,
    ];
    let flags = flags(
        "--connections 9,10 --churn 5/s --message-every 1s --bystanders --ping 127.0.0.2 \
         --keep-bystanders ping_p99_<_5ms --out runs/x --metrics 127.0.0.1:9100",
    );
    let thread = thread::spawn(move || {
        // The allocator asks for the number of CPUs when a thread first uses it.
        drop(vec![0_u8; 1024]);
        let rules = asking.into_iter().map(|call| (call, Vec::new())).collect();
        let architecture = std::env::consts::ARCH.try_into().expect("a filter can be made here");
        let end = SeccompAction::KillProcess;
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, end, architecture);
        let program: BpfProgram =
            filter.expect("it is well formed").try_into().expect("it is small");
        seccompiler::apply_filter(&program).expect("a thread may bind itself");
        of(flags).is_ok()
    });
    assert!(thread.join().expect("it does not panic"));
}

#[test]
fn all_parts_do_the_whole() {
    let line =
        "--connections 1001,5003,2000 --rate 1k/s --message-rate 100/s --churn 30/s --max-lost 7";
    let whole = of(flags(line)).expect("a whole run");
    let parts: Vec<Config> = (1..=7)
        .map(|number| of(flags(&format!("{line} --run-id a --part {number}/7"))).expect("a part"))
        .collect();
    for at in 0..3 {
        let all: u64 = parts.iter().map(|part| part.load.plateaus[at]).sum();
        assert_eq!(all, whole.load.plateaus[at]);
    }
    let sum = |of: fn(&Config) -> Option<f64>| parts.iter().filter_map(of).sum::<f64>();
    assert!((sum(|part| part.load.rate_per_s) - 1_000.0).abs() < 1e-9);
    assert!((sum(|part| part.traffic.churn_per_s()) - 30.0).abs() < 1e-9);
    let rate = |part: &Config| match part.traffic.schedule {
        Schedule::PerSecond(rate) => Some(rate),
        _ => None,
    };
    assert!((sum(rate) - 100.0).abs() < 1e-9);
    let seeds: HashSet<u64> = parts.iter().map(|part| part.cut.seed(part.seed)).collect();
    assert_eq!((seeds.len(), parts[0].seed), (7, parts[6].seed), "one seed, and seven of it");
    // Each is to have all of its own, since the whole is.
    assert!(parts.iter().all(|part| part.gates.min_established == part.connections()));
    assert!(
        parts
            .iter()
            .all(|part| part.gates.max_lost == 7 && part.whole_gates.min_established == 5_003)
    );
    let some = of(flags(&format!("{line} --min-established 5000 --run-id a --part 1/7")));
    let some = some.expect("three may fail");
    assert_eq!(some.gates.min_established, some.connections() - 3);
}

#[test]
fn a_run_by_the_clock_needs_to_know_how_long_it_opens() {
    let plain = refusal("--connections 10 --start-at +10s");
    assert!(plain.contains("--rate") && plain.contains("--open-time"), "{plain}");
    let timed =
        config("--start-at +10s --open-time 3s --hold 5s").cut.timetable.expect("by the clock");
    assert_eq!(timed.start, Duration::from_secs(1_000_000_010));
    assert_eq!(timed.plateaus[0].ends - timed.plateaus[0].holds, Duration::from_secs(5));
    assert!(config("").cut.timetable.is_none());
}

#[test]
fn what_no_part_knows_before_is_refused() {
    for (line, said) in [
        ("--connections max --run-id a --part 1/2", "--connections max"),
        ("--connections max --start-at +1s", "--connections max"),
        (
            "--connections 10 --bystanders --keep-bystanders ping_p99_<_5ms --run-id a --part 1/2",
            "--keep-bystanders",
        ),
        ("--connections 3,10 --run-id a --part 1/4", "fewer than parts"),
        (
            "--connections 10 --min-established 11 --run-id a --part 1/2",
            "more than --connections 10",
        ),
    ] {
        let why = refusal(line);
        assert!(why.contains(said) && why.contains("fix: "), "{line}: {why}");
    }
    let churn = of(flags("--churn 10/s --run-id a --part 3/4")).expect("short ones have no number");
    assert_eq!(churn.load.plateaus, [0]);
}
