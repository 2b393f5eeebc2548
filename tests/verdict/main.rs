//! The verdict on cases made by hand: what was lost is dealt out to the walls whose signs are there,
//! to none more than its sign counts, and nothing of it is forgotten.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../case/mod.rs"]
mod case;

use megaconn::base::errno::Errno;
use megaconn::host::counters::Counters;
use megaconn::observe::stats::LostCause;
use megaconn::walls::case::{Confidence, End};
use megaconn::walls::diagnosis::{Charge, UNKNOWN, judge};
use megaconn::walls::place::Place;
use megaconn::walls::sign::Sign;
use megaconn::walls::symptom::Symptom::{Failed, Late, Lost, NotEnded, Untried};
use megaconn::walls::table;

mod any;
mod late;

use case::{case, lost, named, rises, server};

#[test]
fn nothing_lost_is_no_wall() {
    let judgement = judge(&case());
    assert_eq!((judgement.walls.len(), judgement.met_without_loss.len()), (0, 0));
}

#[test]
fn a_loss_that_nothing_explains_has_no_name() {
    let mut case = case();
    lost(&mut case, &[(Lost(LostCause::Mismatch), 3), (NotEnded, 2)]);
    assert_eq!(named(&case), [(UNKNOWN, Place::Between, 5)]);
}

#[test]
fn a_wall_is_charged_with_no_more_than_its_sign_counts() {
    let mut case = case();
    lost(&mut case, &[(Failed(Errno::ETIMEDOUT), 500), (Lost(LostCause::Mismatch), 7)]);
    rises(server(&mut case), "TcpExt.ListenOverflows", 10, 110);
    let walls = named(&case);
    assert_eq!(walls[1], ("accept-queue", Place::Server, 100));
    assert_eq!(walls[0], ("unanswered", Place::Between, 400));
    assert_eq!(walls[2], (UNKNOWN, Place::Between, 7));
}

#[test]
fn what_is_late_for_a_dropped_packet_was_sent_again() {
    let mut case = case();
    lost(&mut case, &[(Late, 100)]);
    rises(server(&mut case), "TcpExt.ListenOverflows", 0, 1000);
    assert_eq!(named(&case), [(UNKNOWN, Place::Between, 100)]);
    rises(&mut case.client, "Tcp.RetransSegs", 5, 65);
    assert_eq!(named(&case)[0], ("accept-queue", Place::Server, 60));
}

#[test]
fn a_sign_without_a_loss_is_said_and_not_blamed() {
    let mut case = case();
    rises(&mut case.client, "TcpExt.TCPTimeWaitOverflow", 0, 9);
    let judgement = judge(&case);
    assert!(judgement.walls.is_empty());
    let met: Vec<_> = judgement.met_without_loss.iter().map(|wall| wall.id).collect();
    assert_eq!(met, ["tw-buckets"]);
}

#[test]
fn what_one_kernel_counts_for_both_ends_is_charged_once() {
    let mut case = case();
    case.shares_kernel = true;
    lost(&mut case, &[(Lost(LostCause::Timeout), 50)]);
    rises(&mut case.client, "nf_conntrack.drop", 0, 20);
    rises(server(&mut case), "nf_conntrack.drop", 0, 20);
    assert_eq!(named(&case), [(UNKNOWN, Place::Between, 30), ("conntrack", Place::Server, 20)]);
    assert!(!judge(&case).walls[0].ruled_out.iter().any(|line| line.starts_with("conntrack")));
}

/// Both ends in one cgroup: the client stops, and the server refuses who was on the way.
#[test]
fn a_reserve_costs_the_client_what_it_did_not_try_and_the_server_whom_it_refused() {
    let mut case = case();
    let reset = (Lost(LostCause::Reset), 40);
    lost(&mut case, &[(Untried, 500), (Failed(Errno::ECONNRESET), 60), reset]);
    case.facts.reserve_met = Some("9 MiB left in cgroup /a, 10 MiB reserved".into());
    case.facts.time_wait = Some(100);
    case.client.figures = [("tuples_skipped_total".to_owned(), 8)].into();
    let figures = ["refused_memory_total", "refused_cgroup_total"].map(|name| (name.into(), 100));
    server(&mut case).figures = figures.into();
    let (client, server_) = (Place::Client, Place::Server);
    assert_eq!(named(&case), [("cgroup-memory", client, 500), ("cgroup-memory", server_, 100)]);
    server(&mut case).figures.insert("refused_cgroup_total".into(), 0);
    case.facts.reserve_met = Some("9 MiB left on this host, 10 MiB reserved".into());
    assert_eq!(named(&case), [("memory", client, 500), ("memory", server_, 100)]);
}

#[test]
fn what_the_programs_met_themselves_comes_before_what_the_kernel_counted() {
    let mut case = case();
    lost(&mut case, &[(Lost(LostCause::Reset), 50)]);
    rises(server(&mut case), "TcpExt.ListenOverflows", 0, 1000);
    let end = server(&mut case);
    end.figures = [("refused_total".to_owned(), 50), ("grow_failed_total".to_owned(), 0)].into();
    let judgement = judge(&case);
    assert_eq!((judgement.walls[0].id, judgement.walls[0].lost), ("server-full", 50));
    assert_eq!(judgement.walls[0].confidence, Confidence::Certain);
}

/// One sign of a row each, with a loss that only it can be: the row and its side are named.
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
        let mut case = case();
        lost(&mut case, &[(Failed(errno), 5)]);
        let end = if at_server { server(&mut case) } else { &mut case.client };
        end.failed = [(errno.to_string(), 5)].into();
        let walls = named(&case);
        assert_eq!((walls.len(), walls[0].0, walls[0].2), (1, id, 5), "{errno}");
        let side = if at_server || id == "refused" { Place::Server } else { Place::Client };
        assert_eq!(walls[0].1, side, "{errno}");
    }
}

/// Whether anybody listens, the answers tell.
#[test]
fn refused_needs_no_sight_of_the_server() {
    let mut case = case();
    case.server = None;
    lost(&mut case, &[(Failed(Errno::ECONNREFUSED), 5)]);
    assert_eq!(named(&case), [("refused", Place::Server, 5)]);
}

#[test]
fn what_could_not_be_seen_is_said() {
    let mut case = case();
    case.server = None;
    lost(&mut case, &[(Failed(Errno::ETIMEDOUT), 5)]);
    let wall = &judge(&case).walls[0];
    assert_eq!((wall.id, wall.confidence), ("unanswered", Confidence::Possible));
    let unseen = |line: &&String| line.contains("at the server: could not be seen");
    assert!(wall.ruled_out.iter().any(|line| line.starts_with("accept-queue") && unseen(&line)));

    // Seen, but without this counter: that is not 0.
    case.server = Some(End::default());
    let wall = &judge(&case).walls[0];
    let line = wall.ruled_out.iter().find(|line| line.starts_with("accept-queue")).unwrap();
    assert!(line.contains("not measured"), "{line}");
}

#[test]
fn every_charge_has_evidence_and_a_fix() {
    for wall in table::all() {
        for sign in wall.signs {
            let mut case = case();
            let symptoms: Vec<_> = wall.explains.iter().map(|symptom| (*symptom, 3)).collect();
            lost(&mut case, &symptoms);
            for side in wall.at.sides() {
                let end = if *side == Place::Server { server(&mut case) } else { &mut case.client };
                match sign {
                    Sign::Rises(counter) => rises(end, counter, 1, 100),
                    Sign::Counted(figure) => drop(end.figures.insert((*figure).to_owned(), 100)),
                    Sign::Errno(errno) => drop(end.failed.insert(errno.to_string(), 100)),
                    Sign::Logged(text) => {
                        case.shares_kernel = true;
                        case.log = Some(vec![format!("kernel: {text} now")]);
                    }
                    Sign::Kernel(..) | Sign::Became(..) | Sign::Seen(..) => {}
                }
            }
            let is_shown = |charge: &&Charge| charge.id == wall.id;
            let judgement = judge(&case);
            let all = judgement.walls.iter().chain(&judgement.met_without_loss);
            let Some(charge) = all.clone().find(is_shown) else {
                let is_plain =
                    !matches!(sign, Sign::Kernel(..) | Sign::Became(..) | Sign::Seen(..));
                assert!(!is_plain || !symptoms.is_empty(), "{} is not met by {sign}", wall.id);
                continue;
            };
            assert!(!charge.evidence.is_empty() && !charge.fix.is_empty(), "{charge:?}");
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
