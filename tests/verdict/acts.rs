//! What the server itself did, what lies between, and what this host does: each named by what was
//! counted, with its side and its flag.

use std::time::Duration;

use megaconn::base::errno::Errno;
use megaconn::host::cpu::CpuTime;
use megaconn::host::sockets::Listener;
use megaconn::observe::stats::LostCause;
use megaconn::walls::diagnosis::{Attribution, UNKNOWN, diagnose};
use megaconn::walls::evidence::Confidence;
use megaconn::walls::place::Place;
use megaconn::walls::run_facts::{End, RunFacts};
use megaconn::walls::symptom::Symptom::{Failed, Late, Lost};

use super::{lost, named, rises, run_facts, server};
use crate::run_facts::core;

fn first(run: &RunFacts) -> Attribution {
    diagnose(run).walls.remove(0)
}

fn counted(run: &mut RunFacts, figures: &[(&str, u64)]) {
    let figures = figures.iter().map(|(name, n)| ((*name).to_owned(), *n));
    server(run).figures.extend(figures);
}

/// B21, and B6 for a server of ours.
#[test]
fn what_the_server_did_itself_is_certain_and_has_its_flag() {
    for (figure, id, flag) in [
        ("idle_timeout_total", "idle-timeout", "serve --idle-timeout"),
        ("ping_timeout_total", "ping-timeout", "serve --ping-every"),
        ("dropped_total", "storm", "serve without --storm"),
        ("drained_total", "drain", "end the server after the run"),
        ("drain_cut_total", "drain", "end the server after the run"),
        ("send_timeout_total", "send-timeout", "serve --send-timeout"),
        ("backlog_total", "push-backlog", "serve --push-every"),
        ("evicted_total", "evicted", "serve --cores"),
        ("malformed_total", "malformed", "serve --mode"),
        ("handshake_timeout_total", "handshake-time", "serve --cores"),
        ("refused_total", "server-full", "serve --max-connections"),
    ] {
        for cause in [LostCause::Fin, LostCause::Reset] {
            let mut run = run_facts();
            lost(&mut run, &[(Lost(cause), 50)]);
            // The kernel's counters rose as well; those are less sure.
            rises(server(&mut run), "TcpExt.TCPAbortOnMemory", 0, 50);
            counted(&mut run, &[("grow_failed_total", 0), (figure, 40)]);
            let wall = first(&run);
            assert_eq!((wall.id, wall.side, wall.lost), (id, Place::Server, 40), "{figure}");
            assert_eq!(wall.confidence, Confidence::Certain);
            assert!(wall.fix[0].starts_with(flag), "{wall:?}");
            assert!(wall.evidence[0].contains(figure), "{wall:?}");
        }
    }
}

/// B21: the server accepted fewer than the client holds.
#[test]
fn what_the_server_never_accepted_something_between_took() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Reset), 300)]);
    run.facts.has_one_target_host = true;
    run.client.figures = [("connected_total".to_owned(), 1000)].into();
    rises(server(&mut run), "TcpExt.ListenOverflows", 5, 5);
    counted(&mut run, &[("accepted_total", 700), ("refused_total", 0), ("accept_failed_total", 0)]);
    let wall = first(&run);
    assert_eq!((wall.id, wall.side, wall.lost), ("proxy-between", Place::Between, 300));
    assert_eq!(wall.confidence, Confidence::Certain);
    assert!(wall.evidence[0].contains("accepted_total 0 -> 700"), "{wall:?}");
    // Where the rest may be elsewhere, it is not said.
    let is_named = |run: &RunFacts| {
        let diagnosis = diagnose(run);
        let mut all = diagnosis.walls.iter().chain(&diagnosis.met_without_loss);
        all.any(|wall| wall.id == "proxy-between")
    };
    run.facts.has_one_target_host = false;
    assert!(!is_named(&run), "these are the figures of one server of several");
    run.facts.has_one_target_host = true;
    rises(server(&mut run), "TcpExt.ListenOverflows", 5, 9);
    assert!(!is_named(&run), "the queue of the listener dropped some");
    rises(server(&mut run), "TcpExt.ListenOverflows", 5, 5);
    counted(&mut run, &[("accepted_total", 995)]);
    assert!(!is_named(&run), "a few may be on their way");
    for (accepted, is_clear) in [(991, false), (990, true)] {
        counted(&mut run, &[("accepted_total", accepted)]);
        assert_eq!(is_named(&run), is_clear, "{accepted} of 1,000 accepted");
    }
    // Of a run that ends at once the server may send its part of some handshakes again.
    run.client.figures = [("connected_total".to_owned(), 10_000)].into();
    for (held_seconds, accepted, is_clear) in
        [(0.0, 9_950, false), (0.0, 9_900, true), (2.0, 9_950, true), (2.0, 9_991, false)]
    {
        run.facts.held_seconds = held_seconds;
        counted(&mut run, &[("accepted_total", accepted)]);
        assert_eq!(is_named(&run), is_clear, "{accepted} accepted, held for {held_seconds} s");
    }
    counted(&mut run, &[("accepted_total", 700)]);
    run.server = run.server.map(End::seen_early);
    assert!(!is_named(&run), "it may have accepted more since");
}

/// B3: what was due at a server that was killed is no lag of the client.
#[test]
fn a_server_that_went_away_is_named_and_the_client_does_not_lag() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Reset), 500), (Failed(Errno::ECONNREFUSED), 9), (Late, 700)]);
    run.facts.target_gone = Some("500 connections lost within a second; nothing listens".into());
    run.facts.lag_p99_us = Some(2_000_000);
    run.client.figures = [("messages_unsent_total".to_owned(), 700)].into();
    run.client.cores = vec![core(0, 500, 100)];
    for end in [None, run.server.clone(), run.server.clone().map(End::seen_early)] {
        run.server = end;
        assert_eq!(named(&run), [("server-gone", Place::Server, 1209)]);
        assert_eq!(first(&run).confidence, Confidence::Likely);
    }
}

/// B20: the server's figures go on.
#[test]
fn a_server_that_is_out_of_reach_and_lives_is_not_gone() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Timeout), 500)]);
    run.facts.target_gone = Some("the target does not answer any more".into());
    counted(&mut run, &[("connections", 500), ("drained_total", 0)]);
    let wall = first(&run);
    assert_eq!((wall.id, wall.side), ("path-gone", Place::Between));
    assert!(wall.evidence[0].contains("it lives"), "{wall:?}");
}

/// B18: no idle connection, no box that forgets idle ones.
#[test]
fn silence_is_a_middlebox_only_after_work_and_rest() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Silent), 200)]);
    run.facts.silent_after_hold = 200;
    (run.facts.held_seconds, run.facts.idle_seconds) = (60.0, 60.0);
    assert_eq!(named(&run)[0].0, UNKNOWN, "no answer ever came");
    run.facts.received_before_hold = 1000;
    assert_eq!(named(&run)[0].0, "middlebox-idle");
    run.facts.idle_seconds = 1.0;
    assert_eq!(named(&run)[0].0, UNKNOWN, "messages went each second");
    (run.facts.held_seconds, run.facts.idle_seconds) = (4.0, 4.0);
    assert_eq!(named(&run)[0].0, "middlebox-idle", "a short hold without a message");
}

/// What is sent to a server that stands still is acknowledged by its kernel; something between that has
/// forgotten a connection, or lets a part through, acknowledges nothing.
#[test]
fn silence_is_held_against_what_was_acknowledged() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Silent), 200)]);
    (run.facts.silent_after_hold, run.facts.received_before_hold) = (200, 1000);
    (run.facts.held_seconds, run.facts.idle_seconds) = (8.0, 0.5);
    run.facts.unanswered = Some((Duration::from_secs(3), Duration::from_secs(10)));
    rises(&mut run.client, "TcpExt.TCPSynRetrans", 0, 7);
    for (timeouts, busy, idle) in
        [(9, "server-stalled", "server-stalled"), (1007, "packet-loss", "middlebox-idle")]
    {
        rises(&mut run.client, "TcpExt.TCPTimeouts", 0, timeouts);
        run.facts.idle_seconds = 0.5;
        assert_eq!(named(&run)[0].0, busy, "{timeouts}");
        run.facts.idle_seconds = 8.0;
        assert_eq!(named(&run)[0].0, idle, "{timeouts}");
    }
    // Those that never worked may wait in a queue that is not seen, unless the server has accepted them.
    (run.facts.silent_after_hold, run.facts.unanswered) = (0, None);
    assert_eq!(named(&run)[0].0, UNKNOWN);
    rises(server(&mut run), "TcpExt.ListenDrops", 4, 4);
    counted(&mut run, &[("accepted_total", 1000)]);
    assert_eq!(named(&run), [("packet-loss", Place::Between, 200)]);
    rises(server(&mut run), "TcpExt.ListenDrops", 4, 300);
    assert_ne!(named(&run)[0].0, "packet-loss");
}

/// A target that does not even refuse may be out of reach.
#[test]
fn a_silent_target_is_no_server_that_went_away() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Silent), 200)]);
    run.facts.target_gone = Some("the target does not answer any more".into());
    run.facts.target_is_silent = true;
    run.server = None;
    let wall = first(&run);
    assert_eq!(wall.id, UNKNOWN);
    assert!(wall.evidence.iter().any(|line| line.contains("does not answer")), "{wall:?}");
    // Gone by two ways.
    run.server = Some(End::default().seen_early());
    assert_eq!(first(&run).id, "server-gone");
}

/// B19: this host's own routes are asked when the run is over, and ICMP tells of others'.
#[test]
fn a_way_that_is_gone_is_this_hosts_or_a_routers() {
    for (errno, id) in [
        (Errno::ENETUNREACH, "route"),
        (Errno::EHOSTUNREACH, "route"),
        (Errno::EINVAL, "route"),
        (Errno::EACCES, "permission"),
    ] {
        let mut run = run_facts();
        lost(&mut run, &[(Lost(LostCause::Silent), 200), (Failed(errno), 100)]);
        run.facts.target_gone = Some("the target does not answer any more".into());
        (run.facts.target_is_silent, run.facts.no_way) = (true, Some(errno));
        assert_eq!(named(&run), [(id, Place::Client, 300)], "{errno}");
        assert!(diagnose(&run).met_without_loss.is_empty());
    }
    for errno in [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::ECONNREFUSED] {
        let mut run = run_facts();
        lost(&mut run, &[(Failed(errno), 100)]);
        run.client.cores = vec![core(0, 400, 0)];
        rises(&mut run.client, "Icmp.InDestUnreachs", 3, 103);
        assert_eq!(named(&run), [("refused-between", Place::Between, 100)], "{errno}");
        rises(&mut run.client, "Icmp.InDestUnreachs", 3, 50);
        assert_ne!(named(&run)[0].0, "refused-between", "{errno}");
    }
}

/// What has cost nothing and is small is no news.
#[test]
fn what_any_host_has_now_and_then_is_not_named() {
    let mut run = run_facts();
    (run.facts.lag_p99_us, run.facts.time_wait) = (Some(40_000), Some(2000));
    run.client.figures = [("tuples_skipped_total".to_owned(), 2000)].into();
    rises(&mut run.client, "softnet.time_squeeze", 5, 6);
    assert!(diagnose(&run).met_without_loss.is_empty(), "{:?}", diagnose(&run));
    rises(&mut run.client, "softnet.time_squeeze", 5, 600);
    run.facts.lag_p99_us = Some(2_000_000);
    let met = diagnose(&run).met_without_loss;
    assert_eq!(
        met.iter().map(|wall| wall.id).collect::<Vec<_>>(),
        ["client-lag", "softirq-budget"]
    );
}

/// B24: a firewall's reset while others are held.
#[test]
fn refused_while_others_are_held_is_not_for_want_of_a_server() {
    let mut run = run_facts();
    lost(&mut run, &[(Failed(Errno::ECONNREFUSED), 300)]);
    run.client.cores = vec![core(0, 2000, 0)];
    run.facts.refusing_targets = Some(Vec::new());
    let wall = first(&run);
    assert_eq!((wall.id, wall.side), ("refused-between", Place::Between));
    assert!(!wall.fix.iter().any(|fix| fix.contains("start the server,")), "{wall:?}");
    // A target that refuses still has no listener.
    run.facts.refusing_targets = Some(vec!["192.0.2.1:7001".parse().unwrap()]);
    let wall = first(&run);
    assert_eq!(
        (wall.id, wall.side, wall.confidence),
        ("refused", Place::Server, Confidence::Certain)
    );
    assert!(wall.evidence[0].ends_with("nothing listens at 192.0.2.1:7001"), "{wall:?}");
}

/// B19: errors of this host's own.
#[test]
fn what_this_host_refuses_is_its_own() {
    for (errno, id, fix) in [
        (Errno::ENETUNREACH, "route", "ip route get 192.0.2.1"),
        (Errno::ENETDOWN, "route", "ip route get 192.0.2.1"),
        (Errno::EACCES, "permission", "nft list ruleset"),
        (Errno::EPERM, "permission", "nft list ruleset"),
    ] {
        let mut run = run_facts();
        run.facts.target = Some("192.0.2.1:7000".parse().unwrap());
        lost(&mut run, &[(Failed(errno), 7), (Failed(Errno::ETIMEDOUT), 3)]);
        let wall = first(&run);
        assert_eq!((wall.id, wall.side, wall.lost), (id, Place::Client, 7), "{errno}");
        assert!(wall.evidence[0].contains(&errno.to_string()) && wall.fix[0].starts_with(fix));
    }
    // A full table of tracked connections forbids as well, and counts it.
    let mut run = run_facts();
    lost(&mut run, &[(Failed(Errno::EPERM), 7)]);
    rises(&mut run.client, "nf_conntrack.drop", 0, 7);
    assert_eq!(first(&run).id, "conntrack");
}

/// B7 and B8: what waits in an accept queue when no connect is under way.
#[test]
fn a_server_that_stopped_accepting_shows_in_its_queues() {
    let listener = |waiting| Listener {
        address: "127.0.0.1:7000".parse().unwrap(),
        waiting,
        backlog: 4096,
        user: 0,
    };
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Silent), 200)]);
    run.facts.listeners = Some(vec![listener(200)]);
    let wall = first(&run);
    assert_eq!((wall.id, wall.side, wall.lost), ("accept-stalled", Place::Server, 200));
    let expected = "server: 200 wait in the accept queue of port 7000 (sock_diag): it has stopped \
                    accepting";
    assert_eq!(wall.evidence, [expected]);
    run.facts.listeners = Some(vec![listener(138), listener(0)]);
    let wall = first(&run);
    assert_eq!((wall.id, wall.lost), ("accept-stalled", 138));
    assert!(wall.evidence[0].contains("2 listeners") && wall.evidence[0].contains("138 and 0"));
    run.facts.listeners = Some(vec![listener(0)]);
    assert_eq!(first(&run).id, UNKNOWN);
}

/// B22: with both ends full, the fuller one is the limit, and both figures are shown.
#[test]
fn of_two_full_ends_the_fuller_is_the_limit() {
    let time = |ran_ms| Some(CpuTime { ran_ms, waited_ms: 0, lived_ms: 1000 });
    let mut run = run_facts();
    lost(&mut run, &[(Late, 100)]);
    run.facts.lag_p99_us = Some(1000);
    run.client.cores = vec![core(0, 500, 100)];
    server(&mut run).cores = vec![core(1, 500, 100)];
    for (client, of_server, expected) in [
        (980, 870, Some("client-lag")),
        (860, 990, Some("cpu")),
        (980, 300, Some("client-lag")),
        (300, 980, Some("cpu")),
        (300, 300, None),
    ] {
        run.client.cpu_time = time(client);
        server(&mut run).cpu_time = time(of_server);
        let wall = first(&run);
        assert_eq!(wall.id, expected.unwrap_or(UNKNOWN), "{client} {of_server}");
        let both = format!(
            "of their CPUs the client wanted {} %, the server {} %",
            client / 10,
            of_server / 10
        );
        assert!(expected.is_none() || wall.evidence[0].contains(&both), "{wall:?}");
    }
}

/// B4: the bound on messages in flight.
#[test]
fn a_full_window_of_messages_is_a_wall_of_its_own() {
    let mut run = run_facts();
    lost(&mut run, &[(Late, 100)]);
    run.client.cores = vec![core(0, 2000, 100)];
    (run.facts.held_seconds, run.facts.lag_p99_us) = (10.0, Some(900));
    run.client.figures = [("in_flight_bound_us_total".to_owned(), 8_000_000)].into();
    let wall = first(&run);
    assert_eq!((wall.id, wall.side, wall.lost), ("messages-in-flight", Place::Client, 100));
    assert!(wall.evidence[0].contains("8.0 s of the hold with 1,024 messages"), "{wall:?}");
}

/// What is too little to say, by what was measured: `notes/walls.md` has the figures.
#[test]
fn one_packet_of_ten_thousand_is_no_loss_and_one_of_a_thousand_is() {
    for (sent, again, is_said) in [
        (22_668, 4, false),
        (120_628, 10, false),
        (40_385, 14, true),
        (58_540, 56, true),
        (40_000, 9, false),
        (40_000, 10, true),
        (400_001, 100, false),
    ] {
        let mut run = run_facts();
        rises(&mut run.client, "Tcp.OutSegs", 0, sent);
        rises(&mut run.client, "Tcp.RetransSegs", 0, again);
        let met = diagnose(&run).met_without_loss;
        assert_eq!(!met.is_empty(), is_said, "{again} of {sent}: {met:?}");
    }
}

/// B17: packets that were sent again, told also when nothing was lost.
#[test]
fn packets_that_were_lost_on_the_way_are_told() {
    let mut run = run_facts();
    for (counter, n) in [("Tcp.OutSegs", 10_000), ("Tcp.RetransSegs", 130)] {
        rises(&mut run.client, counter, 7, 7 + n);
    }
    for (counter, n) in [
        ("TcpExt.TCPSynRetrans", 100),
        ("TcpExt.TCPTimeouts", 110),
        ("TcpExt.TCPLostRetransmit", 4),
        ("TcpExt.TCPDSACKRecv", 30),
    ] {
        rises(&mut run.client, counter, 0, n);
    }
    rises(server(&mut run), "Tcp.OutSegs", 0, 10_000);
    rises(server(&mut run), "Tcp.RetransSegs", 3, 3);
    let met = diagnose(&run).met_without_loss;
    assert_eq!(met.iter().map(|wall| wall.id).collect::<Vec<_>>(), ["packet-loss"]);
    let expected = "client: 130 of 10,000 segments sent again, 30 of them in vain; 100 were SYNs \
                    (TcpExt.TCPSynRetrans), 110 after a timeout (TcpExt.TCPTimeouts), 4 more than once \
                    (TcpExt.TCPLostRetransmit): lost between, on the way from it or back";
    assert_eq!(met[0].evidence, [expected]);
    lost(&mut run, &[(Late, 60)]);
    assert_eq!(named(&run), [("packet-loss", Place::Between, 60)]);
    // A queue that counts what it drops is the wall, and there is no second one.
    rises(server(&mut run), "TcpExt.ListenOverflows", 0, 100);
    assert_eq!(named(&run), [("accept-queue", Place::Server, 60)]);
    assert!(diagnose(&run).met_without_loss.is_empty());
    // Nor is it a peer that answers no more: each is asked some fifteen times.
    rises(server(&mut run), "TcpExt.ListenOverflows", 0, 0);
    lost(&mut run, &[(Failed(Errno::ETIMEDOUT), 60)]);
    assert!(diagnose(&run).met_without_loss.is_empty());
    // SYNs alone may have been dropped by a queue of a server that is not seen.
    lost(&mut run, &[]);
    let server_seen = run.server.take();
    assert!(diagnose(&run).met_without_loss.is_empty());
    rises(&mut run.client, "TcpExt.TCPSynRetrans", 0, 20);
    assert_eq!(diagnose(&run).met_without_loss.len(), 1);
    run.server = server_seen;
    // A few in ten thousand are no news.
    lost(&mut run, &[]);
    rises(&mut run.client, "Tcp.RetransSegs", 0, 35);
    assert!(diagnose(&run).met_without_loss.is_empty());
}

/// A server that holds some says of others that they are too many, or ends them before it answers.
#[test]
fn a_limit_of_another_server_is_named_by_its_words_or_by_how_it_ends_the_rest() {
    let own_limit = |n| [("own-limit", Place::Server, n)];
    for (bytes, setting) in [
        ("-ERR max number of clients reached\\r\\n", "maxclients"),
        (
            "E\\x00\\x00\\x00USFATAL\\x00C53300\\x00Msorry, too many clients already",
            "max_connections",
        ),
        ("421 Too many connections\\r\\n", "limit"),
    ] {
        for symptom in [Lost(LostCause::Mismatch), Failed(Errno::EPROTO)] {
            let mut run = run_facts();
            lost(&mut run, &[(symptom, 100)]);
            run.facts.unexpected_bytes = Some(bytes.into());
            run.client.figures = [("opening_failed_total".to_owned(), 100)].into();
            run.client.failed = [("EPROTO".to_owned(), 100)].into();
            assert_eq!(named(&run), own_limit(100), "{bytes}");
            let wall = first(&run);
            assert_eq!(wall.confidence, Confidence::Certain);
            assert!(wall.fix[0].contains(setting), "{bytes}: {:?}", wall.fix);
        }
    }
    let mut run = run_facts();
    lost(&mut run, &[(Failed(Errno::ECONNRESET), 95), (Failed(Errno::ECONNABORTED), 4)]);
    run.client.figures = [("opening_failed_total".to_owned(), 99)].into();
    run.client.failed = [("ECONNRESET".to_owned(), 95), ("ECONNABORTED".to_owned(), 4)].into();
    assert_eq!(named(&run), [("opening-unanswered", Place::Server, 99)], "none was held");
    run.client.cores = vec![core(0, 101, 100)];
    assert_eq!(named(&run), own_limit(99));
    assert_eq!(first(&run).confidence, Confidence::Likely);
    run.facts.target_gone = Some("nothing listens".into());
    assert_eq!(named(&run)[0].0, "server-gone", "that ended them");
}
