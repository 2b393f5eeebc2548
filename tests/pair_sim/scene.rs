//! What a world of two ends is made of, drawn from its seed: traffic, plateaus, ends and faults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::base::constants::{HANDSHAKE_TIMEOUT, SEND_TIMEOUT};
use megaconn::base::units::Text;
use megaconn::drivers::sim::{End, Faults, SimConfig, WireConfig, WireFaults, WireMutation};
use megaconn::engine::client::config::{ClientConfig, Lifetime, Pace, Reconnect, Schedule};
use megaconn::engine::client::tuple_allocator::TupleAllocator;
use megaconn::engine::driver::ShutdownMode;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::echo::Echoed;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::{Push, Pushes};
use megaconn::engine::server::ServerConfig;
use megaconn::engine::server::allowance::Allowance;
use megaconn::engine::server::drain::Accepting;
use megaconn::engine::server::drain::MemoryLeft;
use megaconn::engine::server::orders::SlowReader;
use megaconn::engine::server::sources::Sources;
use megaconn::engine::storm::{DropPart, Way};
use megaconn::plan::tuples::{AddressRange, TuplePlan};

use crate::broadcast::ToOrder;
use crate::fill::Filling;
use crate::speech;

/// Listeners, and so targets of the client.
pub(crate) const LISTENERS: usize = 2;

/// First source port of every world.
const FIRST_PORT: u16 = 1_024;

/// Buffers of a client that are enough for all its connections.
pub(crate) const MANY_BUFFERS: u16 = 128;

/// Messages, or short connections, of one hold, about.
const THINGS: f64 = 30.0;

/// What both ends speak beside the bytes of their traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    None,
    /// WebSocket.
    Frames,
    /// TLS.
    Records,
}

/// A world before it begins.
pub(crate) struct Scene {
    pub(crate) layer: Layer,
    /// The server's driver, then the client's.
    pub(crate) sims: [SimConfig; 2],
    pub(crate) wire: WireConfig,
    pub(crate) server: ServerConfig,
    pub(crate) protocol: Banner<Mode>,
    pub(crate) client: ClientConfig,
    pub(crate) expect: Expect,
    pub(crate) tuples: TupleAllocator,
    /// Held connections, each more than the one before.
    pub(crate) plateaus: Vec<u64>,
    /// Now and then a direction stalls for longer than any timeout.
    pub(crate) is_slow: bool,
    pub(crate) hold: Duration,
    pub(crate) sweeps: bool,
    pub(crate) sheds: bool,
    /// When the server drains, and how long it may take.
    pub(crate) drain: Option<(Duration, Duration)>,
    /// When the server's memory changes, the last change first.
    pub(crate) memory: Vec<(Duration, MemoryLeft)>,
    /// When an end drops a part of its connections, the last time first.
    pub(crate) storms: Vec<(Duration, End, DropPart)>,
    /// When the client is to open nothing more.
    pub(crate) opens_no_more: Option<Duration>,
    /// What is to be ordered, the last one first, in a world in which texts go to all.
    pub(crate) orders: Option<Vec<ToOrder>>,
    /// What ends the opening, in a world that is filled.
    pub(crate) filling: Option<Filling>,
}

impl Scene {
    pub(crate) fn new(
        seed: u64,
        mutation: Option<WireMutation>,
        layer: Layer,
        random: &mut Rng,
    ) -> Scene {
        let message_bytes = random.u16(40..=80);
        let (mode, banner, expect) = traffic(message_bytes, random);
        let is_echo = matches!(mode, Mode::Echo);
        let is_push = matches!(mode, Mode::Push(_));
        let plateaus = plateaus(random);
        let connections = plateaus.last().copied().expect("there is one");
        let churn_per_s = match random.u8(..4) {
            0 if is_echo => 5.0 + 200.0 * random.f64(),
            1 if is_echo => 50.0,
            _ => 0.0,
        };
        // Short connections over WebSocket are not built.
        let churn_per_s = if layer == Layer::Frames { 0.0 } else { churn_per_s };
        let schedule = match random.u8(..3) {
            _ if is_push => Schedule::None,
            0 => Schedule::None,
            1 => Schedule::Every(Duration::from_millis(random.u64(20..2_000))),
            _ => Schedule::PerSecond(5.0 + 300.0 * random.f64()),
        };
        let hold = hold(random, &mode, churn_per_s);
        let client = ClientConfig {
            slots_per_segment: [4, 8, 32][random.usize(..3)],
            connects_in_flight: random.u32(1..=32),
            message_bytes,
            message_count: if is_push { 0 } else { random.u16(0..=3) },
            pace: Pace {
                connects_per_s: random.bool().then(|| 20.0 + 2_000.0 * random.f64()),
                schedule,
                churn_per_s,
                is_paused: false,
            },
            turn: random.f64(),
            reconnect: one_in(random, 3).then(|| reconnect(random)),
            lifetime: None,
            readers: None,
            seed,
            close: if random.u8(..3) > 0 { ShutdownMode::Sending } else { ShutdownMode::Reset },
            run: seed,
        };
        let server = ServerConfig {
            core: 0,
            listeners: LISTENERS,
            slots_per_segment: [4, 8, 24, 64][random.usize(..4)],
            connections_max: if random.u8(..4) == 0 { random.u32(2..=12) } else { 200 },
            allowance: Allowance::default(),
            accepting: Accepting::default(),
            sources: Sources::default(),
            accept_rate: None,
            idle_timeout: one_in(random, 5).then(|| millis(random, 100..2_000)),
            send_timeout: if one_in(random, 3) { millis(random, 100..400) } else { SEND_TIMEOUT },
            handshake_timeout: if one_in(random, 3) {
                millis(random, 1..200)
            } else {
                HANDSHAKE_TIMEOUT
            },
            topics: 1,
            slow_reader: SlowReader::Skip,
        };
        let is_slow = one_in(random, 10);
        let wire = wire(seed, mutation, is_slow, random);
        let mut sims = sims(seed, &client, random);
        let buffer_bytes = match layer {
            Layer::None => None,
            Layer::Frames => Some(speech::BUFFER_BYTES),
            Layer::Records => Some(speech::RECORDS_BYTES),
        };
        if let Some(bytes) = buffer_bytes {
            sims.iter_mut().for_each(|sim| sim.buffer_bytes = random.u16(bytes.clone()));
        }
        let client = with_lives(client, seed);
        let drain = one_in(random, 3).then(|| (millis(random, 0..1_500), millis(random, 1..800)));
        Scene {
            layer,
            sims,
            wire,
            tuples: {
                let churn_tuples = churn_tuples(random, churn_per_s);
                tuples(4 * connections, connections, churn_tuples, seed)
            },
            plateaus,
            is_slow,
            hold,
            sweeps: is_echo && random.bool(),
            // Numbers that are given twice are refused where places are filled.
            sheds: one_in(random, 4) && client.lifetime.is_none(),
            drain,
            memory: memory(random),
            opens_no_more: one_in(random, 8).then(|| millis(random, 0..2_000)),
            server,
            protocol: Banner { text: banner, then: mode },
            client,
            expect,
            orders: None,
            filling: None,
            // Of its own numbers: the rest of a world is the same with a storm and without.
            storms: storms(&mut Rng::with_seed(seed ^ 0x570_7a11)),
        }
    }
}

impl Scene {
    /// Whether its streams are frames of WebSocket.
    pub(crate) fn has_frames(&self) -> bool {
        self.layer == Layer::Frames
    }

    /// Whether its streams are records, which cannot be read.
    pub(crate) fn has_records(&self) -> bool {
        self.layer == Layer::Records
    }
}

pub(crate) fn one_in(random: &mut Rng, n: u8) -> bool {
    random.u8(..n) == 0
}

/// What is lost comes back, soon or late, some time or never.
fn reconnect(random: &mut Rng) -> Reconnect {
    let first = millis(random, 1..200);
    Reconnect {
        first,
        most: first * random.u32(1..20),
        jitter: [0.0, 0.2, 1.0][random.usize(..3)],
        tries: random.u32(1..6),
    }
}

/// Each end drops some, in order or by a reset.
fn storms(random: &mut Rng) -> Vec<(Duration, End, DropPart)> {
    let by_reset = [random.bool(), random.bool()];
    let count = if one_in(random, 3) { random.usize(1..4) } else { 0 };
    let mut storms: Vec<_> = (0..count)
        .map(|_| {
            let end = [End::Server, End::Client][random.usize(..2)];
            let part = [0.1, 0.5, 1.0][random.usize(..3)];
            let by = if by_reset[end as usize] { Way::Reset } else { Way::Fin };
            let drop = DropPart { part, by };
            (millis(random, 0..1_500), end, drop)
        })
        .collect();
    storms.sort_unstable_by_key(|(at, ..)| std::cmp::Reverse(*at));
    storms
}

/// In one world of three lives end, and in half of those with a schedule by connection it is one of think times. Drawn
/// apart, so that worlds are otherwise what they are without.
fn with_lives(client: ClientConfig, seed: u64) -> ClientConfig {
    let mut random = Rng::with_seed(!seed);
    let lifetime = one_in(&mut random, 3).then(|| lifetime(&mut random));
    let schedule = match client.pace.schedule {
        Schedule::Every(time) if random.bool() => Schedule::Exponential(time),
        schedule => schedule,
    };
    ClientConfig { lifetime, pace: Pace { schedule, ..client.pace }, ..client }
}

/// Lives end, soon or late, many in a hold or few.
fn lifetime(random: &mut Rng) -> Lifetime {
    let time = millis(random, 5..600);
    match random.u8(..3) {
        0 => Lifetime::Fixed(time),
        1 => Lifetime::Exponential(time),
        _ => Lifetime::Pareto { least: time, alpha: 1.2 + random.f64() },
    }
}

fn millis(random: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}

/// What the server does with its connections, and what the client expects of it.
fn traffic(message_bytes: u16, random: &mut Rng) -> (Mode, Option<Text>, Expect) {
    let text = |random: &mut Rng| -> Text {
        let letters: String = (0..random.usize(1..=9)).map(|_| random.lowercase()).collect();
        letters.parse().expect("letters are a text")
    };
    match random.u8(..8) {
        0 | 1 => {
            let every = millis(random, 20..300);
            let (text, banner) = (text(random), random.bool().then(|| text(random)));
            let expected = (!one_in(random, 8)).then_some(every);
            let pushes = Pushes { banner: banner.clone(), text: text.clone(), every: expected };
            (Mode::Push(Push { every, text }), banner, Expect::Push(pushes))
        }
        2 => (Mode::Sink, None, Expect::Nothing),
        _ => (Mode::Echo, None, Expect::Echo(Echoed { message_bytes })),
    }
}

fn plateaus(random: &mut Rng) -> Vec<u64> {
    let mut plateaus: Vec<u64> = (0..random.u8(1..=2)).map(|_| random.u64(1..=16)).collect();
    plateaus.sort_unstable();
    plateaus.dedup();
    plateaus
}

/// Long enough for some pushes, short enough for what the schedules have due.
fn hold(random: &mut Rng, mode: &Mode, churn_per_s: f64) -> Duration {
    match mode {
        Mode::Push(push) => push.every.mul_f64(1.0 + 5.0 * random.f64()),
        Mode::Echo | Mode::Sink => {
            Duration::from_secs_f64((THINGS / churn_per_s).min(0.5) * random.f64())
        }
    }
}

fn wire(seed: u64, mutation: Option<WireMutation>, is_slow: bool, random: &mut Rng) -> WireConfig {
    let mut rate = |most: u32| if random.bool() { random.u32(..most) } else { 0 };
    let mut faults = WireFaults {
        lost_syn: rate(100),
        stall: rate(60),
        long_stall: 0,
        reset: rate(200),
        pause: rate(10),
    };
    if is_slow {
        (faults.lost_syn, faults.long_stall) = (random.u32(..900), random.u32(5..200));
    }
    WireConfig {
        seed,
        send_buffer: random.usize(8..=if is_slow { 16 } else { 256 }),
        // A client reads no echo before its message is out, so both ends together must hold one.
        window: if is_slow { random.usize(8..=24) } else { random.usize(40..=400) },
        backlog: if one_in(random, 3) { random.usize(1..=2) } else { 64 },
        faults,
        mutation,
    }
}

fn sims(seed: u64, client: &ClientConfig, random: &mut Rng) -> [SimConfig; 2] {
    let message_bytes = client.message_bytes;
    let server = SimConfig {
        seed,
        listeners: LISTENERS,
        buffers: if one_in(random, 3) { random.u16(1..=4) } else { 64 },
        buffer_bytes: random.u16(10..=96),
        message_bytes: 0,
        faults: Faults { accept: rate(random, 100), ..faults(random) },
        mutation: None,
    };
    let client = SimConfig {
        seed: !seed,
        listeners: 0,
        buffers: if one_in(random, 4) { random.u16(1..=8) } else { MANY_BUFFERS },
        buffer_bytes: random.u16(message_bytes..=2 * message_bytes),
        message_bytes: usize::from(message_bytes),
        faults: Faults {
            connect: rate(random, 60),
            connect_at_once: rate(random, 60),
            ..faults(random)
        },
        mutation: None,
    };
    [server, client]
}

fn rate(random: &mut Rng, most: u32) -> u32 {
    if random.bool() { random.u32(..most) } else { 0 }
}

fn faults(random: &mut Rng) -> Faults {
    Faults {
        open_segment: rate(random, 200),
        would_block: rate(random, 200),
        unacked: 0,
        stale: rate(random, 500),
        slow_close: rate(random, 20),
        ..Faults::default()
    }
}

/// Now and then so few that a tuple comes again while its connection lives.
fn churn_tuples(random: &mut Rng, churn_per_s: f64) -> u64 {
    match churn_per_s > 0.0 {
        true if one_in(random, 4) => random.u64(1..8),
        true => 200,
        false => 0,
    }
}

/// For `connections` and short ones, from so many source ports at least.
pub(crate) fn tuples(ports: u64, connections: u64, churn_tuples: u64, seed: u64) -> TupleAllocator {
    let targets = (0..LISTENERS).map(|n| {
        let port = 900 + u16::try_from(n).expect("few");
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
    });
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
    let range = AddressRange::new(source, source).expect("one address is a range");
    let ports =
        (0..=ports + churn_tuples).map(|n| FIRST_PORT + u16::try_from(n).expect("few")).collect();
    let plan = TuplePlan::new(targets.collect(), &[range], ports, 1).expect("the plan is sound");
    TupleAllocator::new(Arc::new(plan), 0, connections, churn_tuples, seed)
}

/// It becomes short, and is enough again, in one world of five.
fn memory(random: &mut Rng) -> Vec<(Duration, MemoryLeft)> {
    if !one_in(random, 5) {
        return Vec::new();
    }
    let (at, span) = (millis(random, 0..1_000), millis(random, 1..1_000));
    let short = if random.bool() { MemoryLeft::ShortOnHost } else { MemoryLeft::ShortInCgroup };
    vec![(at + span, MemoryLeft::Enough), (at, short)]
}
