//! Per-core dumps: one JSON line per core per tick, `megaconn.core/1`.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use histogram::SparseHistogram;
use serde_json::{Map, Value, json};

use crate::base::errno::Errno;
use crate::base::side::Side;
use crate::host::cpu::{CpuTime, THREAD_FIGURES, thread_us};
use crate::host::meminfo::{open_files, resident_bytes};
use crate::observe::stats::{ByCause, ByErrno, CoreStats, LOST_CAUSES};

pub mod line;
pub mod merge;
pub mod ticker;

/// What each line says that it is.
pub const SCHEMA: &str = "megaconn.core/1";

/// Writes the lines of all cores of one process.
pub struct Dump {
    side: Side,
    /// CPU and figures of every core.
    cores: Vec<(u16, Arc<CoreStats>)>,
    out: Box<dyn Write + Send>,
}

impl Dump {
    /// Dumps of `cores` to `out`.
    #[must_use]
    pub fn new(
        side: Side,
        cpus: &[u16],
        stats: &[Arc<CoreStats>],
        out: Box<dyn Write + Send>,
    ) -> Dump {
        let cores = cpus.iter().copied().zip(stats.iter().cloned()).collect();
        Dump { side, cores, out }
    }

    /// One line per core: counters that only rise, gauges, histograms whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn tick(&mut self) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let (resident, files) = (resident_bytes(), open_files());
        let cpu_time = CpuTime::read();
        for (core, (cpu, stats)) in self.cores.iter().enumerate() {
            let mut line = json!({
                "schema": SCHEMA,
                "side": self.side.name(),
                "core": core,
                "cpu": cpu,
                "at_ms": at_ms,
                "process_resident_bytes": resident,
                "process_open_files": files,
                "process_ran_ms": cpu_time.map(|time| time.ran_ms),
                "process_waited_ms": cpu_time.map(|time| time.waited_ms),
                "process_lived_ms": cpu_time.map(|time| time.lived_ms),
            });
            let fields = line.as_object_mut().expect("a JSON object was just made");
            fields.extend(stats.figures().map(|(name, value)| (name.to_owned(), value.into())));
            if let Some(times) = thread_us(stats.thread.get()) {
                let times = THREAD_FIGURES.iter().zip(times);
                fields.extend(times.map(|((name, _), us)| ((*name).to_owned(), us.into())));
            }
            fields.insert("failed".into(), by_errno(&stats.failed));
            fields.insert("lost".into(), by_cause(&stats.lost));
            fields.insert("churn_failed".into(), by_errno(&stats.churn_failed));
            fields.insert("churn_lost".into(), by_cause(&stats.churn_lost));
            let whole = |(name, histogram): (&str, _)| {
                (name.to_owned(), json!(SparseHistogram::from(&histogram)))
            };
            let histograms = stats.latencies().map(whole).collect();
            fields.insert("histograms".into(), Value::Object(histograms));
            serde_json::to_writer(&mut self.out, &line)?;
            self.out.write_all(b"\n")?;
        }
        self.out.flush()
    }
}

fn by_errno(figures: &ByErrno) -> Value {
    let numbered = (0_i32..).zip(figures).filter(|(_, figure)| figure.get() > 0);
    let named = numbered.map(|(number, n)| (Errno(number).to_string(), n.get().into()));
    Value::Object(named.collect::<Map<_, _>>())
}

fn by_cause(figures: &ByCause) -> Value {
    let named = LOST_CAUSES.iter().zip(figures).filter(|(_, figure)| figure.get() > 0);
    Value::Object(named.map(|(name, n)| ((*name).to_owned(), n.get().into())).collect())
}
