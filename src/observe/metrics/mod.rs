//! The figures of one process as OpenMetrics text. It reads what the cores count and changes
//! nothing; [`http`] gives the text to each client that asks.
//!
//! A figure `NAME` of a core is `megaconn_NAME{side,core,cpu}`; a histogram of microseconds
//! is one in seconds, with a bucket for each power of two.

use std::fmt::{self, Debug};
use std::sync::Arc;

use histogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::base::clock::microseconds;
use crate::base::endpoints::Endpoints;
use crate::base::errno::Errno;
use crate::base::moments::wall_clock;
use crate::base::until::Until;
use crate::host::counters::Counters;
use crate::host::cpu::{THREAD_FIGURES, thread_us};
use crate::host::procfs::ProcFs;
use crate::observe::process::{self, PROCESS_FIGURES};
use crate::observe::stats::{CoreStats, Description, Kind, LOST_CAUSES, Reading};

pub mod clock;
pub mod fetch;
pub mod http;
pub mod local;

/// What the name of every metric begins with, before an underscore.
pub const PREFIX: &str = "megaconn";

/// Media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The name of what says where a server listens, behind the prefix; a sample has `_info` behind it.
pub const LISTEN: &str = "listen";

/// Powers of two of the buckets, in microseconds: 16 us to 67 s.
const BUCKET_POWERS: std::ops::RangeInclusive<u32> = 4..=26;

/// The figures of one process, for its metrics address.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// Of the cores of one side, which listens at `listen`.
    #[must_use]
    pub fn new<S: CoreStats + Debug>(
        cpus: &[u16],
        stats: &[Arc<S>],
        listen: &[Endpoints],
    ) -> Metrics {
        Metrics::listening_until(cpus, stats, listen, Until::default())
    }

    /// The same, of a process that listens there `until` its time is over.
    #[must_use]
    pub fn listening_until<S: CoreStats + Debug>(
        cpus: &[u16],
        stats: &[Arc<S>],
        listen: &[Endpoints],
        until: Until,
    ) -> Metrics {
        let cores = cpus.iter().copied().zip(stats.iter().cloned()).collect();
        let labels = [("side".into(), S::SIDE.name().into())];
        let mut registry = Registry::with_prefix_and_labels(PREFIX, labels.into_iter());
        registry.register_collector(Box::new(Process { cores, listen: listen.to_vec(), until }));
        Metrics(registry)
    }

    /// The same, of a run with a name, and of a part of it.
    #[must_use]
    pub fn of_run(mut self, run_id: Option<&str>, part: Option<String>) -> Metrics {
        let labels = [("run_id", run_id.map(str::to_owned)), ("part", part)];
        let labels: Vec<(&'static str, String)> =
            labels.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        if !labels.is_empty() {
            self.0.register("run", "Which run this is.", Info::new(labels));
        }
        self
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
struct Process<S> {
    cores: Vec<(u16, Arc<S>)>,
    listen: Vec<Endpoints>,
    /// It listens until then.
    until: Until,
}

impl<S: CoreStats + Debug> Collector for Process<S> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode_process(&mut encoder)?;
        encode_clock(&mut encoder)?;
        self.encode_listen(&mut encoder)?;
        encode_host(&mut encoder)?;
        self.encode_figures(&mut encoder)?;
        self.encode_threads(&mut encoder)
    }
}

/// The labels that tell one core from another.
type CoreLabels = [(&'static str, u64); 2];

impl<S: CoreStats> Process<S> {
    /// The cores with the labels that tell them apart.
    fn labelled(&self) -> impl Iterator<Item = (CoreLabels, &S)> {
        (0..).zip(&self.cores).map(|(core, (cpu, stats))| {
            ([("core", core), ("cpu", u64::from(*cpu))], stats.as_ref())
        })
    }

    /// By this a client knows whose figures these are.
    fn encode_listen(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Where it listens for connections.";
        let mut family = encoder.encode_descriptor(LISTEN, help, None, MetricType::Info)?;
        for endpoints in self.listen.iter().filter(|_| !self.until.is_over()) {
            family.encode_info(&[("address", endpoints.to_string())])?;
        }
        Ok(())
    }

    /// A family for each figure, with a sample of each core.
    fn encode_figures(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut per_core: Vec<_> =
            self.labelled().map(|(labels, stats)| (labels, stats.readings())).collect();
        for figure in S::descriptions() {
            let (name, metric_type, unit) = family(figure);
            let mut family = encoder.encode_descriptor(name, figure.help, unit, metric_type)?;
            for (labels, readings) in &mut per_core {
                let reading = readings.next().expect("each figure has its description");
                encode_reading(&mut family, labels, reading)?;
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
                    encode_count(&mut family, labels, time[index])?;
                }
            }
        }
        Ok(())
    }
}

/// Name, type and unit of the family that a figure is in.
fn family(figure: &Description) -> (&'static str, MetricType, Option<&'static Unit>) {
    let name = figure.name;
    match figure.kind {
        Kind::Gauge => (name, MetricType::Gauge, None),
        Kind::Counter => {
            let name = name.strip_suffix("_total").expect("a counter is called a total");
            (name, MetricType::Counter, None)
        }
        // `churn_failed` is the family of the plain counter `churn_failed_total`.
        Kind::ByErrno if name == "churn_failed" => ("churn_errors", MetricType::Counter, None),
        Kind::ByErrno | Kind::ByCause => (name, MetricType::Counter, None),
        Kind::Latency => {
            let name = name.strip_suffix("_us").expect("histograms are of microseconds");
            (name, MetricType::Histogram, Some(&Unit::Seconds))
        }
    }
}

/// The sample of one core. The few causes are there from the start, so that a first loss is a rise to
/// a scraper; of the many errors only those that were met.
fn encode_reading(
    family: &mut MetricEncoder<'_>,
    labels: &CoreLabels,
    reading: Reading<'_>,
) -> fmt::Result {
    match reading {
        Reading::Counter(n) => encode_count(family, labels, n),
        Reading::Gauge(n) => family.encode_family(labels)?.encode_gauge(&n),
        Reading::ByErrno(counters) => {
            for (number, counter) in (0_i32..).zip(counters).filter(|(_, n)| n.get() > 0) {
                let errno = Errno(number).to_string();
                encode_count(family, &(*labels, [("errno", errno)]), counter.get())?;
            }
            Ok(())
        }
        Reading::ByCause(counters) => {
            for (cause, counter) in LOST_CAUSES.into_iter().zip(counters) {
                encode_count(family, &(*labels, [("cause", cause)]), counter.get())?;
            }
            Ok(())
        }
        Reading::Latency(latency) => {
            let Seconds { sum, count, buckets } = Seconds::of(&latency.load());
            let mut metric = family.encode_family(labels)?;
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        }
    }
}

fn encode_count(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    count: u64,
) -> fmt::Result {
    let mut metric = family.encode_family(labels)?;
    metric.encode_counter(&count, None::<&Exemplar<NoLabelSet, u64>>)
}

fn encode_process(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Which build this is.";
    let build = [("version", crate::VERSION), ("commit", crate::COMMIT.unwrap_or("unknown"))];
    encoder.encode_descriptor("build", help, None, MetricType::Info)?.encode_info(&build)?;
    for ((name, help), value) in PROCESS_FIGURES.into_iter().zip(process::read()) {
        // A figure that could not be read is left out.
        if let Some(value) = value {
            let kind = MetricType::Gauge;
            encoder.encode_descriptor(name, help, None, kind)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

/// The name of the wall clock, behind the prefix.
pub const CLOCK: &str = "wall_clock_us";

fn encode_clock(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Microseconds since 1970 by the wall clock of this host, when this was written.";
    let now_us = microseconds(wall_clock());
    encoder.encode_descriptor(CLOCK, help, None, MetricType::Gauge)?.encode_gauge(&now_us)
}

/// The name of each counter of the host, behind the prefix; its own name is a label.
pub const HOST_COUNTER: &str = "host_counter";

/// Typed as a gauge: some of them begin anew when an interface or a table does.
fn encode_host(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "What the kernel counts for this host or network namespace, by the kernel's own \
                names. Which one rises says which limit was met.";
    let mut family = encoder.encode_descriptor(HOST_COUNTER, help, None, MetricType::Gauge)?;
    for (name, value) in Counters::read(&ProcFs::host()).iter() {
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
mod tests;
