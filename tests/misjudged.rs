//! Walls that must not be named: their signs are moved by another wall as well, are of the whole
//! host, or count less than was lost. A wrong name is worse than none.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod run_facts;

use megaconn::base::errno::Errno;
use megaconn::host::cpu::CpuTime;
use megaconn::observe::stats::LostCause;
use megaconn::plan::demand::Ends;
use megaconn::walls::diagnosis::{UNKNOWN, diagnose};
use megaconn::walls::evidence::Confidence;
use megaconn::walls::place::Place;
use megaconn::walls::run_facts::{End, RunFacts};
use megaconn::walls::symptom::Symptom::{Failed, Late, Lost};

use run_facts::{core, lost, named, rises, run_facts, server};

/// The counters of a network card say nothing of a run that stays on its host.
#[test]
fn connections_of_one_host_meet_no_card() {
    for (counter, id, side) in [
        ("eth0.rx_missed_errors", "nic-ring", Place::Client),
        ("ethtool.conntrack_allowance_exceeded", "cloud-conntrack", Place::Between),
    ] {
        let mut run = run_facts();
        lost(&mut run, &[(Lost(LostCause::Silent), 40)]);
        rises(&mut run.client, counter, 0, 50);
        assert_eq!(named(&run), [(id, side, 40)]);
        run.demand.ends = Ends::Both;
        assert_eq!(named(&run), [(UNKNOWN, Place::Between, 40)]);
    }
}

/// Signs that fit this wall and another one as well.
#[test]
fn what_is_not_sure_is_not_said_to_be() {
    let mut run = run_facts();
    lost(&mut run, &[(Failed(Errno::ECONNREFUSED), 100)]);
    let confidence = |run: &RunFacts| diagnose(run).walls[0].confidence;
    assert_eq!(confidence(&run), Confidence::Certain);
    run.client.cores = vec![core(0, 800, 0)];
    assert_eq!(confidence(&run), Confidence::Possible, "it took others, or a firewall refuses");

    lost(&mut run, &[(Lost(LostCause::Fin), 900)]);
    let killed = "Out of memory: Killed process 9 (megaconn) total-vm:1kB";
    run.log = Some(vec![killed.to_owned()]);
    run.facts.target_gone = Some("nothing listens at the target any more".to_owned());
    assert_eq!((named(&run)[0].0, confidence(&run)), ("memory", Confidence::Possible));
    run.shares_kernel = true;
    assert_eq!((named(&run)[0].0, confidence(&run)), ("memory", Confidence::Certain));

    lost(&mut run, &[(Failed(Errno::EACCES), 5)]);
    assert_eq!(named(&run), [("permission", Place::Client, 5)]);
}

/// Uneven cores explain what was late, and no reset: a server that refuses holds as many as it may, on
/// whichever core they are.
#[test]
fn uneven_cores_explain_no_reset_that_they_did_not_make() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Reset), 100), (Late, 70)]);
    let share = |cpu, n| core(cpu, n, n);
    server(&mut run).cores = vec![share(0, 800), share(1, 10)];
    server(&mut run).cpu_time = Some(CpuTime { ran_ms: 990, waited_ms: 0, lived_ms: 1000 });
    let uneven = ("core-imbalance", Place::Server);
    assert_eq!(named(&run), [(UNKNOWN, Place::Between, 100), (uneven.0, uneven.1, 70)]);
    let figures = [("refused_total".to_owned(), 60), ("grow_failed_total".to_owned(), 0)];
    server(&mut run).figures = figures.into();
    let full = ("server-full", Place::Server, 60);
    let rest = (UNKNOWN, Place::Between, 40);
    let mut walls = named(&run);
    walls.sort_unstable_by_key(|wall| std::cmp::Reverse(wall.2));
    assert_eq!(walls, [(uneven.0, uneven.1, 70), full, rest]);
}

/// A core that once got no ring refused some connections, and not every connection that was ever
/// reset.
#[test]
fn a_refused_ring_explains_what_the_server_refused() {
    for (errno, id) in [(Errno::ENOMEM, "memlock"), (Errno::ENOSPC, "fixed-files")] {
        let mut run = run_facts();
        lost(&mut run, &[(Lost(LostCause::Reset), 900)]);
        let figures = [("grow_failed_total".to_owned(), 1), ("refused_total".to_owned(), 2)];
        let end = server(&mut run);
        (end.figures, end.failed) = (figures.into(), [(errno.to_string(), 1)].into());
        assert_eq!(named(&run), [(UNKNOWN, Place::Between, 898), (id, Place::Server, 2)]);
        // It failed so in an earlier run alone.
        server(&mut run).failed.insert(errno.to_string(), 0);
        assert_eq!(named(&run), [(UNKNOWN, Place::Between, 900)]);
    }
}

/// Counters that more than one wall moves, and log lines that are of the whole host.
#[test]
fn a_wall_is_not_named_for_another_ones_signs() {
    let timed_out = [(Failed(Errno::ETIMEDOUT), 100)];
    // Somebody else's packets were dropped, not those of our interfaces.
    let mut run = run_facts();
    lost(&mut run, &timed_out);
    rises(&mut run.client, "softnet.dropped", 0, 1000);
    rises(&mut run.client, "eth0.rx_dropped", 5, 5);
    assert_eq!(named(&run), [("unanswered", Place::Between, 100)]);
    rises(&mut run.client, "eth0.rx_dropped", 5, 65);
    let walls = [("netdev-backlog", Place::Client, 60), ("unanswered", Place::Between, 40)];
    assert_eq!(named(&run), walls);

    // SYNs that were dropped because there is no way back are no full queue.
    let mut run = run_facts();
    lost(&mut run, &timed_out);
    rises(server(&mut run), "TcpExt.ListenDrops", 0, 300);
    rises(server(&mut run), "Ip.OutNoRoutes", 0, 300);
    assert_eq!(named(&run), [("unanswered", Place::Between, 100)]);
    rises(server(&mut run), "Ip.OutNoRoutes", 0, 0);
    assert_eq!(named(&run), [("syn-queue", Place::Server, 100)]);
    rises(server(&mut run), "TcpExt.ListenOverflows", 0, 300);
    assert_eq!(named(&run), [("accept-queue", Place::Server, 100)]);

    // The table of the client's namespace was not full, whatever another one's was.
    let full = "nf_conntrack: nf_conntrack: table full in netns 4026532, dropping packet";
    let mut run = run_facts();
    lost(&mut run, &timed_out);
    run.log = Some(vec![full.to_owned()]);
    rises(&mut run.client, "nf_conntrack.drop", 0, 0);
    rises(server(&mut run), "nf_conntrack.drop", 0, 300);
    assert_eq!(named(&run), [("conntrack", Place::Server, 100)]);

    // Nor was the server's, of which the log of another host says nothing.
    run.server = Some(End { counters: Some(Default::default()), ..End::default() });
    assert_eq!(named(&run), [("unanswered", Place::Between, 100)]);
    run.log = Some(vec!["TCP: request_sock_TCP: Possible SYN flooding on port 80.".to_owned()]);
    assert!(diagnose(&run).met_without_loss.is_empty(), "another listener's, on another host");

    // The table of neighbours is the host's: what failed for it failed no more often than it was full.
    let mut run = run_facts();
    lost(&mut run, &[(Failed(Errno::ENOBUFS), 40), (Failed(Errno::ETIMEDOUT), 100)]);
    run.client.failed = [(Errno::ENOBUFS.to_string(), 40)].into();
    rises(&mut run.client, "arp_cache.table_fulls", 0, 50);
    let walls = [("unanswered", Place::Between, 90), ("neighbours", Place::Between, 50)];
    assert_eq!(named(&run), walls);

    // Somebody found no file left; the server says that it was not it.
    let mut run = run_facts();
    run.shares_kernel = true;
    lost(&mut run, &timed_out);
    run.log = Some(vec!["VFS: file-max limit 5805 reached".to_owned()]);
    assert_eq!(named(&run), [("file-max", Place::Server, 100)]);
    server(&mut run).figures = [("refused_total".to_owned(), 0)].into();
    assert_eq!(named(&run), [("unanswered", Place::Between, 100)]);

    // One counter, two causes.
    for (line, id) in [
        (Some("TCP: too many orphaned sockets"), "orphans"),
        (Some("TCP: out of memory -- consider tuning tcp_mem"), "tcp-mem"),
        (Some("TCP: something else, and ten lines are all that it has room for"), "orphans"),
        (None, "orphans"),
    ] {
        let mut run = run_facts();
        run.shares_kernel = true;
        lost(&mut run, &[(Lost(LostCause::Reset), 9)]);
        rises(server(&mut run), "TcpExt.TCPAbortOnMemory", 0, 20);
        rises(server(&mut run), "TcpExt.TCPMemoryPressures", 3, 3);
        run.log = line.map(|line| vec![line.to_owned()]);
        let walls = named(&run);
        assert_eq!((walls.len(), walls[0].0, walls[0].2), (1, id, 9), "{line:?}");
    }
}

/// A CPU quota makes a client late: more cores would use it up sooner.
#[test]
fn a_cpu_quota_is_not_the_client_s_own_lag() {
    let mut run = run_facts();
    lost(&mut run, &[(Late, 70)]);
    run.facts.lag_p99_us = Some(900_000);
    assert_eq!(named(&run)[0].0, "client-lag");
    rises(&mut run.client, "cgroup.nr_throttled", 3, 40);
    rises(&mut run.client, "cgroup.throttled_ms", 100, 2_600);
    assert_eq!(named(&run), [("cpu-quota", Place::Client, 70)]);
    let wall = &diagnose(&run).walls[0];
    assert!(wall.fix.iter().all(|fix| !fix.contains("with more")), "{:?}", wall.fix);
    // A burst at the start was held up for a moment.
    rises(&mut run.client, "cgroup.throttled_ms", 100, 120);
    assert_eq!(named(&run)[0].0, "client-lag");
}
