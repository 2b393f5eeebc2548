//! Per-core dumps: one JSON line per core per tick, `megaconn.core/1`.

use std::io::{self, Write};
use std::sync::Arc;

use histogram::SparseHistogram;
use serde_json::{Map, Value, json};

use crate::base::clock::unix_ms;
use crate::base::errno::Errno;
use crate::host::cpu::{THREAD_FIGURES, thread_us};
use crate::observe::process::{self, PROCESS_FIGURES};
use crate::observe::stats::{ByCause, ByErrno, CoreStats, LOST_CAUSES, Reading};

pub mod line;
pub mod merge;
pub mod place;
pub mod ticker;

/// What each line says that it is.
pub const SCHEMA: &str = "megaconn.core/1";

/// Writes the lines of all cores of one process.
pub struct Dump<S> {
    /// CPU and figures of every core.
    cores: Vec<(u16, Arc<S>)>,
    out: Box<dyn Write + Send>,
}

impl<S: CoreStats> Dump<S> {
    /// Dumps of `cores` to `out`.
    #[must_use]
    pub fn new(cpus: &[u16], stats: &[Arc<S>], out: Box<dyn Write + Send>) -> Dump<S> {
        let cores = cpus.iter().copied().zip(stats.iter().cloned()).collect();
        Dump { cores, out }
    }

    /// One line per core: counters that only rise, gauges, histograms whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn tick(&mut self) -> io::Result<()> {
        let at_ms = unix_ms();
        let of_process = process::read();
        for (core, (cpu, stats)) in self.cores.iter().enumerate() {
            let mut line = json!({
                "schema": SCHEMA,
                "side": S::SIDE.name(),
                "core": core,
                "cpu": cpu,
                "at_ms": at_ms,
            });
            let fields = line.as_object_mut().expect("a JSON object was just made");
            let of_process = PROCESS_FIGURES.iter().zip(of_process);
            fields.extend(of_process.map(|((name, _), n)| ((*name).to_owned(), n.into())));
            if let Some(times) = thread_us(stats.thread.get()) {
                let times = THREAD_FIGURES.iter().zip(times);
                fields.extend(times.map(|((name, _), us)| ((*name).to_owned(), us.into())));
            }
            add_figures(fields, stats.as_ref());
            serde_json::to_writer(&mut self.out, &line)?;
            self.out.write_all(b"\n")?;
        }
        self.out.flush()
    }
}

fn add_figures(fields: &mut Map<String, Value>, stats: &impl CoreStats) {
    let mut histograms = Map::new();
    for (figure, reading) in stats.figures() {
        let name = figure.name.to_owned();
        match reading {
            Reading::Counter(n) | Reading::Gauge(n) => fields.insert(name, n.into()),
            Reading::ByErrno(counters) => fields.insert(name, by_errno(counters)),
            Reading::ByCause(counters) => fields.insert(name, by_cause(counters)),
            Reading::Latency(latency) => {
                histograms.insert(name, json!(SparseHistogram::from(&latency.load())))
            }
        };
    }
    fields.insert("histograms".into(), Value::Object(histograms));
}

fn by_errno(counters: &ByErrno) -> Value {
    let numbered = (0_i32..).zip(counters).filter(|(_, counter)| counter.get() > 0);
    let named = numbered.map(|(number, n)| (Errno(number).to_string(), n.get().into()));
    Value::Object(named.collect())
}

fn by_cause(counters: &ByCause) -> Value {
    let named = LOST_CAUSES.iter().zip(counters).filter(|(_, counter)| counter.get() > 0);
    Value::Object(named.map(|(name, n)| ((*name).to_owned(), n.get().into())).collect())
}
