//! What else a loss could have been: ruled out by what was seen, not seen, or possible still. What
//! could not be read is never ruled out.

use megaconn::base::errno::Errno;
use megaconn::host::cpu::CpuTime;
use megaconn::observe::stats::LostCause;
use megaconn::walls::absence::absence;
use megaconn::walls::diagnosis::{UNKNOWN, diagnose};
use megaconn::walls::place::Place;
use megaconn::walls::run_facts::{End, RunFacts};
use megaconn::walls::sign::Sign;
use megaconn::walls::symptom::Symptom::{Failed, Lost};
use megaconn::walls::table;
use megaconn::walls::wall::Wall;

use super::{lost, rises, run_facts, server};

/// A loss that no wall explains beside those of `wall`, and both ends in full sight of it.
fn seen_and_not_met(wall: &Wall) -> RunFacts {
    let mut run = run_facts();
    let symptoms: Vec<_> = wall.explains.iter().map(|symptom| (*symptom, 3)).collect();
    lost(&mut run, &symptoms);
    let time = CpuTime { ran_ms: 1, waited_ms: 0, lived_ms: 1000 };
    for end in [&mut run.client, run.server.as_mut().unwrap()] {
        end.cpu_time = Some(time);
        end.figures = [("refused_total".to_owned(), 0), ("grow_failed_total".to_owned(), 0)].into();
        for sign in table::all().flat_map(|wall| wall.signs) {
            match sign {
                Sign::Rises(counter) => rises(end, counter, 7, 7),
                Sign::Counted(figure) => drop(end.figures.insert((*figure).to_owned(), 0)),
                _ => {}
            }
        }
    }
    run.facts.listeners = Some(Vec::new());
    run
}

/// The lines about a wall, of all that a run has been attributed to.
fn lines(run: &RunFacts, id: &str) -> Vec<String> {
    let diagnosis = diagnose(run);
    let all = diagnosis.walls.into_iter().flat_map(|wall| wall.ruled_out);
    all.filter(|line| line.starts_with(&format!("{id}:")) || line.starts_with(&format!("{id} at")))
        .collect()
}

#[test]
fn every_wall_that_was_looked_for_in_vain_says_so_in_words() {
    for wall in table::all().filter(|wall| !wall.explains.is_empty()) {
        assert!(!wall.absent.is_empty(), "{}: what does it mean that no sign is there?", wall.id);
        assert_eq!(absence(wall), wall.absent);
        let run = seen_and_not_met(wall);
        let is_named = diagnose(&run).walls.iter().any(|named| named.id == wall.id);
        let lines = lines(&run, wall.id);
        let is_ruled_out = |line: &String| line.ends_with(&format!("ruled out, {}", wall.absent));
        // What explains every loss of this run by itself leaves no other wall a line.
        assert!(is_named || lines.iter().all(is_ruled_out), "{}: {lines:?}", wall.id);
    }
}

/// Without sight of the server nothing at the server is ruled out, save by what the client itself was
/// told.
#[test]
fn what_was_not_read_is_not_ruled_out() {
    let unseen = [
        None,
        Some(End::default()),
        Some(End { counters: Some(Default::default()), ..End::default() }),
        Some(
            End { figures: [("refused_total".to_owned(), 9)].into(), ..End::default() }
                .seen_early(),
        ),
    ];
    for (number, end) in unseen.into_iter().enumerate() {
        for wall in table::all() {
            let mut run = seen_and_not_met(wall);
            run.server = end.clone();
            run.log = None;
            run.facts.listeners = None;
            let by_the_loss = wall.signs.iter().all(|sign| matches!(sign, Sign::Became(..)));
            for line in lines(&run, wall.id) {
                let is_at_server = line.contains("at the server") || line.contains("or server");
                let is_said = line.contains(": ruled out, ");
                assert!(by_the_loss || !is_at_server || !is_said, "{number}: {line}");
            }
        }
    }
}

/// The case of the report: a full server of which nothing was told.
#[test]
fn a_server_that_was_not_seen_may_have_been_full() {
    let mut run = run_facts();
    lost(&mut run, &[(Lost(LostCause::Reset), 40)]);
    run.server = None;
    let not_seen = "server-full at the server: not seen, the server's figures were not available";
    assert_eq!(lines(&run, "server-full"), [not_seen]);
    let memlock = lines(&run, "memlock");
    assert!(memlock.contains(&"memlock at the client: ruled out, no ring was refused".to_owned()));
    let mut run = seen_and_not_met(table::find("server-full").unwrap());
    assert_eq!(
        lines(&run, "server-full"),
        ["server-full at the server: ruled out, the server refused no connection for want of a \
          free slot"]
    );
    run.server = run.server.map(End::seen_early);
    assert_eq!(
        lines(&run, "server-full"),
        ["server-full at the server: not seen, the server was seen for the last time before the \
          end of the run"]
    );
}

/// A wall that was met, and to which the loss is not attributed, remains possible; one that is charged
/// with all that its sign counts does not.
#[test]
fn a_wall_that_was_met_remains_possible() {
    let mut run = run_facts();
    lost(&mut run, &[(Failed(Errno::ETIMEDOUT), 50)]);
    rises(server(&mut run), "TcpExt.ListenOverflows", 10, 110);
    rises(server(&mut run), "TcpExt.TCPReqQFullDrop", 0, 30);
    let walls = diagnose(&run).walls;
    assert_eq!((walls[0].id, walls.len()), ("accept-queue", 1));
    assert_eq!(
        lines(&run, "syn-queue"),
        ["syn-queue at the server: possible, server: TcpExt.TCPReqQFullDrop 0 -> 30"]
    );
    lost(&mut run, &[(Failed(Errno::ETIMEDOUT), 500)]);
    let last = diagnose(&run).walls.pop().unwrap();
    assert_eq!(last.side, Place::Server);
    assert_eq!(lines(&run, "syn-queue").len(), 0, "it is charged with its thirty");
}

/// What no wall explains is said with what was seen, what was not, and one step that would tell.
#[test]
fn the_unknown_has_one_next_step_and_it_is_no_look_at_dmesg() {
    for cause in LostCause::ALL {
        for sight in [None, Some(End::default()), Some(server(&mut run_facts()).clone())] {
            let mut run = run_facts();
            run.server = sight.clone();
            run.facts.target = Some("192.0.2.1:7000".parse().unwrap());
            run.facts.lost_when = Some("lost from 1.0 s to 1.2 s after the start".into());
            lost(&mut run, &[(Lost(cause), 4)]);
            let wall = diagnose(&run).walls.into_iter().find(|wall| wall.id == UNKNOWN);
            let Some(wall) = wall else { continue };
            assert_eq!(wall.fix.len(), 1, "{wall:?}");
            assert!(!wall.fix[0].contains("dmesg"), "{wall:?}");
            assert!(wall.evidence[0].contains(": ") && wall.evidence[1].starts_with("lost from"));
            assert!(wall.evidence.iter().any(|line| line.starts_with("not seen: ")));
            let needs_sight = !matches!(cause, LostCause::Local | LostCause::Mismatch);
            assert_eq!(needs_sight, wall.fix[0].contains("--server-metrics"), "{wall:?}");
        }
    }
    // With both ends in full sight it is a look at the packets.
    let mut run = seen_and_not_met(table::find("server-full").unwrap());
    run.facts.target = Some("192.0.2.1:7000".parse().unwrap());
    lost(&mut run, &[(Lost(LostCause::Fin), 4)]);
    let wall = diagnose(&run).walls.remove(0);
    assert!(
        wall.fix[0].contains("tcpdump -ni any -c 100 'host 192.0.2.1 and port 7000"),
        "{wall:?}"
    );
}

/// A server that is seen by its dumps alone has no counters of its kernel: that raises no confidence,
/// and the fix is to let it be seen.
#[test]
fn what_was_not_measured_raises_no_confidence() {
    let mut run = run_facts();
    run.server = Some(End { figures: [("refused_total".to_owned(), 0)].into(), ..End::default() });
    lost(&mut run, &[(Failed(Errno::ETIMEDOUT), 5)]);
    let wall = diagnose(&run).walls.remove(0);
    assert_eq!(wall.id, "unanswered");
    assert_eq!(wall.confidence, megaconn::walls::evidence::Confidence::Possible);
    lost(&mut run, &[(Lost(LostCause::Fin), 5)]);
    let wall = diagnose(&run).walls.remove(0);
    assert_eq!((wall.id, wall.fix[0].contains("--server-metrics")), (UNKNOWN, true), "{wall:?}");
}
