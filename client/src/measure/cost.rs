//! What a connection costs in memory: read before the first one and at each plateau, and a line
//! through all of that.

use std::collections::{BTreeMap, BTreeSet};

use megaconn::host::meminfo::{KernelMemory, resident_bytes};
use megaconn::host::procfs::ProcFs;
use megaconn::host::sockets::Sockstat;
use serde::Serialize;

use crate::measure::fit::{self, Line};

/// Memory at one time: in full before the first connection, else growth since then. The sums of
/// `sockstat` are always of their time.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) kernel_bytes: Option<i64>,
    pub(crate) server_user_bytes: Option<i64>,
    pub(crate) client_user_bytes: Option<i64>,
    /// Of the kernel's, by what it is for; see `notes/measuring.md`.
    pub(crate) by_layer: BTreeMap<&'static str, i64>,
    /// Of the kernel's, by slab cache; `None` where `/proc/slabinfo` is not for us.
    pub(crate) by_slab: Option<BTreeMap<String, i64>>,
    pub(crate) sockstat: Sockstat,
}

/// Bytes for each held connection.
#[derive(Default, Serialize)]
pub(crate) struct Cost {
    pub(crate) kernel_bytes: Option<f64>,
    pub(crate) server_user_bytes: Option<f64>,
    pub(crate) client_user_bytes: Option<f64>,
    /// Standard error of `kernel_bytes`.
    pub(crate) stderr_bytes: Option<f64>,
    /// Kernel bytes by slab cache; caches below one byte are left out.
    pub(crate) by_slab: Option<BTreeMap<String, f64>>,
    /// Sockets of each connection that are in the kernel's bytes: 2 with both ends on this host.
    pub(crate) sockets_counted: u64,
    /// TCP sockets that the host has got, or lost, beside the connections' since the empty state, at
    /// the plateau where they were most: their memory is in the kernel's bytes as well.
    pub(crate) other_sockets: Option<i64>,
    /// Sockets in TIME_WAIT that have come, or gone, since the empty state, at the plateau where they
    /// were most: short connections leave them, and those of a run before end meanwhile.
    pub(crate) time_wait: Option<i64>,
    /// `None` with too few plateaus for a line: the figures are the last plateau's growth, divided.
    pub(crate) fit: Option<Fit>,
}

/// The lines through the empty state and the plateaus.
#[derive(Serialize)]
pub(crate) struct Fit {
    /// Held connections at each point; the empty state is the first.
    pub(crate) connections: Vec<u64>,
    /// `kernel`, `server_user` and `client_user`, and the layers of the kernel's.
    pub(crate) by_layer: BTreeMap<&'static str, Line>,
}

/// The readings of a run.
#[derive(Default)]
pub(crate) struct Book {
    empty: Memory,
    /// Held connections, which are some, and growth.
    plateaus: Vec<(u64, Memory)>,
}

impl Book {
    /// What there is now is what no connection costs; the server has `server` resident bytes.
    pub(crate) fn begin(server: Option<u64>) -> Book {
        Book { empty: Memory::now(server), plateaus: Vec::new() }
    }

    /// Reads memory with so many connections `held`; the growth.
    pub(crate) fn add(&mut self, held: u64, server: Option<u64>) -> Memory {
        let grown = Memory::now(server).since(&self.empty);
        // With all connections lost there is nothing to measure, and much that is not given back yet.
        if held > 0 {
            self.plateaus.push((held, grown.clone()));
        }
        grown
    }

    /// What there was before the first connection.
    pub(crate) fn empty(&self) -> Memory {
        self.empty.clone()
    }

    /// What each connection cost, of which so many ends are on this host.
    pub(crate) fn cost(&self, ends: u64) -> Cost {
        let names = |pick: fn(&Memory) -> Vec<&str>| -> BTreeSet<&str> {
            self.plateaus.iter().flat_map(|(_, memory)| pick(memory)).collect()
        };
        let slabs = names(|memory| memory.by_slab.iter().flatten().map(|(k, _)| &**k).collect());
        let slab_each = |name: &str| {
            let grown = |memory: &Memory| memory.by_slab.as_ref()?.get(name).copied();
            self.each(grown).filter(|bytes| *bytes >= 1.0)
        };
        let by_slab: BTreeMap<String, f64> =
            slabs.iter().filter_map(|name| Some(((*name).to_owned(), slab_each(name)?))).collect();
        let fit = self.fit();
        Cost {
            kernel_bytes: self.each(kernel),
            server_user_bytes: self.each(server),
            client_user_bytes: self.each(client),
            stderr_bytes: fit
                .as_ref()
                .and_then(|fit| Some(fit.by_layer.get("kernel")?.stderr_bytes)),
            by_slab: (!slabs.is_empty()).then_some(by_slab),
            sockets_counted: ends,
            other_sockets: self.beside(|sockets| sockets.tcp_allocated, ends),
            time_wait: self.beside(|sockets| sockets.tcp_time_wait, 0),
            fit,
        }
    }

    /// The slope where there is a line, else the last plateau's growth divided; `None` where nothing
    /// grew: memory of few connections drowns in what the rest of the host does meanwhile.
    fn each(&self, grown: impl Fn(&Memory) -> Option<i64>) -> Option<f64> {
        let slope = self.line(&grown).map(|line| line.slope_bytes);
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
        let layers: BTreeSet<&'static str> =
            self.plateaus.iter().flat_map(|(_, memory)| memory.by_layer.keys().copied()).collect();
        let of_layer = |name| Some((name, self.line(|memory| memory.by_layer.get(name).copied())?));
        let of_all: [(_, Grown); 3] =
            [("kernel", kernel), ("server_user", server), ("client_user", client)];
        let of_all = of_all.into_iter().filter_map(|(name, grown)| Some((name, self.line(grown)?)));
        let by_layer: BTreeMap<_, _> =
            layers.into_iter().filter_map(of_layer).chain(of_all).collect();
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
    memory.kernel_bytes
}

fn server(memory: &Memory) -> Option<i64> {
    memory.server_user_bytes
}

fn client(memory: &Memory) -> Option<i64> {
    memory.client_user_bytes
}

impl Memory {
    /// In full; the server has `server` resident bytes.
    fn now(server: Option<u64>) -> Memory {
        let kernel = KernelMemory::read();
        let signed = |bytes: Option<u64>| bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let by_layer = kernel.by_layer().into_iter();
        let by_slab = kernel.by_slab().map(|slabs| {
            let each = slabs.iter().filter(|(_, bytes)| **bytes > 0);
            each.filter_map(|(name, bytes)| Some((name.clone(), signed(Some(*bytes))?))).collect()
        });
        Memory {
            kernel_bytes: signed(kernel.bytes()),
            server_user_bytes: signed(server),
            client_user_bytes: signed(resident_bytes()),
            by_layer: by_layer.filter_map(|(name, n)| Some((name, signed(Some(n))?))).collect(),
            by_slab,
            sockstat: Sockstat::read(&ProcFs::host()),
        }
    }

    /// How much of it was not there `before`.
    fn since(self, before: &Memory) -> Memory {
        let grown = |now: Option<i64>, before: Option<i64>| Some(now? - before?);
        let by_layer = self.by_layer.iter();
        Memory {
            kernel_bytes: grown(self.kernel_bytes, before.kernel_bytes),
            server_user_bytes: grown(self.server_user_bytes, before.server_user_bytes),
            client_user_bytes: grown(self.client_user_bytes, before.client_user_bytes),
            by_layer: by_layer
                .filter_map(|(name, now)| Some((*name, now - before.by_layer.get(name)?)))
                .collect(),
            by_slab: self
                .by_slab
                .zip(before.by_slab.as_ref())
                .map(|(now, before)| grown_slabs(now, before)),
            sockstat: self.sockstat,
        }
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
            kernel_bytes: Some(tcp + beside),
            by_layer: BTreeMap::from([("tcp", tcp), ("other_slabs", beside)]),
            by_slab: Some(BTreeMap::from([("TCP".to_owned(), tcp), ("kmalloc-8".into(), beside)])),
            ..Memory::default()
        }
    }

    fn book(plateaus: &[(u64, Memory)]) -> Book {
        Book { empty: memory(0, 0), plateaus: plateaus.to_vec() }
    }

    #[test]
    fn one_plateau_is_divided_and_has_no_error() {
        let cost = book(&[(10, memory(5_000, 20))]).cost(2);
        assert_eq!((cost.kernel_bytes, cost.stderr_bytes), (Some(502.0), None));
        assert_eq!(cost.by_slab, Some([("TCP".into(), 500.0), ("kmalloc-8".into(), 2.0)].into()));
        assert!(cost.fit.is_none() && cost.server_user_bytes.is_none());
        assert_eq!(cost.sockets_counted, 2);
    }

    #[test]
    fn the_fixed_part_is_no_connections() {
        // 500 B a connection, and 6,000 B for the first.
        let plateaus = [(10, memory(11_000, 0)), (20, memory(16_000, 0)), (30, memory(21_000, 0))];
        let cost = book(&plateaus).cost(1);
        let fit = cost.fit.expect("four points have a line");
        assert_eq!(fit.connections, [0, 10, 20, 30]);
        let (tcp, kernel) = (fit.by_layer["tcp"], fit.by_layer["kernel"]);
        assert_eq!(tcp, kernel, "nothing else has grown");
        assert!((tcp.slope_bytes - 680.0).abs() < 1e-9, "by hand, with the empty state: {tcp:?}");
        assert!((tcp.fixed_bytes - 1_800.0).abs() < 1e-9, "{tcp:?}");
        assert_eq!(cost.kernel_bytes, Some(kernel.slope_bytes));
        assert_eq!(cost.stderr_bytes, Some(kernel.stderr_bytes));
        assert!(kernel.stderr_bytes > 50.0, "a step is no line: {kernel:?}");
        assert_eq!(fit.by_layer["other_slabs"].slope_bytes, 0.0);
        assert!(!fit.by_layer.contains_key("server_user"), "it was not seen");
        assert_eq!(
            cost.by_slab,
            Some([("TCP".into(), kernel.slope_bytes)].into()),
            "none below 1 B"
        );
    }

    #[test]
    fn layers_and_slabs_add_up_to_the_kernels_bytes() {
        let plateaus = [(7, memory(900, 31)), (19, memory(2_500, -12)), (45, memory(6_100, 77))];
        let cost = book(&plateaus).cost(2);
        let fit = cost.fit.expect("four points have a line");
        let slope = |name| fit.by_layer[name].slope_bytes;
        assert!((slope("tcp") + slope("other_slabs") - slope("kernel")).abs() < 1e-9);
    }

    #[test]
    fn growth_is_of_what_was_there_before() {
        let (before, now) = (memory(100, 50), memory(300, 50));
        let mut grown = now.clone().since(&before);
        assert_eq!(grown.kernel_bytes, Some(200));
        assert_eq!(grown.by_layer, [("tcp", 200), ("other_slabs", 0)].into());
        assert_eq!(grown.by_slab.take(), Some([("TCP".to_owned(), 200)].into()));
        let unseen = now.since(&Memory::default());
        assert_eq!((unseen.kernel_bytes, unseen.by_slab), (None, None), "not 300");
        assert!(unseen.by_layer.is_empty());
    }

    #[test]
    fn sockets_of_others_are_counted() {
        let with = |tcp_allocated| Sockstat { tcp_allocated, ..Sockstat::default() };
        let mut book = book(&[(10, memory(1, 1)), (20, memory(1, 1))]);
        assert_eq!(book.cost(2).other_sockets, None, "not measured");
        book.empty.sockstat = with(Some(5));
        book.plateaus[0].1.sockstat = with(Some(28));
        assert_eq!(book.cost(2).other_sockets, Some(3));
        book.plateaus[1].1.sockstat = with(Some(41));
        assert_eq!(book.cost(2).other_sockets, Some(-4), "the most, either way");
        assert_eq!(book.cost(1).other_sockets, Some(16));
    }

    #[test]
    fn who_waits_in_time_wait_is_counted() {
        let with = |tcp_time_wait| Sockstat { tcp_time_wait, ..Sockstat::default() };
        let mut book = book(&[(10, memory(1, 1)), (20, memory(1, 1))]);
        assert_eq!(book.cost(2).time_wait, None, "not measured");
        book.empty.sockstat = with(Some(100));
        book.plateaus[0].1.sockstat = with(Some(60));
        book.plateaus[1].1.sockstat = with(Some(12));
        assert_eq!(book.cost(2).time_wait, Some(-88), "none of them is a connection's");
    }
}
