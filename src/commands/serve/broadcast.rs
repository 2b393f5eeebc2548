//! With --broadcast-on: orders are taken by HTTP, given to the cores one after the other, and what becomes of them is
//! told. With --take-over as well: the place of the orders goes from server to server, and so does each order while an
//! older one drains.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use glommio::Task;
use glommio::timer::Timer;
use megaconn::base::constants::{DRAIN_SLACK, LOOK_EVERY};
use megaconn::base::stderr::talk;
use megaconn::base::until::Until;
use megaconn::engine::server::drain::Command;
use megaconn::observe::control::STATE;
use megaconn::observe::control::broadcasts::{BROADCAST, Taken, topic_of};
use megaconn::observe::control::listen::{self, Control, Remote};
use megaconn::observe::control::place::Place;
use megaconn::observe::control::socket_file::{Identity, SocketFile};
use megaconn::observe::http::site::{Answer, Site};
use megaconn::observe::http::{Listener, serve};
use megaconn::observe::stats::ServerStats;
use megaconn::runtime::commands::Commands;
use megaconn::runtime::hand_over::give::Giver;
use megaconn::runtime::hand_over::texts::{Following, Older};
use megaconn::runtime::hand_over::{Entry, Use};
use megaconn::runtime::signals::Signals;
use megaconn::sys::doorbell::{Doorbell, Ringer};
use serde_json::json;
use socket2::Socket;

use crate::commands::serve::config::BroadcastConfig;
use crate::commands::serve::orders::{Orders, elsewhere};
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::sockets::PassedPlace;

/// Where orders come in, and wait for the cores.
pub(crate) struct Desk {
    shared: Arc<Shared>,
    door: Option<Door>,
    /// The file of the older server's place.
    of_older: Option<(PathBuf, Option<Identity>)>,
    following: Option<Following>,
}

/// Where they come in.
struct Door {
    place: Place,
    /// At which nothing is answered yet.
    listener: Option<Listener>,
    until: Until,
    /// It goes with the server.
    file: Option<SocketFile>,
    /// Whether the socket was the older server's.
    is_taken: bool,
}

struct Shared {
    orders: Mutex<Orders>,
    /// Tells the thread of the commands that there is an order.
    ringer: OnceLock<Ringer>,
    /// The number of the process that takes over, or 0.
    successor: OnceLock<Arc<AtomicU32>>,
}

impl Desk {
    /// Listens where `config` says, at the older server's socket where that is the same place; nothing is answered yet.
    pub(crate) fn open(
        config: Option<&BroadcastConfig>,
        stats: Vec<Arc<ServerStats>>,
        taken: PassedPlace,
    ) -> Result<Desk, Refusal> {
        let orders = Mutex::new(Orders::new(config, stats));
        let shared =
            Arc::new(Shared { orders, ringer: OnceLock::new(), successor: OnceLock::new() });
        let path = taken.as_ref().and_then(|(_, _, path)| path.clone());
        let of_older = path.map(|path| (path.clone(), Identity::at(&path)));
        let door = config.map(|config| Door::open(&config.place, taken)).transpose()?;
        Ok(Desk { shared, door, of_older, following: None })
    }

    /// Where it is.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.door.as_ref().map(|door| &door.place)
    }

    /// The socket of the place for the server that takes over from this one, and its path with no link in it.
    ///
    /// # Errors
    /// When the process may have no more descriptors.
    pub(crate) fn try_clone(&self) -> io::Result<PassedPlace> {
        let Some((door, listener)) =
            self.door.as_ref().and_then(|door| Some((door, door.listener.as_ref()?)))
        else {
            return Ok(None);
        };
        let (address, path) = match &door.place {
            Place::Address(address) => (Some(*address), None),
            Place::Socket(path) => (None, path.canonicalize().ok()),
        };
        let entry = Entry { r#use: Use::Broadcast, address };
        Ok(Some((entry, listener.socket.try_clone()?, path)))
    }

    /// The cores accept: orders are taken from now on. `older` is the way to the server that was taken over, and `giver` may
    /// be asked by the next one.
    pub(crate) fn begin(
        &mut self,
        older: Option<Socket>,
        giver: Option<&Giver>,
    ) -> Result<(), Refusal> {
        if let Some(giver) = giver {
            let is_first = self.shared.successor.set(giver.watch()).is_ok();
            assert!(is_first, "a server begins once");
        }
        match older.map(Older::hear).transpose() {
            Ok(Some(older)) => self.shared.lock().has_taken_over(older),
            Ok(None) => {}
            Err(error) => talk(&format!(
                "warning: texts to all do not reach connections that drain in the older server: {error}"
            )),
        }
        let file = self.of_older.take();
        let file = file.and_then(|(path, identity)| SocketFile::adopt(&path, identity));
        match &mut self.door {
            Some(door) => door.begin(&self.shared, file),
            // Nothing listens there any more: the file goes.
            None => {
                drop(file);
                Ok(())
            }
        }
    }

    /// Gives orders to the cores as they come, on this executor, until it is cancelled.
    pub(crate) fn pass_on(&self, commands: Rc<Commands<Command>>) -> Option<Task<()>> {
        self.door.as_ref()?;
        let shared = Arc::clone(&self.shared);
        // A task of its own, as that which hears a core's bell.
        Some(glommio::spawn_local(async move {
            if let Err(error) = shared.pass_on(&commands).await {
                talk(&format!("error: --broadcast-on takes no more orders: {error}"));
            }
        }))
    }

    /// The newer server takes the orders from now on.
    pub(crate) fn hand_over(&mut self) {
        self.shared.lock().end();
        if let Some(door) = &mut self.door {
            door.until.end();
            if let Some(file) = door.file.take() {
                file.leave();
            }
        }
    }

    /// That server passes them on over this stream.
    pub(crate) fn follow(&mut self, stream: Socket) {
        let (taken, told) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let take = move |passed| {
            taken.lock().give(&passed);
            taken.ring();
        };
        let following = Following::begin(stream, take, move || told.lock().account());
        let no_thread = |error: &io::Error| {
            talk(&format!("warning: texts to all reach no connection here any more: {error}"));
        };
        self.following = following.inspect_err(no_thread).ok();
    }

    /// The connections of this server have ended. It stays for those of a server that it had taken over, as long as they
    /// drain, unless a signal ends it.
    pub(crate) async fn end(&mut self, signals: &Signals) {
        let Some(following) = self.following.take() else { return };
        let began = Instant::now();
        let is_early = || began.elapsed() < DRAIN_SLACK;
        loop {
            let (has_older, are_done) = {
                let orders = self.shared.lock();
                (orders.has_older(), orders.are_done())
            };
            let goes_on = has_older && signals.stop().is_none() || !are_done && is_early();
            if !goes_on {
                break;
            }
            Timer::new(LOOK_EVERY).await;
        }
        following.end();
    }
}

impl Door {
    fn open(place: &Place, taken: PassedPlace) -> Result<Door, Refusal> {
        let is_same = |entry: &Entry, of_older: Option<&PathBuf>| match place {
            Place::Address(address) => entry.address == Some(*address),
            Place::Socket(path) => {
                of_older.is_some() && path.canonicalize().ok().as_ref() == of_older
            }
        };
        let taken = taken.filter(|(entry, _, path)| is_same(entry, path.as_ref()));
        let is_taken = taken.is_some();
        let Control { listener, place, file } = match taken {
            Some((_, socket, _)) => listen::at(socket, place),
            None => listen::listen(FLAG, place, Remote::Never)?,
        };
        let until = listener.until.clone();
        Ok(Door { place, listener: Some(listener), until, file, is_taken })
    }

    /// Orders are taken; the file of the older server's place is ours, or goes.
    fn begin(&mut self, shared: &Arc<Shared>, file: Option<SocketFile>) -> Result<(), Refusal> {
        let Some(mut listener) = self.listener.take() else { return Ok(()) };
        if let (true, Place::Socket(_)) = (self.is_taken, &self.place) {
            self.file = file;
            if self.file.is_none() {
                // Somebody has removed it.
                let anew = listen::listen(FLAG, &self.place, Remote::Never)?;
                self.until = anew.listener.until.clone();
                (listener, self.file) = (anew.listener, anew.file);
            }
        }
        let (told, taken) = (Arc::clone(shared), Arc::clone(shared));
        let site = Site {
            path: STATE,
            content_type: "application/json",
            text: move || serde_json::to_string(&told.lock().state()).unwrap_or_default() + "\n",
            posts: &[BROADCAST],
            post: move |path: &str, text: &[u8]| taken.take(path, text),
        };
        serve(vec![listener], site, "broadcast").map_err(Refusal::NoThread)
    }
}

const FLAG: &str = "--broadcast-on";

impl Shared {
    async fn pass_on(&self, commands: &Commands<Command>) -> io::Result<()> {
        let bell = Doorbell::new()?;
        let is_first = self.ringer.set(bell.ringer()?).is_ok();
        assert!(is_first, "orders are passed on by one task");
        loop {
            loop {
                let order = self.lock().next();
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

    fn ring(&self) {
        if let Some(ringer) = self.ringer.get() {
            ringer.ring();
        }
    }

    fn take(&self, path: &str, text: &[u8]) -> Answer {
        let query = path.split_once('?').map(|(_, query)| query);
        // A newer server accepts already: an order here would miss its connections.
        let is_over = self.successor.get().is_some_and(|pid| pid.load(Ordering::Acquire) != 0);
        let taken = topic_of(query).map_err(|why| ("400 Bad Request", why)).and_then(|topic| {
            if is_over { Err(elsewhere()) } else { self.lock().take(topic, text) }
        });
        match taken {
            Ok(number) => {
                self.ring();
                let text = json!(Taken { number }).to_string() + "\n";
                Answer { status: "202 Accepted", text }
            }
            Err((status, why)) => Answer::refused(status, &why),
        }
    }
}
