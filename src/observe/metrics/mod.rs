//! The figures of one process as OpenMetrics text. It reads what the cores count and changes
//! nothing; [`http`] gives the text to whoever asks.
//!
//! A figure `NAME` of [`CoreStats`] is `megaconn_NAME{side,core,cpu}`; a histogram of microseconds
//! is one in seconds, with a bucket for each power of two.

use std::fmt;
use std::sync::Arc;

use histogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use crate::base::errno::Errno;
use crate::base::side::Side;
use crate::host::counters::Counters;
use crate::host::cpu::{CpuTime, THREAD_FIGURES, thread_us};
use crate::host::meminfo::{open_files, resident_bytes};
use crate::host::procfs::Tree;
use crate::observe::stats::{CoreStats, Figure, LOST_CAUSES};

pub mod fetch;
pub mod http;

/// What the name of every metric begins with, before an underscore.
pub const PREFIX: &str = "megaconn";

/// Media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Powers of two of the buckets, in microseconds: 16 us to 67 s.
const BUCKET_POWERS: std::ops::RangeInclusive<u32> = 4..=26;

/// The figures of one process, for its metrics address.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// Of the cores of one side.
    #[must_use]
    pub fn new(side: Side, cpus: &[u16], stats: &[Arc<CoreStats>]) -> Metrics {
        let cores = cpus.iter().copied().zip(stats.iter().cloned()).collect();
        let labels = [("side".into(), side.name().into())];
        let mut registry = Registry::with_prefix_and_labels(PREFIX, labels.into_iter());
        registry.register_collector(Box::new(Process { cores }));
        Metrics(registry)
    }

    /// The figures as they stand now.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.0).expect("a string takes all that is written to it");
        text
    }
}

/// Reads CPU and figures of every core when it is asked.
#[derive(Debug)]
struct Process {
    cores: Vec<(u16, Arc<CoreStats>)>,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode_process(&mut encoder)?;
        encode_host(&mut encoder)?;
        self.encode_figures(&mut encoder)?;
        self.encode_threads(&mut encoder)?;
        self.encode_named(&mut encoder)?;
        self.encode_latencies(&mut encoder)
    }
}

impl Process {
    /// The cores with the labels that tell them apart.
    fn labelled(&self) -> impl Iterator<Item = ([(&'static str, u64); 2], &CoreStats)> {
        (0..).zip(&self.cores).map(|(core, (cpu, stats))| {
            ([("core", core), ("cpu", u64::from(*cpu))], stats.as_ref())
        })
    }

    fn encode_figures(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut per_core: Vec<_> =
            self.labelled().map(|(labels, stats)| (labels, stats.figures())).collect();
        for (name, help) in CoreStats::help() {
            let counter = name.strip_suffix("_total");
            let kind = if counter.is_some() { MetricType::Counter } else { MetricType::Gauge };
            let name = counter.unwrap_or(name);
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, figures) in &mut per_core {
                let (_, value) = figures.next().expect("each figure has its help");
                let mut metric = family.encode_family(labels)?;
                match kind {
                    MetricType::Counter => {
                        metric.encode_counter(&value, None::<&Exemplar<NoLabelSet, u64>>)?;
                    }
                    _ => metric.encode_gauge(&value)?,
                }
            }
        }
        Ok(())
    }

    /// What the kernel counts of each core's thread; nothing of one that cannot be read.
    fn encode_threads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let times = self.labelled().map(|(labels, stats)| (labels, thread_us(stats.thread.get())));
        let times: Vec<_> = times.collect();
        for (index, (name, help)) in THREAD_FIGURES.into_iter().enumerate() {
            let name = name.strip_suffix("_total").expect("time only rises");
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, time) in &times {
                if let Some(time) = time {
                    let mut metric = family.encode_family(labels)?;
                    metric.encode_counter(&time[index], None::<&Exemplar<NoLabelSet, u64>>)?;
                }
            }
        }
        Ok(())
    }

    /// Counters that have one more label. The few causes are there from the start, so that a first
    /// loss is a rise to whoever scrapes; of the many errors only those that were met.
    fn encode_named(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let errno = |number: usize| {
            i32::try_from(number).map_or_else(|_| String::new(), |n| Errno(n).to_string())
        };
        let cause = |index: usize| LOST_CAUSES[index].to_owned();
        let families: [NamedFamily<'_>; 4] = [
            ("failed", FAILED_HELP, "errno", &errno, |core| &core.failed),
            ("lost", LOST_HELP, "cause", &cause, |core| &core.lost),
            ("churn_errors", CHURN_ERRORS_HELP, "errno", &errno, |core| &core.churn_failed),
            ("churn_lost", CHURN_LOST_HELP, "cause", &cause, |core| &core.churn_lost),
        ];
        for (name, help, key, named, figures) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, stats) in self.labelled() {
                for (index, figure) in figures(stats).iter().enumerate() {
                    let value = figure.get();
                    if value > 0 || key == "cause" {
                        let labels = (labels, [(key, named(index))]);
                        let mut metric = family.encode_family(&labels)?;
                        metric.encode_counter(&value, None::<&Exemplar<NoLabelSet, u64>>)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn encode_latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut per_core: Vec<_> =
            self.labelled().map(|(labels, stats)| (labels, stats.latencies())).collect();
        for (name, help) in CoreStats::latency_help() {
            let name = name.strip_suffix("_us").expect("histograms are of microseconds");
            let kind = MetricType::Histogram;
            let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
            for (labels, latencies) in &mut per_core {
                let (_, histogram) = latencies.next().expect("each histogram has its help");
                let Seconds { sum, count, buckets } = Seconds::of(&histogram);
                let mut metric = family.encode_family(labels)?;
                metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

/// Name, help, the label's name, the label of each figure, the figures.
type NamedFamily<'a> = (
    &'static str,
    &'static str,
    &'static str,
    &'a dyn Fn(usize) -> String,
    fn(&CoreStats) -> &[Figure],
);

const FAILED_HELP: &str = "Failed operations by error number. Rising? The number names the limit.";
const LOST_HELP: &str = "Established connections that were lost, by cause. Rising? One of the ends, \
                         or what is between them, gives connections up.";
const CHURN_ERRORS_HELP: &str = "Short connections that did not connect, by error number. Rising? \
                                  The number names the limit.";
const CHURN_LOST_HELP: &str = "Short connections lost before their exchange was done, by cause. \
                               Rising? As of lost ones.";

/// What the process as a whole has, by name: no core's.
pub const PROCESS_FIGURES: [(&str, &str); 5] = [
    (
        "process_resident_bytes",
        "Resident memory of this process; what the kernel holds for its sockets is not in it. High \
         for few connections? Buffers and histograms are in it, too.",
    ),
    (
        "process_open_files",
        "Files this process has open; connections are none of them. Near `ulimit -n`? It is low.",
    ),
    ("process_ran_ms", "CPU time of this process. Rises by 1000 a second for each full CPU."),
    (
        "process_waited_ms",
        "Time in which its threads could have run, and others did. Rising? CPUs are short.",
    ),
    ("process_lived_ms", "Time since this process began."),
];

fn encode_process(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Which build this is.";
    let build = [("version", crate::VERSION), ("commit", crate::COMMIT.unwrap_or("unknown"))];
    encoder.encode_descriptor("build", help, None, MetricType::Info)?.encode_info(&build)?;
    let time = CpuTime::read();
    let times = [time.map(|t| t.ran_ms), time.map(|t| t.waited_ms), time.map(|t| t.lived_ms)];
    let values = [resident_bytes(), open_files()].into_iter().chain(times);
    for ((name, help), value) in PROCESS_FIGURES.into_iter().zip(values) {
        // A figure that could not be read is left out, which is not the same as 0.
        if let Some(value) = value {
            let kind = MetricType::Gauge;
            encoder.encode_descriptor(name, help, None, kind)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

/// The name of each counter of the host, behind the prefix; its own name is a label.
pub const HOST_COUNTER: &str = "host_counter";

/// Typed as a gauge: some of them begin anew when an interface or a table does.
fn encode_host(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "What the kernel counts for this host or network namespace, by the kernel's own \
                names. Which one rises says which limit was met.";
    let mut family = encoder.encode_descriptor(HOST_COUNTER, help, None, MetricType::Gauge)?;
    for (name, value) in Counters::read(&Tree::host()).iter() {
        family.encode_family(&[("name", name)])?.encode_gauge(&value)?;
    }
    Ok(())
}

/// A histogram of microseconds in seconds.
struct Seconds {
    /// Within 2 %: every duration counts as the middle of its bucket.
    sum: f64,
    count: u64,
    /// Upper bound and count of each bucket; the counts are not cumulative.
    buckets: Vec<(f64, u64)>,
}

impl Seconds {
    fn of(histogram: &Histogram) -> Seconds {
        let powers = BUCKET_POWERS.map(|power| 1_u64 << power);
        let mut buckets: Vec<(u64, u64)> = powers.map(|bound_us| (bound_us, 0)).collect();
        let (mut sum_us, mut count, mut beyond) = (0.0, 0, 0);
        for bucket in histogram.into_iter().filter(|bucket| bucket.count() > 0) {
            count += bucket.count();
            sum_us += (bucket.start() + bucket.end()) as f64 / 2.0 * bucket.count() as f64;
            // Whole microseconds were counted: one below a bound is any time before it.
            let within = buckets.iter_mut().find(|(bound_us, _)| bucket.end() < *bound_us);
            *within.map_or(&mut beyond, |(_, n)| n) += bucket.count();
        }
        let in_seconds = |(bound_us, n): (u64, u64)| (bound_us as f64 / 1e6, n);
        let mut buckets: Vec<_> = buckets.into_iter().map(in_seconds).collect();
        buckets.push((f64::INFINITY, beyond));
        Seconds { sum: sum_us / 1e6, count, buckets }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn two_cores() -> [Arc<CoreStats>; 2] {
        [Arc::default(), Arc::default()]
    }

    #[test]
    fn figures_are_there_core_by_core() {
        let cores = two_cores();
        cores[0].accepted_total.add(7);
        cores[1].set_connections(3);
        cores[1].failed[Errno::ECONNREFUSED.index()].add(5);
        cores[0].lost[0].add(2);
        let text = Metrics::new(Side::Server, &[0, 4], &cores).text();
        for line in [
            "# TYPE megaconn_accepted counter",
            "# HELP megaconn_accepted Connections accepted.",
            "megaconn_accepted_total{side=\"server\",core=\"0\",cpu=\"0\"} 7",
            "megaconn_accepted_total{side=\"server\",core=\"1\",cpu=\"4\"} 0",
            "# TYPE megaconn_connections gauge",
            "megaconn_connections{side=\"server\",core=\"1\",cpu=\"4\"} 3",
            "megaconn_failed_total{side=\"server\",core=\"1\",cpu=\"4\",errno=\"ECONNREFUSED\"} 5",
            "megaconn_lost_total{side=\"server\",core=\"0\",cpu=\"0\",cause=\"fin\"} 2",
            "megaconn_lost_total{side=\"server\",core=\"1\",cpu=\"4\",cause=\"fin\"} 0",
            "megaconn_churn_lost_total{side=\"server\",core=\"1\",cpu=\"4\",cause=\"local\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "no line `{line}` in {text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
        assert!(text.contains("megaconn_build_info{side=\"server\",version="));
        assert!(text.contains("\nmegaconn_process_resident_bytes{side=\"server\"} "));
        // Two lines of description for each figure, and one for each core.
        let figures = text.lines().filter(|line| line.contains("megaconn_grow_failed")).count();
        assert_eq!(figures, 4);
        // Of each core all causes, but no error that was not met.
        let samples = |start| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(samples("megaconn_lost_total{"), 2 * LOST_CAUSES.len());
        assert_eq!(samples("megaconn_failed_total{"), 1);
    }

    /// Counts of work done, and what is no amount: more of them is more work, and asks for nothing.
    const ASK_FOR_NOTHING: [&str; 21] = [
        "accepted_total",
        "churn_started_total",
        "churned_total",
        "closed_total",
        "completions_total",
        "connect_started_total",
        "connected_total",
        "connections_peak",
        "drained_total",
        "messages_sent_total",
        "messages_total",
        "order_finished",
        "order_took_us",
        "process_lived_ms",
        "process_ran_ms",
        "pushes_total",
        "recv_bytes_total",
        "send_bytes_total",
        "stale_total",
        "traffic_us_total",
        "turns_total",
    ];

    /// `# HELP` has no place for quotes and line ends, and the crate does not escape them.
    #[test]
    fn every_figure_has_a_help_of_one_line_that_says_what_a_high_value_means() {
        let named = [FAILED_HELP, LOST_HELP, CHURN_ERRORS_HELP, CHURN_LOST_HELP];
        let all = CoreStats::help().chain(CoreStats::latency_help());
        let all = all.chain(PROCESS_FIGURES).chain(THREAD_FIGURES);
        for (name, help) in all.chain(named.map(|help| ("named", help))) {
            assert!(help.ends_with(['.', '?']), "{name}: {help}");
            assert!(!help.contains(['\n', '"', '\\']) && !help.contains("  "), "{name}: {help}");
            assert!(help.contains("? ") != ASK_FOR_NOTHING.contains(&name), "{name}: {help}");
        }
    }

    #[test]
    fn a_histogram_of_microseconds_is_one_of_seconds() {
        let cores = two_cores();
        let record = |us| cores[0].message_latency_us.record(Duration::from_micros(us));
        [0, 15, 16, 1_000, 1_023, 1_024, 100_000_000].into_iter().for_each(record);
        let all = Seconds::of(&cores[0].message_latency_us.load());
        let of = |bound: f64| all.buckets.iter().find(|(b, _)| *b == bound).expect("a bound").1;
        assert_eq!((of(0.000_016), of(0.000_032)), (2, 1));
        assert_eq!((of(0.001_024), of(0.002_048)), (2, 1));
        assert_eq!((of(f64::INFINITY), all.count), (1, 7));
        let exact = 100.003_078;
        assert!((all.sum - exact).abs() < 0.02 * exact, "{} is not about {exact}", all.sum);
        let text = Metrics::new(Side::Client, &[0, 1], &cores).text();
        for line in [
            "# TYPE megaconn_message_latency_seconds histogram",
            "# UNIT megaconn_message_latency_seconds seconds",
            "megaconn_message_latency_seconds_count{side=\"client\",core=\"0\",cpu=\"0\"} 7",
            "megaconn_message_latency_seconds_bucket{side=\"client\",le=\"+Inf\",core=\"0\",cpu=\"0\"} 7",
            "megaconn_message_latency_seconds_count{side=\"client\",core=\"1\",cpu=\"1\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "no line `{line}` in {text}");
        }
    }
}
