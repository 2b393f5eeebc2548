//! What is hot in user space, by itself: no kernel, no network. `cargo bench` measures; `cargo test`
//! runs each once, so that none can rot.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use answering::Answering;
use divan::Bencher;
use divan::counter::ItemsCount;
use megaconn::base::constants::WHEEL_BUCKETS;
use megaconn::engine::arena::Arena;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::message::Message;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::server::role::Serving;
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::engine::slot::{ConnState, Timed};
use megaconn::engine::token::{Generation, Operation, SlotId, Token};
use megaconn::engine::wheel::Wheel;
use megaconn::engine::worker::{Turn, Wakeup, Worker};
use megaconn::observe::stats::{ClientStats, ServerStats};
use megaconn::plan::tuples::{AddressRange, TuplePlan};

mod answering;

/// Slots of a segment, as with `ulimit -n 20000`.
const SLOTS: u32 = 20_000;

const MESSAGE_BYTES: usize = 64;

fn main() {
    divan::main();
}

/// A message echoed on each connection: poll, receive, send. All that a shard does for it but the
/// kernel's part, which is answered at once.
#[divan::bench(args = [1, 16, 500, 15_000])]
fn shard_echo(bencher: Bencher, connections: u32) {
    let config = ServerConfig { connections_max: SLOTS, ..ServerConfig::new(1, SLOTS) };
    let stats = Arc::new(ServerStats::new());
    let driver = Answering::new(connections, MESSAGE_BYTES);
    let mut shard =
        Server::new(driver, config, protocol(), Arc::clone(&stats)).expect("it has memory");
    work_off(&mut shard);
    assert_eq!(shard.connections(), connections, "not all were accepted");
    bencher.counter(ItemsCount::new(connections)).bench_local(|| {
        let before = stats.messages_total.get();
        shard.end.driver.send_to_all();
        work_off(&mut shard);
        let echoed = stats.messages_total.get() - before;
        assert_eq!(echoed, u64::from(connections), "not all were echoed");
    });
}

/// As `serve` has it.
fn protocol() -> Banner<Mode> {
    Banner { text: None, then: Mode::Echo }
}

fn work_off(shard: &mut Server<Answering, Banner<Mode>>) {
    while shard.turn() == Turn::Busy || shard.end.driver.has_work() {}
}

/// A slot through a whole life, in a segment that is half full.
#[divan::bench]
fn arena_take_and_free(bencher: Bencher) {
    let mut arena: Arena<Serving<()>> = Arena::new(SLOTS);
    arena.grow(0);
    (0..SLOTS / 2).for_each(|_| assert!(arena.take().is_some(), "a segment has its slots"));
    bencher.bench_local(|| {
        let id = arena.take().expect("a half is free");
        for life in [ConnState::Accepting, ConnState::Open, ConnState::Closing] {
            arena[id].transition_to(life);
        }
        arena.free(id, 0);
        id
    });
}

#[divan::bench]
fn token_pack_and_unpack(bencher: Bencher) {
    let mut index = 0_u16;
    bencher.bench_local(|| {
        index = index.wrapping_add(1);
        let token = Token::new(Operation::Recv, Generation::new(7), SlotId::new(3, index));
        let token = Token::unpack(black_box(token.packed())).expect("it was packed");
        (token.operation(), token.generation(), token.slot())
    });
}

/// A slot taken out of a full wheel and put in again for later.
#[divan::bench]
fn wheel_remove_and_add(bencher: Bencher) {
    let (mut arena, mut wheel, ids) = full_wheel();
    let mut next = 0;
    bencher.bench_local(|| {
        let id = ids[next % ids.len()];
        next += 1;
        wheel.remove(&mut arena, id);
        let due_ms = arena[id].role.due_ms().wrapping_add(1);
        arena[id].role.set_due_ms(due_ms);
        wheel.add(&mut arena, id);
    });
}

/// A millisecond passes on a full wheel: who was due comes out, and in again for a minute later.
#[divan::bench]
fn wheel_advance(bencher: Bencher) {
    let (mut arena, mut wheel, _) = full_wheel();
    let mut now_ms = 0;
    bencher.bench_local(|| {
        now_ms += 1;
        let mut looks = SLOTS;
        while let Some(id) = wheel.expire(&mut arena, now_ms, &mut looks) {
            arena[id].role.set_due_ms(now_ms + MINUTE_MS);
            wheel.add(&mut arena, id);
        }
    });
    assert_eq!(wheel.len(), SLOTS, "a slot was lost");
}

const MINUTE_MS: u32 = 60_000;

/// Every slot of a segment, due one after the other within a minute.
fn full_wheel() -> (Arena<Serving<()>>, Wheel, Vec<SlotId>) {
    let (mut arena, mut wheel) = (Arena::<Serving<()>>::new(SLOTS), Wheel::new(WHEEL_BUCKETS));
    arena.grow(0);
    let ids: Vec<SlotId> = std::iter::from_fn(|| arena.take()).collect();
    for (number, &id) in (0..).zip(&ids) {
        arena[id].role.set_due_ms(1 + number * (MINUTE_MS / SLOTS));
        wheel.add(&mut arena, id);
    }
    (arena, wheel, ids)
}

/// The next tuple of a core, of all that loopback has.
#[divan::bench]
fn tuple_plan_next(bencher: Bencher) {
    let [low, high] = [[127, 0, 0, 2], [127, 255, 255, 254]].map(Ipv4Addr::from).map(IpAddr::V4);
    let sources = [AddressRange::new(low, high).expect("in order")];
    let targets = (7000..7016).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).collect();
    let plan = TuplePlan::new(targets, &sources, (32_768..=60_999).collect(), 2).expect("sound");
    let mut index = 0;
    bencher.bench_local(|| {
        index += 1;
        plan.of_core(1, index)
    });
}

#[divan::bench]
fn histogram_record(bencher: Bencher) {
    let stats = ClientStats::new();
    let mut us = 1_u64;
    bencher.bench_local(|| {
        us = us.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        stats.message_latency_us.record(Duration::from_micros(us >> 50));
    });
}

#[divan::bench]
fn message_write(bencher: Bencher) {
    let mut bytes = [0; MESSAGE_BYTES];
    let mut sequence = 0;
    bencher.bench_local(|| {
        sequence += 1;
        message(sequence).write(&mut bytes);
        bytes[MESSAGE_BYTES - 1]
    });
}

#[divan::bench]
fn message_verify(bencher: Bencher) {
    let mut bytes = [0; MESSAGE_BYTES];
    message(1).write(&mut bytes);
    bencher.bench_local(|| Message::read(black_box(&bytes)).expect("it was written"));
}

fn message(sequence: u32) -> Message {
    Message { run: 1, connection: 2, sequence, due: Duration::from_nanos(3) }
}
