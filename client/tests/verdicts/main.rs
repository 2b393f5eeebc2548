//! How often the verdict is right: situations of many kinds, each met with the real programs, by a client
//! that sees the server and by one that does not.
//!
//! **What is right** is set from what is done to the run, and never from what came out.
//!
//! - With sight the wall that was met and its side are right. What the client can never see, as a foreign
//!   server's own rule, is right as `unknown` with the pattern of its losses.
//! - Without sight the client has its own host, and no figures, counters or queues of the server's. A coarse
//!   name that is true is right then: `unanswered` for connects that a queue of the server dropped (by the
//!   list of walls it means a firewall, a route or the server's side, and says what was not seen);
//!   `idle-limit` for the server's own `--idle-timeout`; `server-gone` for a server that was ended. A server
//!   that resets what comes, for a limit that only it knows, is right as `unknown` with the pattern that
//!   they ended as soon as they were there.
//! - A healthy run is right when no wall is named at all.
//! - Nothing named where something was met, or `unknown` without the pattern, is unknown. All else is wrong.
//! - A wall that was not met and is named besides the first is counted apart.
//!
//! `MEGACONN_LAB_REPEAT=5 MEGACONN_LAB_OUT=DIR cargo test --release --test verdicts -- --ignored --nocapture`
//! meets each so often and writes `verdicts.csv`; `MEGACONN_LAB_ONLY=TEXT` takes the rows with that text in
//! their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use judge::{Judged, Worth, judge};
use lab::netns::Sight;
use row::Row;

#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod healthy;
mod hosts;
mod judge;
mod known;
#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../lab/mod.rs"]
mod lab;
mod network;
mod peers;
mod row;

const TABLES: [&[Row]; 5] = [known::ROWS, peers::ROWS, network::ROWS, hosts::ROWS, healthy::ROWS];

fn rows() -> impl Iterator<Item = &'static Row> {
    TABLES.into_iter().flatten()
}

/// One meeting that is to be.
#[derive(Clone, Copy)]
struct Turn {
    row: &'static Row,
    sight: Sight,
}

/// Rows that are met at one time; each is in namespaces of its own, and mostly waits.
const AT_ONCE: usize = 4;

/// Meets all, first those that can be met together, and tells of each as soon as it is over. What this
/// host does not permit is left out.
fn meet_all(turns: &[Turn], tell: &(dyn Fn(Turn, &Judged) + Sync)) -> Vec<(Turn, Judged)> {
    let found = Mutex::new(Vec::new());
    for (is_alone, threads) in [(false, AT_ONCE), (true, 1)] {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(turn) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
                if turn.row.is_alone != is_alone {
                    continue;
                }
                if let Some(judged) = meet(*turn) {
                    tell(*turn, &judged);
                    found.lock().expect("no thread panics with it").push((*turn, judged));
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    found.into_inner().expect("no thread panicked")
}

fn meet(turn: Turn) -> Option<Judged> {
    let Turn { row, sight } = turn;
    match catch_unwind(AssertUnwindSafe(|| row.meet(sight))) {
        Ok(over) => over.map(|over| judge(row, row.right(sight), &over)),
        // A run that hangs or panics is as bad as a wrong name.
        Err(_) => Some(Judged {
            worth: Worth::Wrong,
            named: "the run panicked, hung, or could not be made".to_owned(),
            ..Judged::default()
        }),
    }
}

fn sight_name(sight: Sight) -> &'static str {
    if sight == Sight::With { "with" } else { "without" }
}

/// A field of a CSV file.
fn field(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "'").replace('\n', " "))
}

#[test]
fn every_row_has_a_name_of_its_own_and_what_is_right() {
    let names: BTreeSet<&str> = rows().map(|row| row.name).collect();
    assert_eq!(names.len(), rows().count(), "two rows have one name");
    assert!(names.len() >= 90, "{} situations", names.len());
    for row in rows() {
        assert!(!row.with.is_empty() && !row.without.is_empty(), "{}: nothing is right", row.name);
    }
}

/// The rows that are cheap, with sight: each is right.
#[test]
fn verdicts_of_cheap_situations_are_right() {
    let cheap = rows().filter(|row| row.is_cheap && !row.is_alone);
    let turns: Vec<Turn> = cheap.map(|row| Turn { row, sight: Sight::With }).collect();
    assert!(turns.len() >= 10, "{} rows are cheap", turns.len());
    let found = meet_all(&turns, &|_, _| {});
    let is_right = |judged: &Judged| judged.worth == Worth::Right && judged.false_beside.is_empty();
    let others = found.iter().filter(|(_, judged)| !is_right(judged));
    let others: Vec<String> = others
        .map(|(turn, judged)| format!("{}: {} {}", turn.row.name, judged.named, judged.why))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
#[ignore = "an hour: each situation again and again, see the head of this file"]
fn how_often_right() {
    let times = std::env::var("MEGACONN_LAB_REPEAT").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let only = std::env::var("MEGACONN_LAB_ONLY").unwrap_or_default();
    let out = std::env::var_os("MEGACONN_LAB_OUT").map_or_else(std::env::temp_dir, PathBuf::from);
    let wanted: Vec<&'static Row> = rows().filter(|row| row.name.contains(&only)).collect();
    assert!(!wanted.is_empty(), "no row has {only:?} in its name");
    let of_row = |row| [Sight::With, Sight::Without].map(|sight| Turn { row, sight });
    let round: Vec<Turn> = wanted.iter().copied().flat_map(of_row).collect();
    let turns: Vec<Turn> = (0..times).flat_map(|_| round.iter().copied()).collect();
    let meetings = File::create(out.join("meetings.csv")).expect("there is a place for results");
    (&meetings).write_all(b"situation,sight,worth,named,false_beside\n").expect("there is room");
    let found = meet_all(&turns, &|turn, judged| {
        let line = [
            field(turn.row.name),
            sight_name(turn.sight).to_owned(),
            format!("{:?}", judged.worth).to_lowercase(),
            field(&judged.named),
            field(&judged.false_beside.join(" ")),
        ];
        (&meetings).write_all((line.join(",") + "\n").as_bytes()).expect("there is room");
        if judged.worth != Worth::Right || !judged.false_beside.is_empty() {
            eprintln!("{}\n    {}", line.join(","), judged.why);
        }
    });
    let table = Table::of(&round, &found);
    fs::write(out.join("verdicts.csv"), table.csv).expect("there is room");
    fs::write(out.join("sums.txt"), &table.sums).expect("there is room");
    println!("{}", table.sums);
}

/// What the meetings came to.
struct Table {
    /// A line for each situation and sight.
    csv: String,
    /// The sums of each sight.
    sums: String,
}

impl Table {
    fn of(round: &[Turn], found: &[(Turn, Judged)]) -> Table {
        let mut csv = String::from(
            "situation,sight,expected,right,unknown,wrong,with_a_false_wall_besides,named\n",
        );
        let mut sums: BTreeMap<&str, [usize; 6]> = BTreeMap::new();
        for turn in round {
            let is_of_it = |(other, _): &&(Turn, Judged)| {
                other.row.name == turn.row.name && other.sight == turn.sight
            };
            let judged: Vec<&Judged> =
                found.iter().filter(is_of_it).map(|(_, judged)| judged).collect();
            let count = |worth| judged.iter().filter(|judged| judged.worth == worth).count();
            let beside = judged.iter().filter(|judged| !judged.false_beside.is_empty()).count();
            let is_nameless =
                |judged: &&&Judged| judged.worth == Worth::Right && judged.is_nameless;
            let nameless = judged.iter().filter(is_nameless).count();
            let [right, unknown, wrong] = [Worth::Right, Worth::Unknown, Worth::Wrong].map(count);
            let mut named: BTreeMap<&str, usize> = BTreeMap::new();
            judged.iter().for_each(|judged| *named.entry(&judged.named).or_default() += 1);
            let named: Vec<String> =
                named.iter().map(|(named, times)| format!("{times}x {named}")).collect();
            let expected = format!("{:?}", turn.row.right(turn.sight));
            let sight = sight_name(turn.sight);
            csv += &format!(
                "{},{sight},{},{right},{unknown},{wrong},{beside},{}\n",
                field(turn.row.name),
                field(&expected),
                field(&named.join("; ")),
            );
            let sum = sums.entry(sight).or_default();
            let rows = usize::from(!judged.is_empty());
            for (sum, n) in sum.iter_mut().zip([right, unknown, wrong, beside, nameless, rows]) {
                *sum += n;
            }
        }
        let mut text = String::from(
            "sight | situations | right | of them by a pattern without a name | unknown | wrong | \
             right of all | a false wall besides\n---|---|---|---|---|---|---|---\n",
        );
        for (sight, [right, unknown, wrong, beside, nameless, rows]) in sums {
            let share = 100.0 * right as f64 / (right + unknown + wrong).max(1) as f64;
            text += &format!(
                "{sight} | {rows} | {right} | {nameless} | {unknown} | {wrong} | {share:.1} % | \
                 {beside}\n"
            );
        }
        Table { csv, sums: text }
    }
}
