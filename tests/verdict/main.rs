//! The verdict on runs made by hand: losses are attributed to the walls whose signs are there, to
//! none more than its sign counts, and no loss is forgotten.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../run_facts/mod.rs"]
mod run_facts;

use megaconn::base::errno::Errno;
use megaconn::host::counters::Counters;
use megaconn::observe::stats::LostCause;
use megaconn::walls::diagnosis::{Attribution, UNKNOWN, diagnose};
use megaconn::walls::evidence::Confidence;
use megaconn::walls::place::Place;
use megaconn::walls::run_facts::End;
use megaconn::walls::sign::Sign;
use megaconn::walls::symptom::Symptom::{Failed, Late, Lost, NotEnded, Untried};
use megaconn::walls::table;

mod absence;
mod acts;
mod any;
mod fixes;
mod late;

use run_facts::{lost, named, rises, run_facts, server};

#[test]
fn nothing_lost_is_no_wall() {
    let diagnosis = diagnose(&run_facts());
    assert_eq!((diagnosis.walls.len(), diagnosis.met_without_loss.len()), (0, 0));
}

#[test]
fn a_loss_that_nothing_explains_has_no_name() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Mismatch), 3), (NotEnded, 2)]);
    assert_eq!(named(&run), [(UNKNOWN, Place::Between, 5)]);
}

#[test]
fn a_wall_is_charged_with_no_more_than_its_sign_counts() {
    let mut run = run_facts();
    lost(&mut run, &[(Failed(Errno::ETIMEDOUT), 500), (Lost(LostCause::Mismatch), 7)]);
    rises(server(&mut run), "TcpExt.ListenOverflows", 10, 110);
    let walls = named(&run);
    assert_eq!(walls[1], ("accept-queue", Place::Server, 100));
    assert_eq!(walls[0], ("unanswered", Place::Between, 400));
    assert_eq!(walls[2], (UNKNOWN, Place::Between, 7));
}

#[test]
fn what_is_late_for_a_dropped_packet_was_sent_again() {
    let mut run = run_facts();
    lost(&mut run, &[(Late, 100)]);
    rises(server(&mut run), "TcpExt.ListenOverflows", 0, 1000);
    assert_eq!(named(&run), [(UNKNOWN, Place::Between, 100)]);
    rises(&mut run.client, "Tcp.RetransSegs", 5, 65);
    assert_eq!(named(&run)[0], ("accept-queue", Place::Server, 60));
}

#[test]
fn a_sign_without_a_loss_is_said_and_not_blamed() {
    let mut run = run_facts();
    rises(&mut run.client, "TcpExt.TCPTimeWaitOverflow", 0, 9);
    let diagnosis = diagnose(&run);
    assert!(diagnosis.walls.is_empty());
    let met: Vec<_> = diagnosis.met_without_loss.iter().map(|wall| wall.id).collect();
    assert_eq!(met, ["tw-buckets"]);
}

#[test]
fn what_one_kernel_counts_for_both_ends_is_charged_once() {
    let mut run = run_facts();
    run.shares_kernel = true;
    lost(&mut run, &[(Lost(LostCause::Timeout), 50)]);
    rises(&mut run.client, "nf_conntrack.drop", 0, 20);
    rises(server(&mut run), "nf_conntrack.drop", 0, 20);
    assert_eq!(named(&run), [(UNKNOWN, Place::Between, 30), ("conntrack", Place::Server, 20)]);
    assert!(!diagnose(&run).walls[0].ruled_out.iter().any(|line| line.starts_with("conntrack")));
}

/// Both ends are in one cgroup: the client stops, and the server refuses the connections that are
/// on their way.
#[test]
fn a_reserve_costs_the_client_what_it_did_not_try_and_the_server_what_it_refused() {
    let mut run = run_facts();
    let reset = (Lost(LostCause::Reset), 40);
    lost(&mut run, &[(Untried, 500), (Failed(Errno::ECONNRESET), 60), reset]);
    run.facts.reserve_met = Some("9 MiB left in cgroup /a, 10 MiB reserved".into());
    run.facts.time_wait = Some(100);
    run.client.figures = [("tuples_skipped_total".to_owned(), 8)].into();
    let figures = ["refused_memory_total", "refused_cgroup_total"].map(|name| (name.into(), 100));
    server(&mut run).figures = figures.into();
    let (client, server_) = (Place::Client, Place::Server);
    assert_eq!(named(&run), [("cgroup-memory", client, 500), ("cgroup-memory", server_, 100)]);
    server(&mut run).figures.insert("refused_cgroup_total".into(), 0);
    run.facts.reserve_met = Some("9 MiB left on this host, 10 MiB reserved".into());
    assert_eq!(named(&run), [("memory", client, 500), ("memory", server_, 100)]);
}

#[test]
fn what_the_programs_met_themselves_comes_before_what_the_kernel_counted() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Reset), 50)]);
    rises(server(&mut run), "TcpExt.ListenOverflows", 0, 1000);
    let end = server(&mut run);
    end.figures = [("refused_total".to_owned(), 50), ("grow_failed_total".to_owned(), 0)].into();
    let diagnosis = diagnose(&run);
    assert_eq!((diagnosis.walls[0].id, diagnosis.walls[0].lost), ("server-full", 50));
    assert_eq!(diagnosis.walls[0].confidence, Confidence::Certain);
}

/// One sign of each row, with a loss that only it explains: the row and its side are named.
#[test]
fn every_error_number_has_its_wall() {
    for (errno, at_server, id) in [
        (Errno::ENFILE, false, "file-max"),
        (Errno::ENFILE, true, "file-max"),
        (Errno::EMFILE, false, "nofile"),
        (Errno::ECONNREFUSED, false, "refused"),
        (Errno::ENOBUFS, false, "memory"),
        (Errno::EADDRINUSE, false, "source-ports"),
    ] {
        let mut run = run_facts();
        lost(&mut run, &[(Failed(errno), 5)]);
        let end = if at_server { server(&mut run) } else { &mut run.client };
        end.failed = [(errno.to_string(), 5)].into();
        let walls = named(&run);
        assert_eq!((walls.len(), walls[0].0, walls[0].2), (1, id, 5), "{errno}");
        let side = if at_server || id == "refused" { Place::Server } else { Place::Client };
        assert_eq!(walls[0].1, side, "{errno}");
    }
}

/// The answers tell whether a server listens.
#[test]
fn refused_needs_no_sight_of_the_server() {
    let mut run = run_facts();
    run.server = None;
    lost(&mut run, &[(Failed(Errno::ECONNREFUSED), 5)]);
    assert_eq!(named(&run), [("refused", Place::Server, 5)]);
}

#[test]
fn what_could_not_be_seen_is_said() {
    let mut run = run_facts();
    run.server = None;
    lost(&mut run, &[(Failed(Errno::ETIMEDOUT), 5)]);
    let wall = &diagnose(&run).walls[0];
    assert_eq!((wall.id, wall.confidence), ("unanswered", Confidence::Possible));
    let unseen = |line: &&String| line.contains("at the server: not seen, ");
    assert!(wall.ruled_out.iter().any(|line| line.starts_with("accept-queue") && unseen(&line)));

    // Seen, but without this counter: that is not 0.
    run.server = Some(End::default());
    let wall = &diagnose(&run).walls[0];
    let line = wall.ruled_out.iter().find(|line| line.starts_with("accept-queue")).unwrap();
    assert!(line.contains("the counters of its kernel were not available"), "{line}");
}

#[test]
fn every_charge_has_evidence_and_a_fix() {
    for wall in table::all() {
        for sign in wall.signs {
            let mut run = run_facts();
            let symptoms: Vec<_> = wall.explains.iter().map(|symptom| (*symptom, 3)).collect();
            lost(&mut run, &symptoms);
            for side in wall.at.sides() {
                let end = if *side == Place::Server { server(&mut run) } else { &mut run.client };
                match sign {
                    Sign::Rises(counter) => rises(end, counter, 1, 100),
                    Sign::Counted(figure) => drop(end.figures.insert((*figure).to_owned(), 100)),
                    Sign::Errno(errno) => drop(end.failed.insert(errno.to_string(), 100)),
                    Sign::Logged(text) => {
                        run.shares_kernel = true;
                        run.log = Some(vec![format!("kernel: {text} now")]);
                    }
                    Sign::Kernel(..) | Sign::Became(..) | Sign::Seen(..) => {}
                }
            }
            let is_shown = |attribution: &&Attribution| attribution.id == wall.id;
            let diagnosis = diagnose(&run);
            let all = diagnosis.walls.iter().chain(&diagnosis.met_without_loss);
            let Some(attribution) = all.clone().find(is_shown) else {
                let is_plain =
                    !matches!(sign, Sign::Kernel(..) | Sign::Became(..) | Sign::Seen(..));
                assert!(!is_plain || !symptoms.is_empty(), "{} is not met by {sign}", wall.id);
                continue;
            };
            assert!(
                !attribution.evidence.is_empty() && !attribution.fix.is_empty(),
                "{attribution:?}"
            );
        }
    }
}

#[test]
fn counters_travel_as_json() {
    let mut counters = Counters::default();
    counters.set("TcpExt.ListenOverflows", 3);
    let text = serde_json::to_string(&counters).unwrap();
    assert_eq!(text, r#"{"TcpExt.ListenOverflows":3}"#);
    assert_eq!(serde_json::from_str::<Counters>(&text).unwrap(), counters);
}
