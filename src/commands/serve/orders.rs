//! The orders of a server for texts to all: they are numbered, wait for the cores, go to the server that was taken over
//! as well, and what becomes of each is summed up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use megaconn::base::constants::{BROADCAST_TEXT_MAX, BROADCASTS_TOLD, BROADCASTS_WAITING_MAX};
use megaconn::engine::protocol::broadcast::{Moment, Numbers, Order};
use megaconn::engine::server::orders::SlowReader;
use megaconn::observe::control::STATE;
use megaconn::observe::control::broadcasts::{Broadcasts, Ordered, SCHEMA};
use megaconn::observe::stats::ServerStats;
use megaconn::runtime::hand_over::texts::{self, Account, Older, Passed};
use megaconn::runtime::moment;

use crate::commands::serve::config::BroadcastConfig;

/// The orders, of a server that takes some or has taken over one that does.
pub(super) struct Orders {
    numbers: Numbers,
    /// `None` where connections take no texts.
    traits: Option<Traits>,
    stats: Vec<Arc<ServerStats>>,
    /// Those that no core has been told.
    waiting: VecDeque<Arc<Order>>,
    /// The last ones.
    given: VecDeque<Given>,
    /// The server that was taken over.
    older: Option<Older>,
    /// Whether another server takes the orders from now on.
    is_over: bool,
}

struct Traits {
    topics: u16,
    slow_reader: SlowReader,
}

/// One order.
struct Given {
    number: u64,
    topic: Option<u16>,
    bytes: u64,
    /// What the cores do of it; `None` where it has no members here.
    order: Option<Arc<Order>>,
    /// Connections that cannot be reached.
    unreached: u64,
    /// Whether the older server has it as well.
    is_passed_on: bool,
}

/// A status and why.
type Refused = (&'static str, String);

impl Orders {
    pub(super) fn new(config: Option<&BroadcastConfig>, stats: Vec<Arc<ServerStats>>) -> Orders {
        Orders {
            numbers: config.map_or_else(
                || Numbers::new(1, false),
                |config| Numbers::new(config.topics, config.is_raw),
            ),
            traits: config
                .map(|config| Traits { topics: config.topics, slow_reader: config.slow_reader }),
            stats,
            waiting: VecDeque::new(),
            given: VecDeque::new(),
            older: None,
            is_over: false,
        }
    }

    /// The server that was taken over has connections that drain.
    pub(super) fn has_taken_over(&mut self, older: Older) {
        self.numbers.pass(older.told().account.last_number);
        self.older = Some(older);
    }

    /// The next order for the cores.
    pub(super) fn next(&mut self) -> Option<Arc<Order>> {
        self.waiting.pop_front()
    }

    /// Another server takes the orders from now on.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Whether a server that was taken over has connections still.
    pub(super) fn has_older(&self) -> bool {
        self.older.as_ref().is_some_and(|older| !older.is_over())
    }

    /// Whether something is to be done still.
    pub(super) fn are_done(&self) -> bool {
        self.list().iter().all(|order| order.done)
    }

    /// Takes an order; its number.
    pub(super) fn take(&mut self, topic: Option<u16>, text: &[u8]) -> Result<u64, Refused> {
        let moment = moment::now();
        if text.is_empty() {
            return Err(("400 Bad Request", "an empty text; fix: 1 byte or more".to_owned()));
        }
        if text.len() > usize::from(BROADCAST_TEXT_MAX) {
            let why = format!(
                "a text of {} bytes is more than a buffer holds; fix: {BROADCAST_TEXT_MAX} at most",
                text.len()
            );
            return Err(("413 Content Too Large", why));
        }
        let topics = self.traits.as_ref().map_or(0, |traits| traits.topics);
        if let Some(topic) = topic.filter(|topic| *topic >= topics) {
            let last = topics.saturating_sub(1);
            let why = format!("there is no topic {topic}; fix: 0 to {last}, or more --topics");
            return Err(("404 Not Found", why));
        }
        if self.is_over {
            return Err(elsewhere());
        }
        if self.list().iter().filter(|order| !order.done).count() >= BROADCASTS_WAITING_MAX {
            let why = format!(
                "{BROADCASTS_WAITING_MAX} orders are not done; fix: wait until one is, see {STATE}"
            );
            return Err(("503 Service Unavailable", why));
        }
        let number = self.numbers.last() + 1;
        self.give(&Passed { number, topic, moment, text: text.to_vec() });
        Ok(number)
    }

    /// Gives an order to the cores, and to the server that was taken over: one of our own, or of the server that has taken
    /// over this one.
    pub(super) fn give(&mut self, passed: &Passed) {
        let Passed { number, topic, moment, text } = passed;
        let (order, connections) = (self.order(*number, *topic, *moment, text), self.connections());
        let is_mute = self.traits.is_none();
        let mut given = Given {
            number: *number,
            topic: *topic,
            bytes: text.len() as u64,
            unreached: if is_mute { connections } else { 0 },
            is_passed_on: false,
            order,
        };
        if let Some(older) = self.older.as_ref().filter(|older| !older.is_over()) {
            given.is_passed_on = older.pass_on(passed);
            if !given.is_passed_on {
                given.unreached += older.told().account.connections;
            }
        }
        self.waiting.extend(given.order.clone());
        if self.given.len() == BROADCASTS_TOLD {
            self.given.pop_front();
        }
        self.given.push_back(given);
    }

    /// What the cores are told; `None` where no connection is concerned.
    fn order(
        &mut self,
        number: u64,
        topic: Option<u16>,
        moment: Moment,
        text: &[u8],
    ) -> Option<Arc<Order>> {
        let topics = self.traits.as_ref().map_or(0, |traits| traits.topics);
        if topics == 0 || topic.is_some_and(|topic| topic >= topics) {
            self.numbers.pass(number);
            return None;
        }
        self.numbers.pass(number.saturating_sub(1));
        Some(Arc::new(self.numbers.order(topic, text, moment)))
    }

    fn connections(&self) -> u64 {
        self.stats.iter().map(|core| core.connections.get()).sum()
    }

    /// The last orders, those that the server that was taken over had before among them.
    fn list(&self) -> Vec<Ordered> {
        let told = self.older.as_ref().map(Older::told);
        let cores = u32::try_from(self.stats.len()).unwrap_or(u32::MAX);
        let first = self.given.front().map_or(u64::MAX, |given| given.number);
        let before = told.iter().flat_map(|told| {
            let before = told.account.orders.iter().filter(move |order| order.number < first);
            before.map(|order| with_older(Ordered { done: true, ..of_number(order) }, told))
        });
        let own = self.given.iter().map(|given| {
            let own = given.summed_up(cores);
            let told = told.as_ref().filter(|_| given.is_passed_on);
            told.map_or(own.clone(), |told| with_older(own, told))
        });
        let mut all: Vec<Ordered> = before.chain(own).collect();
        all.drain(..all.len().saturating_sub(BROADCASTS_TOLD));
        all
    }

    pub(super) fn state(&self) -> Broadcasts {
        let Traits { topics, slow_reader } =
            self.traits.as_ref().unwrap_or(&Traits { topics: 0, slow_reader: SlowReader::Skip });
        let slow_reader = match slow_reader {
            SlowReader::Skip => "skip",
            SlowReader::Close => "close",
        };
        Broadcasts {
            schema: SCHEMA.to_owned(),
            topics: *topics,
            slow_reader: slow_reader.to_owned(),
            orders: self.list(),
        }
    }

    /// What the server that has taken over this one is told.
    pub(super) fn account(&self) -> Account {
        let of_older = self.older.as_ref().map(Older::told).filter(|told| !told.is_over);
        let of_older = of_older.map_or(0, |told| told.account.connections);
        Account {
            last_number: self.numbers.last(),
            connections: self.connections() + of_older,
            orders: self.list(),
        }
    }
}

impl Given {
    /// What the cores have done of it.
    fn summed_up(&self, cores: u32) -> Ordered {
        let mut all = Ordered {
            number: self.number,
            topic: self.topic,
            bytes: self.bytes,
            done: true,
            unreached: self.unreached,
            ..Ordered::default()
        };
        if let Some(order) = &self.order {
            let tally = &order.tally;
            all.done = tally.cores_done.load(Ordering::Acquire) >= cores;
            let [sent, skipped, closed, gone, took_us] =
                [&tally.sent, &tally.skipped, &tally.closed, &tally.gone, &tally.took_us]
                    .map(|count| count.load(Ordering::Acquire));
            (all.sent, all.skipped, all.closed, all.gone) = (sent, skipped, closed, gone);
            all.members = tally.members();
            all.seconds = all.done.then_some(took_us as f64 / 1e6);
        }
        all
    }
}

/// The same order, of which nothing is counted yet.
fn of_number(order: &Ordered) -> Ordered {
    let Ordered { number, topic, bytes, .. } = *order;
    Ordered { number, topic, bytes, ..Ordered::default() }
}

/// Adds what the older server has told of the same order.
fn with_older(own: Ordered, older: &texts::Told) -> Ordered {
    let mut all = own;
    let theirs = older.account.orders.iter().find(|order| order.number == all.number);
    let is_answered = theirs.is_some_and(|order| order.done);
    if let Some(theirs) = theirs {
        all.members += theirs.members;
        all.sent += theirs.sent;
        all.skipped += theirs.skipped;
        all.closed += theirs.closed;
        all.gone += theirs.gone;
        all.unreached += theirs.unreached;
    }
    if older.is_over && !is_answered {
        all.unreached += older.account.connections;
    }
    all.done &= is_answered || older.is_over;
    let slowest = theirs.and_then(|order| order.seconds).into_iter().chain(all.seconds);
    all.seconds = slowest.reduce(f64::max).filter(|_| all.done);
    all
}

/// An order at a server that gives its place away.
pub(super) fn elsewhere() -> Refused {
    let why = "another server takes the orders over; fix: the same again, soon";
    ("503 Service Unavailable", why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn older(number: u64, sent: u64, done: bool, is_over: bool) -> texts::Told {
        let orders = vec![Ordered { number, members: sent, sent, done, ..Ordered::default() }];
        texts::Told { account: Account { last_number: number, connections: 7, orders }, is_over }
    }

    #[test]
    fn an_order_is_done_when_both_have_done_it_and_reaches_all_only_where_the_older_one_says_so() {
        let own = Ordered { number: 3, members: 2, sent: 2, done: true, ..Ordered::default() };
        let [under_way, answered, ended, cut, unheard] = [
            (older(3, 5, false, false)),
            (older(3, 5, true, false)),
            (older(3, 5, true, true)),
            (older(3, 4, false, true)),
            (older(2, 5, true, true)),
        ]
        .map(|told| with_older(own.clone(), &told))
        .map(|all| (all.done, all.sent, all.unreached));
        assert_eq!(under_way, (false, 7, 0));
        assert_eq!((answered, ended), ((true, 7, 0), (true, 7, 0)));
        assert_eq!((cut, unheard), ((true, 6, 7), (true, 2, 7)));
    }

    #[test]
    fn a_server_whose_connections_take_no_texts_says_how_many_it_has() {
        let stats = Arc::new(ServerStats::new());
        stats.connections.set(9);
        let mut orders = Orders::new(None, vec![stats]);
        let moment = Moment::default();
        orders.give(&Passed { number: 5, topic: None, moment, text: b"x".to_vec() });
        let account = orders.account();
        assert_eq!((account.last_number, account.connections), (5, 9));
        let Ordered { done, members, unreached, .. } = account.orders[0];
        assert_eq!((done, members, unreached), (true, 0, 9));
        assert!(orders.next().is_none(), "no core is told");
    }

    #[test]
    fn numbers_go_on_behind_those_of_another_server() {
        let config = BroadcastConfig {
            place: "./all.sock".parse().expect("it is one"),
            is_raw: false,
            topics: 2,
            slow_reader: SlowReader::Skip,
        };
        let mut orders = Orders::new(Some(&config), vec![Arc::new(ServerStats::new())]);
        let moment = Moment::default();
        orders.give(&Passed { number: 5, topic: Some(1), moment, text: b"x".to_vec() });
        // Of a topic that is the newer server's alone.
        orders.give(&Passed { number: 6, topic: Some(2), moment, text: b"x".to_vec() });
        assert_eq!(orders.take(None, b"x"), Ok(7));
        let told = |orders: &mut Orders| orders.next().map(|order| order.number);
        assert_eq!([(); 3].map(|()| told(&mut orders)), [Some(5), Some(7), None]);
        let done: Vec<_> = orders.list().iter().map(|order| order.done).collect();
        assert_eq!(done, [false, true, false]);
        orders.end();
        assert_eq!(orders.take(None, b"x"), Err(elsewhere()));
    }
}
