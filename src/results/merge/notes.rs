//! The notes of a merged result: what its figures include, and what is left to the parts.

use crate::base::units::grouped;
use crate::results::lenient::Map;
use crate::results::merge::{Common, Merge, in_rows};
use crate::results::result::RunResult;

impl Merge {
    /// The notes for `result`, whose plateaus so many parts have reached.
    pub(super) fn notes(&self, result: &RunResult, reached: &[u64]) -> Map<String> {
        let mut notes = Map::default();
        let mut note = |figure: &str, why: String| {
            notes.insert(figure.to_owned(), why);
        };
        let parts = self.rows.len();
        let (hosts, kernels) = (grouped(parts as u64), grouped(self.hosts.len() as u64));
        note(
            "parts",
            format!(
                "merged of {hosts} parts on {kernels} kernels; dumps, doctor and bystanders in full are in the directory of each"
            ),
        );
        if !self.problems.is_empty() {
            let all: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
            note("parts.problems", format!("merged --anyway: {}", all.join("; ")));
        }
        let short: Vec<String> = (1..)
            .zip(reached)
            .filter(|(_, n)| **n < parts as u64)
            .map(|(plateau, n): (u64, _)| {
                format!("plateau {plateau}: {n} of {parts} parts came to it")
            })
            .collect();
        if !short.is_empty() {
            note("plateaus", short.join("; "));
        }
        if !self.unrecorded.is_empty() {
            note(
                "plateaus.latency_us",
                format!("null: no whole histograms.json of parts {}", in_rows(&self.unrecorded)),
            );
        }
        if !self.steered.is_empty() {
            note(
                "changes",
                format!("parts {} were changed by --control on the way", in_rows(&self.steered)),
            );
        }
        let alike = self.pairs(Common::Addresses).len() as u64;
        if alike > 0 {
            note(
                "parts.sources",
                format!(
                    "{} pairs of parts have the same addresses and ports in networks of their own: behind one NAT it has to \
                 give them other ports",
                    grouped(alike)
                ),
            );
        }
        let by_clock = self.seen.values().filter(|seen| seen.start_at_ms.is_some()).count();
        let unknown: Vec<u64> = self
            .seen
            .iter()
            .filter(|(_, seen)| seen.clock.is_none())
            .map(|(number, _)| *number)
            .collect();
        if by_clock < parts {
            note(
                "parts.started_at_ms",
                "without --start-at each part began when it was ready".to_owned(),
            );
        }
        if !unknown.is_empty() {
            note(
                "parts.clock",
                format!(
                    "how far clocks are apart is not known of parts {}: they are taken to agree",
                    in_rows(&unknown)
                ),
            );
        }
        note(
        "cost_per_connection",
        "growth at the highest plateau over all kernels and clients, and of the one server, divided; a line through \
         plateaus is in the directory of each part"
            .to_owned(),
    );
        if result.losses.is_some() {
            note(
                "losses",
                "times since the start of each part; the most in one second is of one part"
                    .to_owned(),
            );
        }
        if result.bystanders.is_none() {
            note("bystanders", "of each part by itself: parts.bystanders".to_owned());
        }
        if result.verdict.wall.is_none() {
            note("verdict.wall", "no part met one".to_owned());
        }
        notes
    }
}
