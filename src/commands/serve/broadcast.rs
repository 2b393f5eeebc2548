//! With --broadcast-on: orders are taken by HTTP, given to the cores one after the other, and what becomes of them is
//! told.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use glommio::Task;
use megaconn::base::constants::{BROADCAST_TEXT_MAX, BROADCASTS_TOLD, BROADCASTS_WAITING_MAX};
use megaconn::base::stderr::talk;
use megaconn::engine::protocol::broadcast::{Numbers, Order};
use megaconn::engine::server::drain::Command;
use megaconn::engine::server::orders::SlowReader;
use megaconn::observe::control::STATE;
use megaconn::observe::control::broadcasts::{
    BROADCAST, Broadcasts, Ordered, SCHEMA, Taken, topic_of,
};
use megaconn::observe::control::listen::{self, Remote};
use megaconn::observe::control::place::Place;
use megaconn::observe::control::socket_file::SocketFile;
use megaconn::observe::http::serve;
use megaconn::observe::http::site::{Answer, Site};
use megaconn::runtime::commands::Commands;
use megaconn::runtime::moment;
use megaconn::sys::doorbell::{Doorbell, Ringer};
use serde_json::json;

use crate::commands::serve::config::BroadcastConfig;
use crate::commands::serve::refusal::Refusal;

/// Where orders come in, and wait for the cores.
pub(crate) struct Desk {
    shared: Arc<Shared>,
    place: Place,
    /// It goes with the server.
    _file: Option<SocketFile>,
}

struct Shared {
    orders: Mutex<Orders>,
    /// Tells the thread of the commands that there is an order.
    ringer: OnceLock<Ringer>,
}

struct Orders {
    numbers: Numbers,
    topics: u16,
    slow_reader: SlowReader,
    cores: u32,
    /// Those that no core has been told.
    waiting: VecDeque<Arc<Order>>,
    /// The last ones.
    told: VecDeque<Arc<Order>>,
}

impl Desk {
    /// Listens where `config` says, for a server of so many cores, until the process ends.
    pub(crate) fn offer(config: &BroadcastConfig, cores: usize) -> Result<Desk, Refusal> {
        let listen::Control { listener, place, file } =
            listen::listen("--broadcast-on", &config.place, Remote::Never)?;
        let orders = Mutex::new(Orders {
            numbers: Numbers::new(config.topics, config.is_raw),
            topics: config.topics,
            slow_reader: config.slow_reader,
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            waiting: VecDeque::new(),
            told: VecDeque::new(),
        });
        let shared = Arc::new(Shared { orders, ringer: OnceLock::new() });
        let (told, taken) = (Arc::clone(&shared), Arc::clone(&shared));
        let site = Site {
            path: STATE,
            content_type: "application/json",
            text: move || serde_json::to_string(&told.lock().state()).unwrap_or_default() + "\n",
            posts: &[BROADCAST],
            post: move |path: &str, text: &[u8]| taken.take(path, text),
        };
        serve(vec![listener], site, "broadcast").map_err(Refusal::NoThread)?;
        Ok(Desk { shared, place, _file: file })
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Gives orders to the cores as they come, on this executor, until it is cancelled.
    pub(crate) fn pass_on(&self, commands: Rc<Commands<Command>>) -> Task<()> {
        let shared = Arc::clone(&self.shared);
        // A task of its own, as that which hears a core's bell.
        glommio::spawn_local(async move {
            if let Err(error) = shared.pass_on(&commands).await {
                talk(&format!("error: --broadcast-on takes no more orders: {error}"));
            }
        })
    }
}

impl Shared {
    async fn pass_on(&self, commands: &Commands<Command>) -> io::Result<()> {
        let bell = Doorbell::new()?;
        let is_first = self.ringer.set(bell.ringer()?).is_ok();
        assert!(is_first, "orders are passed on by one task");
        loop {
            loop {
                let order = self.lock().waiting.pop_front();
                let Some(order) = order else { break };
                commands.broadcast(Command::Broadcast(order)).await;
            }
            bell.rung().await?;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        // Each change of it is whole.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, path: &str, text: &[u8]) -> Answer {
        let query = path.split_once('?').map(|(_, query)| query);
        let taken = topic_of(query)
            .map_err(|why| ("400 Bad Request", why))
            .and_then(|topic| self.lock().take(topic, text));
        match taken {
            Ok(number) => {
                if let Some(ringer) = self.ringer.get() {
                    ringer.ring();
                }
                let text = json!(Taken { number }).to_string() + "\n";
                Answer { status: "202 Accepted", text }
            }
            Err((status, why)) => {
                Answer { status, text: json!({ "error": why }).to_string() + "\n" }
            }
        }
    }
}

impl Orders {
    /// Takes an order; its number.
    fn take(&mut self, topic: Option<u16>, text: &[u8]) -> Result<u64, (&'static str, String)> {
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
        if let Some(topic) = topic.filter(|topic| *topic >= self.topics) {
            let last = self.topics - 1;
            let why = format!("there is no topic {topic}; fix: 0 to {last}, or more --topics");
            return Err(("404 Not Found", why));
        }
        if self.told.iter().filter(|order| !self.is_done(order)).count() >= BROADCASTS_WAITING_MAX {
            let why = format!(
                "{BROADCASTS_WAITING_MAX} orders are not done; fix: wait until one is, see {STATE}"
            );
            return Err(("503 Service Unavailable", why));
        }
        let order = Arc::new(self.numbers.order(topic, text, moment));
        if self.told.len() == BROADCASTS_TOLD {
            self.told.pop_front();
        }
        self.told.push_back(Arc::clone(&order));
        let number = order.number;
        self.waiting.push_back(order);
        Ok(number)
    }

    fn is_done(&self, order: &Order) -> bool {
        order.tally.cores_done.load(Ordering::Acquire) >= self.cores
    }

    fn state(&self) -> Broadcasts {
        let ordered = |order: &Arc<Order>| {
            let done = self.is_done(order);
            let tally = &order.tally;
            let [sent, skipped, closed, gone, took_us] =
                [&tally.sent, &tally.skipped, &tally.closed, &tally.gone, &tally.took_us]
                    .map(|count| count.load(Ordering::Acquire));
            Ordered {
                number: order.number,
                topic: order.topic,
                bytes: order.bytes() as u64,
                done,
                members: tally.members(),
                sent,
                skipped,
                closed,
                gone,
                seconds: done.then_some(took_us as f64 / 1e6),
            }
        };
        let slow_reader = match self.slow_reader {
            SlowReader::Skip => "skip",
            SlowReader::Close => "close",
        };
        Broadcasts {
            schema: SCHEMA.to_owned(),
            topics: self.topics,
            slow_reader: slow_reader.to_owned(),
            orders: self.told.iter().map(ordered).collect(),
        }
    }
}
