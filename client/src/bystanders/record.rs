//! `bystanders.ndjson` of a run directory: every answer, a line for each bystander and second in which
//! something of it was due. It is written between the phases, never by a thread that asks.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use megaconn::base::stderr::talk;
use megaconn::results::BYSTANDERS;
use megaconn::results::bystanders::Second;

use crate::bystanders::sample::{Outcome, Sample};

const FILE: &str = BYSTANDERS.name;

/// The file, and what of it is written.
pub(crate) struct Record {
    file: Option<File>,
    /// Samples that are in it.
    written: usize,
}

impl Record {
    /// A file in `dir`; none is written where it cannot be.
    pub(crate) fn new(dir: Option<&Path>) -> Record {
        let open = |dir: &Path| {
            let file =
                OpenOptions::new().write(true).create(true).truncate(true).open(dir.join(FILE));
            file.map_err(|error| talk(&format!("warning: no {FILE}: {error}"))).ok()
        };
        Record { file: dir.and_then(open), written: 0 }
    }

    /// How many samples are in it.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// The lines of `samples`, which have come since the last call. A second with a call in it, or whose
    /// last answers came late, has several lines.
    pub(crate) fn lines(&mut self, samples: &[Sample], names: &[&str], began_at_ms: u64) -> String {
        let mut lines: BTreeMap<(u64, u8), Second> = BTreeMap::new();
        for sample in samples {
            let second = sample.due_us / 1_000_000;
            let line = lines.entry((second, sample.probe)).or_insert_with(|| Second {
                schema: BYSTANDERS.schema.to_owned(),
                name: (*names.get(usize::from(sample.probe)).unwrap_or(&"")).to_owned(),
                at_ms: began_at_ms + second * 1_000,
                ..Second::default()
            });
            match sample.outcome {
                outcome if outcome.is_answer() => line.latency_us.push(sample.latency_us),
                _ => line.lost += 1,
            }
            line.reordered += u64::from(sample.outcome == Outcome::Reordered);
        }
        self.written += samples.len();
        let text = |line| serde_json::to_string(line).expect("our own types are plain data") + "\n";
        lines.values().map(text).collect()
    }

    /// Writes them; a disk that is full ends the file, and the run goes on.
    pub(crate) fn write(&mut self, lines: &str) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(lines.as_bytes())
        {
            talk(&format!("warning: {FILE} ends here: {error}"));
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(probe: u8, due_ms: u64, latency_us: u32, outcome: Outcome) -> Sample {
        Sample { due_us: due_ms * 1_000, latency_us, probe, outcome }
    }

    #[test]
    fn every_sample_is_in_one_line_however_often_it_is_written() {
        let samples = [
            sample(0, 0, 10, Outcome::Answered),
            sample(1, 500, 11, Outcome::Answered),
            sample(0, 1_900, 12, Outcome::Answered),
            sample(0, 900, 1_000_000, Outcome::TimedOut),
            sample(0, 1_800, 300_000, Outcome::Reordered),
            sample(1, 9_000, 13, Outcome::Failed),
        ];
        let mut record = Record::new(None);
        let text: String = [0..0, 0..2, 2..2, 2..samples.len()]
            .map(|new| record.lines(&samples[new], &["ping", "udp"], 50_000))
            .concat();
        assert_eq!(record.written(), samples.len());
        let expected = [
            ("ping", 50_000, 0, 0, "[10]"),
            ("udp", 50_000, 0, 0, "[11]"),
            ("ping", 50_000, 1, 0, "[]"),
            ("ping", 51_000, 0, 1, "[12,300000]"),
            ("udp", 59_000, 1, 0, "[]"),
        ];
        let expected = expected.map(|(name, at_ms, lost, reordered, latencies)| {
            format!(
                "{{\"schema\":\"megaconn.bystander/1\",\"name\":\"{name}\",\"at_ms\":{at_ms},\
                 \"lost\":{lost},\"reordered\":{reordered},\"latency_us\":{latencies}}}\n"
            )
        });
        assert_eq!(text, expected.concat());
    }
}
