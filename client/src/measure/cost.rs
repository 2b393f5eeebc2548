//! What a connection costs in memory: read before the first one and at each plateau, and a line
//! through all of that.

use std::collections::{BTreeMap, BTreeSet};

use megaconn::host::meminfo::{KernelMemory, resident_bytes};
use megaconn::host::procfs::ProcFs;
use megaconn::host::sockets::Sockstat;
use megaconn::results::cost::{Cost, Fit, Line, Memory};
use megaconn::results::lenient::{Map, Maybe, Part};

use crate::measure::fit;

/// Connections whose proxy's sockets can be told from those that others open meanwhile.
const PROXIED_LEAST: u64 = 500;

/// Memory as it was read in a run.
#[derive(Default)]
pub(crate) struct MemorySamples {
    empty: Memory,
    /// Held connections, more each time, and growth. With fewer than before the kernel has not given all
    /// back.
    plateaus: Vec<(u64, Memory)>,
}

impl MemorySamples {
    /// Begins with the memory of now, in the empty state; the server has `server` resident bytes.
    pub(crate) fn begin(server: Option<u64>) -> MemorySamples {
        MemorySamples { empty: memory_now(server), plateaus: Vec::new() }
    }

    /// Reads memory with `held` connections; the growth. Where the host has given back more than was
    /// taken, what connections took is not known.
    pub(crate) fn add(&mut self, held: u64, server: Option<u64>) -> Memory {
        let grown = growth(memory_now(server), &self.empty);
        // With all connections lost there is nothing to measure, and much that is not given back yet.
        if held > self.plateaus.last().map_or(0, |(before, _)| *before) {
            self.plateaus.push((held, grown.clone()));
        }
        let known = |bytes: Maybe<i64>| Maybe(bytes.filter(|bytes| *bytes >= 0));
        Memory {
            kernel_bytes: known(grown.kernel_bytes),
            server_user_bytes: known(grown.server_user_bytes),
            client_user_bytes: known(grown.client_user_bytes),
            ..grown
        }
    }

    /// What there was before the first connection.
    pub(crate) fn empty(&self) -> Memory {
        self.empty.clone()
    }

    /// What each connection cost; `ends` of its two ends are on this host.
    pub(crate) fn cost(&self, ends: u64) -> Cost {
        let names = |pick: fn(&Memory) -> Vec<&str>| -> BTreeSet<&str> {
            self.plateaus.iter().flat_map(|(_, memory)| pick(memory)).collect()
        };
        let slabs = names(|memory| {
            memory.by_slab.iter().flat_map(|slabs| slabs.keys()).map(|k| &**k).collect()
        });
        let slab_each = |name: &str| {
            let grown = |memory: &Memory| memory.by_slab.as_ref()?.get(name).copied();
            self.each(grown).filter(|bytes| *bytes >= 1.0)
        };
        let by_slab: BTreeMap<String, f64> =
            slabs.iter().filter_map(|name| Some(((*name).to_owned(), slab_each(name)?))).collect();
        let (fit, sockets_counted) = (self.fit(), self.sockets_counted(ends));
        let stderr_bytes =
            fit.as_ref().and_then(|fit| Some(fit.by_layer.get("kernel")?.stderr_bytes));
        Cost {
            kernel_bytes: self.each(kernel).into(),
            server_user_bytes: self.each(server).into(),
            client_user_bytes: self.each(client).into(),
            stderr_bytes: stderr_bytes.into(),
            by_slab: (!slabs.is_empty()).then_some(Map(by_slab)).into(),
            sockets_counted: sockets_counted.into(),
            other_sockets: self
                .beside(|sockets| sockets.tcp_allocated, sockets_counted.unwrap_or(ends))
                .into(),
            time_wait: self.beside(|sockets| sockets.tcp_time_wait, 0).into(),
            fit: fit.into(),
        }
    }

    /// Sockets of each connection, of which `ends` are known to be on this host: a proxy on it has two
    /// more. `None` when the host's sockets were not seen, or are no multiple of the connections.
    fn sockets_counted(&self, ends: u64) -> Option<u64> {
        let before = self.empty.sockstat.tcp_allocated?;
        let (held, memory) = self.plateaus.last()?;
        let grown = memory.sockstat.tcp_allocated?.checked_sub(before)?;
        let each = (grown + held / 2) / held;
        // One proxy, or two, whose sockets are told from those of others where there are many.
        let is_proxied = [ends + 2, ends + 4].contains(&each)
            && *held >= PROXIED_LEAST
            && grown.abs_diff(each * held) * 100 <= *held;
        let is_of_client = each == 1 && grown.abs_diff(*held) * 100 <= *held;
        // When this network namespace has more than the whole host, others gave theirs back meanwhile,
        // which hides those of a proxy.
        let own = |sockstat: &Sockstat| Some(sockstat.tcp_in_use? + sockstat.tcp6_in_use?);
        let own_grown = own(&memory.sockstat).zip(own(&self.empty.sockstat));
        let own_each =
            own_grown.map(|(now, before)| (now.saturating_sub(before) + held / 2) / held);
        let is_whole = own_each.is_none_or(|own| own <= each);
        (is_whole && (each == ends || is_proxied || is_of_client)).then_some(each)
    }

    /// The slope where there is a line, else the last plateau's growth divided; `None` where nothing
    /// grew: memory of few connections drowns in what the rest of the host does meanwhile.
    fn each(&self, grown: impl Fn(&Memory) -> Option<i64>) -> Option<f64> {
        let slope = self.line(&grown).and_then(|line| line.slope_bytes);
        let divided = || {
            let (held, memory) = self.plateaus.last()?;
            Some(grown(memory)? as f64 / *held as f64)
        };
        slope.or_else(divided).filter(|bytes| *bytes > 0.0)
    }

    /// Through the empty state, at which nothing has grown, and the plateaus at which it was measured.
    fn line(&self, grown: impl Fn(&Memory) -> Option<i64>) -> Option<Line> {
        let at = |(held, memory): &(u64, Memory)| Some((*held as f64, grown(memory)? as f64));
        let points: Vec<_> =
            [(0.0, 0.0)].into_iter().chain(self.plateaus.iter().filter_map(at)).collect();
        fit::line(&points)
    }

    fn fit(&self) -> Option<Fit> {
        let layers = self.plateaus.iter().flat_map(|(_, memory)| memory.by_layer.keys());
        let layers: BTreeSet<&str> = layers.map(String::as_str).collect();
        let of_layer = |name: &'_ str| {
            Some((name.to_owned(), self.line(|memory| memory.by_layer.get(name).copied())?))
        };
        let of_all: [(&str, Grown); 3] =
            [("kernel", kernel), ("server_user", server), ("client_user", client)];
        let of_all = of_all
            .into_iter()
            .filter_map(|(name, grown)| Some((name.to_owned(), self.line(grown)?)));
        let known = |(name, line): (String, Line)| {
            let slope_bytes = line.slope_bytes.filter(|bytes| *bytes >= 0.0);
            (name, Line { slope_bytes, ..line })
        };
        let lines = layers.into_iter().filter_map(of_layer).chain(of_all);
        let by_layer: Map<Line> = lines.map(known).collect();
        let held = self.plateaus.iter().map(|(held, _)| *held);
        let connections = std::iter::once(0).chain(held).collect();
        (!by_layer.is_empty()).then_some(Fit { connections, by_layer })
    }

    /// How many sockets have come or gone, beside `ours` of each connection, where that is most.
    fn beside(&self, count: fn(&Sockstat) -> Option<u64>, ours: u64) -> Option<i64> {
        let before = count(&self.empty.sockstat)?;
        let beside = |(held, memory): &(u64, Memory)| {
            let grown = difference(count(&memory.sockstat)?, before)?;
            Some(grown - i64::try_from(held * ours).ok()?)
        };
        self.plateaus.iter().filter_map(beside).max_by_key(|beside| beside.unsigned_abs())
    }
}

/// A figure of the growth; `None` when it was not measured.
type Grown = fn(&Memory) -> Option<i64>;

fn kernel(memory: &Memory) -> Option<i64> {
    *memory.kernel_bytes
}

fn server(memory: &Memory) -> Option<i64> {
    *memory.server_user_bytes
}

fn client(memory: &Memory) -> Option<i64> {
    *memory.client_user_bytes
}

/// Memory in full; the server has `server` resident bytes.
fn memory_now(server: Option<u64>) -> Memory {
    let kernel = KernelMemory::read();
    let signed = |bytes: u64| i64::try_from(bytes).ok();
    let of_layer = |(name, bytes)| Some((name, signed(bytes)?));
    let by_slab = kernel.by_slab().map(|slabs| {
        let each = slabs.iter().filter(|(_, bytes)| **bytes > 0);
        each.filter_map(|(name, bytes)| Some((name.clone(), signed(*bytes)?))).collect()
    });
    Memory {
        kernel_bytes: kernel.bytes().and_then(signed).into(),
        server_user_bytes: server.and_then(signed).into(),
        client_user_bytes: resident_bytes().and_then(signed).into(),
        by_layer: kernel.by_layer().into_iter().filter_map(of_layer).collect(),
        by_slab: Maybe(by_slab),
        sockstat: Part(Sockstat::read(&ProcFs::host())),
    }
}

/// How much of the memory `now` was not there `before`.
fn growth(now: Memory, before: &Memory) -> Memory {
    let grown = |now: Maybe<i64>, before: Maybe<i64>| Maybe(now.zip(*before).map(|(n, b)| n - b));
    let of_layer =
        |(name, now): (&String, &i64)| Some((name.clone(), now - before.by_layer.get(name)?));
    let by_slab = now.by_slab.0.zip(before.by_slab.as_ref());
    Memory {
        kernel_bytes: grown(now.kernel_bytes, before.kernel_bytes),
        server_user_bytes: grown(now.server_user_bytes, before.server_user_bytes),
        client_user_bytes: grown(now.client_user_bytes, before.client_user_bytes),
        by_layer: now.by_layer.iter().filter_map(of_layer).collect(),
        by_slab: by_slab.map(|(now, before)| Map(grown_slabs(now.0, before))).into(),
        sockstat: now.sockstat,
    }
}

/// Caches that have grown or shrunk; one that is new had nothing.
fn grown_slabs(
    mut now: BTreeMap<String, i64>,
    before: &BTreeMap<String, i64>,
) -> BTreeMap<String, i64> {
    for (name, bytes) in before {
        *now.entry(name.clone()).or_default() -= bytes;
    }
    now.retain(|_, grown| *grown != 0);
    now
}

fn difference(now: u64, before: u64) -> Option<i64> {
    Some(i64::try_from(now).ok()? - i64::try_from(before).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grown by so much of a slab that is a layer, and so much beside it.
    fn memory(tcp: i64, beside: i64) -> Memory {
        Memory {
            kernel_bytes: (tcp + beside).into(),
            by_layer: Map::from_iter([("tcp", tcp), ("other_slabs", beside)]),
            by_slab: Map::from_iter([("TCP", tcp), ("kmalloc-8", beside)]).into(),
            ..Memory::default()
        }
    }

    fn samples(plateaus: &[(u64, Memory)]) -> MemorySamples {
        MemorySamples { empty: memory(0, 0), plateaus: plateaus.to_vec() }
    }

    #[test]
    fn one_plateau_is_divided_and_has_no_error() {
        let cost = samples(&[(10, memory(5_000, 20))]).cost(2);
        assert_eq!((*cost.kernel_bytes, *cost.stderr_bytes), (Some(502.0), None));
        assert_eq!(*cost.by_slab, Some(Map::from_iter([("TCP", 500.0), ("kmalloc-8", 2.0)])));
        assert!(cost.fit.is_none() && cost.server_user_bytes.is_none());
        assert_eq!(*cost.sockets_counted, None, "they were not seen");
    }

    #[test]
    fn the_fixed_part_is_no_connections() {
        // 500 B a connection, and 6,000 B for the first.
        let plateaus = [(10, memory(11_000, 0)), (20, memory(16_000, 0)), (30, memory(21_000, 0))];
        let cost = samples(&plateaus).cost(1);
        let fit = cost.fit.0.expect("four points have a line");
        assert_eq!(*fit.connections, [0, 10, 20, 30]);
        let (tcp, kernel) = (fit.by_layer["tcp"], fit.by_layer["kernel"]);
        assert_eq!(tcp, kernel, "nothing else has grown");
        assert!(
            (tcp.slope_bytes.unwrap() - 680.0).abs() < 1e-9,
            "by hand, with the empty state: {tcp:?}"
        );
        assert!((tcp.fixed_bytes - 1_800.0).abs() < 1e-9, "{tcp:?}");
        assert_eq!(*cost.kernel_bytes, kernel.slope_bytes);
        assert_eq!(*cost.stderr_bytes, Some(kernel.stderr_bytes));
        assert!(kernel.stderr_bytes > 50.0, "a step is no line: {kernel:?}");
        assert_eq!(fit.by_layer["other_slabs"].slope_bytes, Some(0.0));
        assert!(!fit.by_layer.contains_key("server_user"), "it was not seen");
        assert_eq!(
            *cost.by_slab,
            Some(Map::from_iter([("TCP", kernel.slope_bytes.unwrap())])),
            "none below 1 B"
        );
    }

    #[test]
    fn layers_and_slabs_add_up_to_the_kernels_bytes() {
        let plateaus = [(7, memory(900, 31)), (19, memory(2_500, -12)), (45, memory(6_100, 77))];
        let cost = samples(&plateaus).cost(2);
        let fit = cost.fit.0.expect("four points have a line");
        let slope = |name| fit.by_layer[name].slope_bytes.unwrap();
        assert!((slope("tcp") + slope("other_slabs") - slope("kernel")).abs() < 1e-9);
    }

    #[test]
    fn growth_is_of_what_was_there_before() {
        let (before, now) = (memory(100, 50), memory(300, 50));
        let mut grown = growth(now.clone(), &before);
        assert_eq!(*grown.kernel_bytes, Some(200));
        assert_eq!(grown.by_layer, Map::from_iter([("tcp", 200), ("other_slabs", 0)]));
        assert_eq!(grown.by_slab.take(), Some(Map::from_iter([("TCP", 200)])));
        let unseen = growth(now, &Memory::default());
        assert_eq!((*unseen.kernel_bytes, unseen.by_slab.0), (None, None), "not 300");
        assert!(unseen.by_layer.is_empty());
    }

    #[test]
    fn what_others_gave_back_is_no_cost_of_a_connection() {
        let plateaus = [(10, memory(-500, 90)), (20, memory(-1_000, 40))];
        let mut samples = samples(&plateaus);
        let cost = samples.cost(2);
        let fit = cost.fit.0.expect("three points have a line");
        assert_eq!((fit.by_layer["tcp"].slope_bytes, *cost.kernel_bytes), (None, None));
        assert!(fit.by_layer["other_slabs"].slope_bytes.is_some_and(|bytes| bytes >= 0.0));
        assert!(cost.by_slab.0.is_some_and(|slabs| slabs.0.values().all(|bytes| *bytes > 0.0)));
        samples.empty.kernel_bytes = i64::MAX.into();
        samples.empty.client_user_bytes = i64::MAX.into();
        let shown = samples.add(30, None);
        assert_eq!((*shown.kernel_bytes, *shown.client_user_bytes), (None, None));
        let kept = &samples.plateaus.last().expect("it was added").1;
        assert!(kept.client_user_bytes.is_none_or(|bytes| bytes < 0), "a line needs it: {kept:?}");
    }

    #[test]
    fn sockets_of_a_connection_are_counted() {
        let with = |tcp_allocated| Part(Sockstat { tcp_allocated, ..Sockstat::default() });
        let mut samples = samples(&[(1_000, memory(1, 1))]);
        samples.empty.sockstat = with(Some(70));
        // Both ends, a socket of the client's alone, a proxy between both ends, and sockets of others.
        for (now, counted) in [
            (2_075, Some(2)),
            (1_069, Some(1)),
            (4_070, Some(4)),
            (4_079, Some(4)),
            (3_600, None),
            (2_400, Some(2)),
            (70, None),
            (3, None),
        ] {
            samples.plateaus[0].1.sockstat = with(Some(now));
            assert_eq!(*samples.cost(2).sockets_counted, counted, "{now}");
        }
        samples.plateaus[0].1.sockstat = with(Some(4_073));
        assert_eq!(*samples.cost(2).other_sockets, Some(3), "the proxy's are no others'");
        // Elsewhere on the host as many went as a proxy here has.
        let own = |tcp_in_use, tcp_allocated| Sockstat {
            tcp_in_use: Some(tcp_in_use),
            tcp6_in_use: Some(2),
            tcp_allocated: Some(tcp_allocated),
            ..Sockstat::default()
        };
        samples.empty.sockstat = Part(own(60, 3_070));
        samples.plateaus[0].1.sockstat = Part(own(4_060, 5_070));
        assert_eq!(*samples.cost(2).sockets_counted, None, "2 would be said of 4");
        samples.plateaus[0].1.sockstat = Part(own(2_060, 5_070));
        assert_eq!(*samples.cost(2).sockets_counted, Some(2));
    }

    #[test]
    fn sockets_of_others_are_counted() {
        let with = |tcp_allocated| Part(Sockstat { tcp_allocated, ..Sockstat::default() });
        let mut samples = samples(&[(10, memory(1, 1)), (20, memory(1, 1))]);
        assert_eq!(*samples.cost(2).other_sockets, None, "not measured");
        samples.empty.sockstat = with(Some(5));
        samples.plateaus[0].1.sockstat = with(Some(28));
        assert_eq!(*samples.cost(2).other_sockets, Some(3));
        samples.plateaus[1].1.sockstat = with(Some(41));
        assert_eq!(*samples.cost(2).other_sockets, Some(-4), "the most, either way");
        assert_eq!(*samples.cost(1).other_sockets, Some(16));
    }

    #[test]
    fn sockets_in_time_wait_are_counted() {
        let with = |tcp_time_wait| Part(Sockstat { tcp_time_wait, ..Sockstat::default() });
        let mut samples = samples(&[(10, memory(1, 1)), (20, memory(1, 1))]);
        assert_eq!(*samples.cost(2).time_wait, None, "not measured");
        samples.empty.sockstat = with(Some(100));
        samples.plateaus[0].1.sockstat = with(Some(60));
        samples.plateaus[1].1.sockstat = with(Some(12));
        assert_eq!(*samples.cost(2).time_wait, Some(-88), "none of them is a connection's");
    }
}
