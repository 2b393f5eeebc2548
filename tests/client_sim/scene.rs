//! What a world is made of, by chance: expectation, plateaus, schedules, tuples and faults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::base::constants::{CONNECT_TIMEOUT, TIME_WAIT};
use megaconn::drivers::sim::{Faults, PeerBehavior, PushPlan, SimConfig};
use megaconn::plan::tuples::{AddressRange, TuplePlan};

use megaconn::engine::client::config::{ClientConfig, Pace, Schedule};
use megaconn::engine::client::tuple_allocator::TupleAllocator;
use megaconn::engine::driver::ShutdownMode;
use megaconn::engine::protocol::echo::Echoed;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::push::Pushes;

/// Things of one schedule in one phase of traffic, about.
const THINGS: f64 = 50.0;

/// First source port of every world.
const FIRST_PORT: u16 = 1_024;

/// The two targets: their ports are what matters.
const TARGETS: [u16; 2] = [900, 901];

/// What a client is told, and what it expects.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) expect: Expect,
    pub(super) client: ClientConfig,
}

impl std::ops::Deref for Told {
    type Target = ClientConfig;

    fn deref(&self) -> &ClientConfig {
        &self.client
    }
}

/// A world before it begins.
pub(super) struct Scene {
    pub(super) sim: SimConfig,
    pub(super) behavior: PeerBehavior,
    pub(super) config: Told,
    pub(super) supply: TupleAllocator,
    /// Held connections, each more than the one before.
    pub(super) plateaus: Vec<u64>,
    pub(super) hold: Duration,
    pub(super) sweeps: bool,
    pub(super) sheds: bool,
    /// Fewer buffers than connections that may need one: some wait in vain.
    pub(super) is_scarce: bool,
    /// Peers that have done nothing wrong hang up now and then.
    pub(super) hang_up: bool,
    /// The core is kept from turning now and then.
    pub(super) stalls: bool,
    /// Turns after which the run is stopped.
    pub(super) stop_after: Option<u32>,
    /// Turns after which memory is short.
    pub(super) short_after: Option<u32>,
    /// Turns after which things are begun so many times as fast.
    pub(super) paced_after: Option<(u32, f64)>,
    /// Tuples of the plan.
    pub(super) tuples: u32,
}

impl Scene {
    pub(super) fn new(seed: u64, random: &mut Rng) -> Scene {
        // So long now and then that a slot counts no more of the pushes that it is owed.
        let is_long = random.u8(..48) == 0;
        let message_bytes = random.u16(40..=80);
        let (expect, behavior) = match random.u8(..8) {
            _ if is_long => pushes(random, 15..30),
            0 => pushes(random, 200..1_200),
            1 => pushes(random, 2_000..4_000),
            2 => (Expect::Nothing, PeerBehavior::Sink),
            _ => (Expect::Echo(Echoed { message_bytes }), PeerBehavior::Answer),
        };
        let is_echo = matches!(expect, Expect::Echo(_));
        let is_push = matches!(expect, Expect::Push(_));
        let most = [24, 10, 4][usize::from(is_push) + usize::from(is_long)];
        let plateaus = plateaus(random, is_echo, most);
        let connections = plateaus.last().copied().expect("there is one");
        let churn_per_s = match random.u8(..6) {
            0 if is_echo => 100.0 + 3_000.0 * random.f64(),
            1 | 2 if is_echo => 5.0 + 95.0 * random.f64(),
            _ if is_echo && connections == 0 => 50.0,
            _ => 0.0,
        };
        let schedule = match random.u8(..3) {
            _ if is_push || connections == 0 => Schedule::None,
            0 => Schedule::None,
            1 => Schedule::Every(Duration::from_millis(random.u64(20..2_000))),
            _ => Schedule::PerSecond(5.0 + 500.0 * random.f64()),
        };
        let hold = hold(random, &expect, schedule, churn_per_s, connections);
        let mut faults = faults(random);
        if churn_per_s == 0.0 && random.bool() {
            // A short connection is made anew then, and which one it was the world does not tell.
            faults.connect_taken = random.u32(..300);
        }
        if is_long {
            // Some fall silent at once, and the others are held to time behind them.
            faults.echo = 700;
        }
        let client = ClientConfig {
            reconnect: None,
            lifetime: None,
            readers: None,
            seed,
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
            close: if random.bool() { ShutdownMode::Sending } else { ShutdownMode::Reset },
            run: seed,
        };
        let config = Told { expect, client };
        // Each that connects, or has something out, may need one; where there are fewer some wait.
        let most = u16::try_from(connections).expect("few") + 3 * 32;
        let buffers = if random.u8(..3) == 0 { random.u16(1..8) } else { most };
        let sim = SimConfig {
            seed,
            listeners: 0,
            buffers,
            buffer_bytes: random.u16(message_bytes..=2 * message_bytes),
            message_bytes: usize::from(message_bytes),
            faults,
            mutation: None,
        };
        let all_holds = hold * u32::try_from(plateaus.len()).expect("few");
        let need = churn_tuples(&config, all_holds);
        // Now and then so few that a tuple comes again while its connection lives, or none.
        let has_all = need == 0 || random.u8(..4) > 0;
        let churn_tuples = if has_all { need } else { random.u64(..8) };
        let plan = Arc::new(plan(random, connections, churn_tuples));
        let tuples = u32::try_from(plan.capacity()).expect("few");
        Scene {
            sim,
            behavior,
            supply: TupleAllocator::new(plan, 0, connections, churn_tuples, seed),
            plateaus,
            hold,
            sweeps: is_echo && random.bool(),
            sheds: random.u8(..4) == 0,
            is_scarce: sim.buffers < most,
            hang_up: !is_long && faults.echo > 0 && random.bool(),
            stalls: random.u8(..3) == 0,
            short_after: (random.u8(..3) == 0).then(|| random.u32(..800)),
            stop_after: (random.u8(..5) == 0).then(|| random.u32(..1_500)),
            paced_after: (random.u8(..4) == 0)
                .then(|| (random.u32(..800), 0.3 + 1.2 * random.f64())),
            tuples,
            config,
        }
    }
}

/// The place of a tuple in the plan: targets go fastest, then ports.
pub(super) fn place_in_plan(source: SocketAddr, target: usize) -> u32 {
    let place = usize::from(source.port() - FIRST_PORT) * TARGETS.len() + target;
    u32::try_from(place).expect("a plan has some thousand tuples")
}

/// The same texts for the client and for its peers.
fn pushes(random: &mut Rng, every_ms: Range<u64>) -> (Expect, PeerBehavior) {
    let letters = |random: &mut Rng| -> String {
        (0..random.usize(1..=9)).map(|_| random.lowercase()).collect()
    };
    let banner = random.bool().then(|| letters(random));
    let text = letters(random);
    let every = Duration::from_millis(random.u64(every_ms));
    let plan = PushPlan {
        banner: banner.clone().unwrap_or_default().into_bytes(),
        text: text.clone().into_bytes(),
        every,
    };
    let pushes = Pushes {
        banner: banner.map(|banner| banner.parse().expect("letters are a text")),
        text: text.parse().expect("letters are a text"),
        every: (random.u8(..8) > 0).then_some(every),
    };
    (Expect::Push(pushes), PeerBehavior::Push(plan))
}

fn plateaus(random: &mut Rng, is_echo: bool, most: u64) -> Vec<u64> {
    if is_echo && random.u8(..12) == 0 {
        return vec![0];
    }
    let mut plateaus: Vec<u64> = (0..random.u8(1..=3)).map(|_| random.u64(1..=most)).collect();
    plateaus.sort_unstable();
    plateaus.dedup();
    plateaus
}

/// Long enough for some pushes, short enough for what the schedules have due.
fn hold(
    random: &mut Rng,
    expect: &Expect,
    schedule: Schedule,
    churn_per_s: f64,
    connections: u64,
) -> Duration {
    if let Expect::Push(pushes) = expect {
        let every = pushes.every.unwrap_or(Duration::from_secs(1));
        let is_long = every < Duration::from_millis(30);
        let intervals = if is_long { 300.0 } else { 1.0 };
        return every.mul_f64(intervals + 4.0 * random.f64());
    }
    let messages_per_s = match schedule {
        Schedule::None => 0.0,
        Schedule::Exponential(_) => unreachable!("worlds of both ends have it"),
        Schedule::Every(interval) => connections as f64 / interval.as_secs_f64(),
        Schedule::PerSecond(rate) => rate,
    };
    let most = (THINGS / messages_per_s).min(THINGS / churn_per_s).min(2.0);
    Duration::from_secs_f64(most * random.f64())
}

/// As many as `Config` demands for a run.
fn churn_tuples(config: &Told, holds: Duration) -> u64 {
    let is_over_after =
        if config.close == ShutdownMode::Reset { CONNECT_TIMEOUT } else { TIME_WAIT };
    let seconds = is_over_after.min(holds).as_secs() + 1;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand")]
    let per_s = config.pace.churn_per_s.ceil() as u64;
    per_s * seconds
}

/// Two targets and one source; now and then with fewer tuples than are wanted.
fn plan(random: &mut Rng, connections: u64, churn_tuples: u64) -> TuplePlan {
    let targets = TARGETS.map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
    let range = AddressRange::new(source, source).expect("one address is a range");
    let held = if random.u8(..8) == 0 { connections / 2 } else { connections * 4 };
    let most = held + churn_tuples.div_ceil(2);
    let ports = (0..=most).map(|n| FIRST_PORT + u16::try_from(n).expect("few")).collect();
    TuplePlan::new(targets.into(), &[range], ports, 1).expect("the plan is sound")
}

fn faults(random: &mut Rng) -> Faults {
    let mut rate = |most: u32| if random.bool() { random.u32(..most) } else { 0 };
    Faults {
        accept: 0,
        connect_at_once: rate(200),
        connect: rate(400),
        connect_taken: 0,
        open_segment: rate(300),
        would_block: rate(300),
        unacked: 0,
        stale: rate(1_000),
        slow_close: rate(30),
        echo: rate(800),
    }
}
