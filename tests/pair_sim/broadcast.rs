//! Worlds in which the server is told to send texts to all: none comes twice, none is left out that is not counted, and
//! all come in order.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use megaconn::drivers::sim::{End, Outcome};
use megaconn::engine::client::config::Schedule;
use megaconn::engine::client::followed::Followed;
use megaconn::engine::protocol::broadcast::{Moment, Numbers, Order, Receipt};
use megaconn::engine::protocol::broadcasts::Broadcasts;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::Push;
use megaconn::engine::protocol::tls::server::Tls;
use megaconn::engine::protocol::{Expectation, Heard, Protocol, What};
use megaconn::engine::server::drain::Command;
use megaconn::engine::server::orders::SlowReader;
use megaconn::engine::slot::ConnState;
use megaconn::engine::worker::Worker;
use megaconn::observe::stats::Received;

use crate::Figures;
use crate::frames::Said;
use crate::scene::{LISTENERS, Layer, Scene, one_in};
use crate::speech::{self, Pinging};
use crate::world::{World, random_of};

/// The longest text of these worlds.
const TEXT_MAX: usize = 40;

/// What is to be ordered.
#[derive(Clone, Debug)]
pub(crate) struct ToOrder {
    pub(crate) at: Duration,
    topic: Option<u16>,
    text: Vec<u8>,
}

/// An order that was given.
pub(crate) struct Given {
    order: Arc<Order>,
    /// Peers of connections that were there.
    members: BTreeSet<usize>,
    /// Those of them that were when it was done.
    stayed: Option<BTreeSet<usize>>,
}

/// What a world knows of its orders.
pub(crate) struct Orders {
    numbers: Numbers,
    given: Vec<Given>,
    pub(crate) followed: Followed,
}

impl Orders {
    pub(crate) fn new(scene: &Scene) -> Orders {
        let numbers = Numbers::new(scene.server.topics, false);
        Orders { numbers, given: Vec::new(), followed: Followed::default() }
    }

    /// Members that had gone.
    pub(crate) fn gone(&self) -> u64 {
        self.given.iter().map(|given| given.order.tally.gone.load(Ordering::Relaxed)).sum()
    }

    /// Orders to a topic.
    pub(crate) fn topical(&self) -> u64 {
        self.given.iter().filter(|given| given.order.topic.is_some()).count() as u64
    }
}

/// Lives through the world of a seed in which texts go to all.
pub(crate) fn live_to_broadcast(seed: u64) -> Figures {
    let mut random = random_of(!seed);
    let layer = match seed % 10 {
        3 | 7 => Layer::Frames,
        5 => Layer::Records,
        _ => Layer::None,
    };
    let scene = Scene::broadcasting(seed, layer, &mut random);
    let (protocol, expect) = (scene.protocol.clone(), scene.expect.clone());
    match layer {
        Layer::None if matches!(protocol.then, Mode::Push(_)) => {
            World::new(scene, || protocol.clone(), Anything, random).run()
        }
        Layer::None => World::new(scene, || protocol.clone(), expect, random).run(),
        Layer::Frames => {
            let protocol = Pinging::new(&protocol, &mut random);
            let expect = speech::upgraded(LISTENERS, expect);
            World::new(scene, || protocol.clone(), expect, random).run()
        }
        Layer::Records => {
            let (server, client) = speech::trusted(&mut random);
            let expect = speech::in_records(client, LISTENERS, expect);
            World::new(scene, || Tls::new(server.clone(), protocol.clone()), expect, random).run()
        }
    }
}

/// A client to which anything may come: in some worlds pushes come between texts to all.
#[derive(Debug)]
struct Anything;

impl Expectation for Anything {
    type State = ();

    fn is_answered(&self) -> bool {
        false
    }

    fn is_unasked(&self) -> bool {
        true
    }

    fn on_bytes(&self, (): &mut (), _buffer: &mut [u8], _bytes: Range<u16>) -> Heard {
        Heard::all(What::Nothing)
    }
}

/// What is pushed: no text to all begins so.
const PUSHED: &[u8] = b"+";

impl Scene {
    /// The same faults in a world in which texts are ordered.
    fn broadcasting(seed: u64, layer: Layer, random: &mut Rng) -> Scene {
        let mut scene = Scene::new(seed, None, layer, random);
        (scene.protocol.text, scene.protocol.then) = (None, Mode::Sink);
        if layer == Layer::None && one_in(random, 4) {
            let every = Duration::from_millis(random.u64(5..200));
            let text = "+".parse().expect("it is a text");
            scene.protocol.text = random.bool().then(|| "+".parse().expect("it is a text"));
            scene.protocol.then = Mode::Push(Push { every, text });
        }
        scene.expect = Expect::Broadcast(Broadcasts);
        (scene.client.message_count, scene.sweeps) = (0, false);
        let pace = &mut scene.client.pace;
        (pace.schedule, pace.churn_per_s) = (Schedule::None, 0.0);
        scene.server.topics = random.u16(1..=4);
        scene.server.slow_reader = if random.bool() { SlowReader::Skip } else { SlowReader::Close };
        if layer == Layer::None {
            scene.sims.iter_mut().for_each(|sim| sim.buffer_bytes = random.u16(140..=400));
        }
        scene.hold = Duration::from_millis(random.u64(50..800));
        let mut at = Duration::ZERO;
        let mut orders: Vec<ToOrder> = (0..random.usize(1..=12))
            .map(|_| {
                // Some come together.
                at += Duration::from_millis(if random.bool() { 0 } else { random.u64(..400) });
                let topic = one_in(random, 3).then(|| random.u16(..scene.server.topics));
                let text = (0..random.usize(1..=TEXT_MAX)).map(|_| random.u8(..)).collect();
                ToOrder { at, topic, text }
            })
            .collect();
        orders.reverse();
        scene.orders = Some(orders);
        scene
    }
}

impl<P: Protocol, E: Expectation> World<P, E> {
    /// Gives the orders that are due.
    pub(crate) fn give_orders(&mut self) {
        let now = self.wire.now();
        let due = |orders: &mut Vec<ToOrder>| orders.pop_if(|order| order.at <= now);
        while let Some(ToOrder { topic, text, .. }) = self.scene.orders.as_mut().and_then(due) {
            let monotonic_ns = u64::try_from(now.as_nanos()).expect("some minutes");
            let moment = Moment { monotonic_ns, unix_ns: 0, boot: 0 };
            let order = Arc::new(self.orders_given.numbers.order(topic, &text, moment));
            let members = self.members_now(topic);
            self.orders_given.given.push(Given {
                order: Arc::clone(&order),
                members,
                stayed: None,
            });
            self.server.handle_command(Command::Broadcast(order));
            self.wire.wake(End::Server);
        }
    }

    /// Peers of the connections of the server that an order is for; those whose handshake goes on are among them.
    fn members_now(&mut self, topic: Option<u16>) -> BTreeSet<usize> {
        let topics = self.scene.server.topics;
        let end = &mut self.server.end;
        let used = end.arena.iter_used();
        let open = used.filter(|(_, slot)| slot.state() == ConnState::Open).map(|(id, _)| id);
        let is_for = |id: &megaconn::engine::token::SlotId| {
            topic.is_none_or(|topic| id.index() % topics == topic)
        };
        let ids: Vec<_> = open.filter(is_for).collect();
        ids.into_iter().filter_map(|id| end.driver.peer_behind(id)).collect()
    }

    /// Notes which members are there when an order is done.
    pub(crate) fn note_done(&mut self) {
        let open = &self.ends[0].open;
        for given in &mut self.orders_given.given {
            let is_done = given.order.tally.cores_done.load(Ordering::Relaxed) == 1;
            if is_done && given.stayed.is_none() {
                given.stayed = Some(given.members.intersection(open).copied().collect());
            }
        }
    }

    /// At rest: each order is done, and every member is accounted for.
    pub(crate) fn check_broadcasts(&mut self) {
        let texts = self.texts_of_streams();
        let stalls = self.served.send_stalled_total.get();
        for Given { order, members, stayed } in &self.orders_given.given {
            let stayed = stayed.as_ref().expect("each order is done");
            let tally = &order.tally;
            let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
            if self.scene.layer == Layer::None {
                // Without a handshake members are known from the beginning.
                assert_eq!(tally.members(), members.len() as u64, "members: {order:?}");
            } else {
                assert!(tally.members() <= members.len() as u64, "more than members: {order:?}");
            }
            let Some(texts) = &texts else { continue };
            let has = |peer: &usize| texts[*peer].iter().any(|(number, _)| *number == order.number);
            let left_out = stayed.iter().filter(|peer| !has(peer)).count() as u64;
            let shaking = members.len() as u64 - tally.members().min(members.len() as u64);
            // What waits in a buffer is lost when its connection ends before it is taken.
            let most = count(&tally.skipped) + stalls + shaking;
            assert!(left_out <= most, "{left_out} never, {most} may be: {order:?}");
            let all = texts.iter().flatten().filter(|(number, _)| *number == order.number);
            let began = all.count() as u64;
            let most = count(&tally.sent) + count(&tally.gone) + count(&tally.closed);
            assert!(began <= most, "{began} have begun to have it, of {most}: {order:?}");
        }
        let log = &self.orders_given.followed.log;
        let is_heard = matches!(self.scene.protocol.then, Mode::Sink);
        let received = Received::merged(log.read().0);
        let all: u64 = received.iter().map(|text| text.reached).sum();
        assert_eq!(all, self.called.broadcasts_received_total.get(), "receipts");
        for text in &received {
            let given = &self.orders_given.given[usize::try_from(text.number - 1).expect("few")];
            let members = given.order.tally.members();
            assert!(text.reached <= members, "{} had it, of {members}", text.reached);
            assert!(text.first_ns >= 0, "before its order: {text:?}");
        }
        if let Some(texts) = &texts {
            let whole = texts.iter().flatten().filter(|(_, is_whole)| *is_whole).count() as u64;
            assert!(all <= whole, "{all} came of {whole} texts");
            // What comes to a connection that the client closes is not heard.
            let is_clean = self.wire.links().iter().all(|link| !link.was_reset)
                && self.ends[1].uncounted.is_empty();
            let is_plain = self.scene.layer == Layer::None;
            assert!(
                !is_clean || !is_plain || !is_heard || all == whole,
                "{all} came of {whole} texts"
            );
        }
    }

    /// The numbers of the texts that the server has sent on each connection, in order, and whether each is whole;
    /// `None` where they cannot be read.
    fn texts_of_streams(&self) -> Option<Vec<Vec<(u64, bool)>>> {
        if self.scene.has_records() {
            return None;
        }
        let peers = self.server.end.driver.peers();
        let mut texts = vec![Vec::new(); peers.len()];
        let links = self.wire.links().iter().filter(|l| l.outcome == Outcome::Established);
        for link in links {
            let number = link.peer(End::Server).expect("the handshake is done");
            let stream = &peers[number].received;
            let carried = match self.scene.has_frames() {
                true => Said::of(stream).data_bytes(),
                false => stream.clone(),
            };
            texts[number] = texts_in(&carried);
        }
        Some(texts)
    }
}

/// Each text comes once, whole and in order; the last one may be cut where the connection has ended.
fn texts_in(mut stream: &[u8]) -> Vec<(u64, bool)> {
    let (mut texts, mut place) = (Vec::new(), 0);
    while !stream.is_empty() {
        if let Some(behind) = stream.strip_prefix(PUSHED) {
            stream = behind;
            continue;
        }
        match Receipt::read(&mut place, stream).expect("nothing else is sent, in order and once") {
            Some((receipt, size)) => {
                texts.push((receipt.number, true));
                stream = &stream[size..];
            }
            None => {
                let number = stream.get(5..21).map(|digits| {
                    let digits = str::from_utf8(digits).expect("a number has digits");
                    u64::from_str_radix(digits, 16).expect("a number has digits")
                });
                texts.extend(number.map(|number| (number, false)));
                break;
            }
        }
    }
    let numbers: Vec<u64> = texts.iter().map(|(number, _)| *number).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "out of order: {numbers:?}");
    texts
}
