//! What a core of a client resumes by: sessions of TLS 1.2 and tickets of TLS 1.3, of each name of a server.
//!
//! Each ticket is used once while there is another, newest first, and each connection that is resumed brings the next:
//! so it is in life. A burst of connections needs more tickets than there are, and then the last one is used again:
//! it is made anew from its message by what took it. A server that takes a ticket once makes those handshakes full
//! ones; their tickets take the place of the one that it refused.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::{self, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup};

use crate::engine::protocol::tls::config::ClientTls;
use crate::engine::protocol::tls::handshake::Tickets;

/// Names of which a core keeps anything, the first that there are; connections to others are not resumed.
const NAMES_MAX: usize = 256;

/// Tickets that are kept of a name. Each is some kB, with the certificates of its server.
const TICKETS_MAX: usize = 4;

/// Connections whose tickets are waited for at once, with 1 kB each. A server that gives none leaves so many waiting.
const WAITING_MAX: usize = 64;

/// What rustls puts away and takes out. It asks for a store that threads can share, so there is a lock, which
/// nothing else waits for.
#[derive(Default)]
struct Store(Mutex<HashMap<ServerName<'static>, OfName>>);

#[derive(Default)]
struct OfName {
    group: Option<NamedGroup>,
    session: Option<Tls12ClientSessionValue>,
    /// Oldest first; none was used.
    tickets: Vec<Tls13ClientSessionValue>,
}

impl Store {
    fn names(&self) -> MutexGuard<'_, HashMap<ServerName<'static>, OfName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept of a name, where there is room for it.
    fn change(&self, name: ServerName<'static>, change: impl FnOnce(&mut OfName)) {
        let mut names = self.names();
        let has_room = names.len() < NAMES_MAX;
        match names.entry(name) {
            Entry::Occupied(mut of) => change(of.get_mut()),
            Entry::Vacant(of) if has_room => change(of.insert(OfName::default())),
            Entry::Vacant(_) => {}
        }
    }

    fn tickets(&self, name: &ServerName<'static>) -> usize {
        self.names().get(name).map_or(0, |of| of.tickets.len())
    }
}

impl std::fmt::Debug for Store {
    /// Says nothing of what is in it, which is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl ClientSessionStore for Store {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.change(name, |of| of.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.names().get(name)?.group
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.change(name, |of| of.session = Some(session));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.names().get(name)?.session.clone()
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.change(name.clone(), |of| of.session = None);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.change(name, |of| {
            if of.tickets.len() == TICKETS_MAX {
                of.tickets.remove(0);
            }
            of.tickets.push(ticket);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.names().get_mut(name)?.tickets.pop()
    }
}

/// The store of a core, and the connections from which its tickets come.
pub(super) struct Resumption {
    store: Arc<Store>,
    waiting: Vec<Waiting>,
    last: HashMap<ServerName<'static>, Last>,
}

/// A connection whose first ticket has not come.
struct Waiting {
    session: u32,
    name: ServerName<'static>,
    tickets: Tickets,
}

/// The last ticket of a name.
struct Last {
    /// The connection that it came on, while that is open, or 0.
    session: u32,
    tickets: Tickets,
    message: Vec<u8>,
}

impl Resumption {
    /// The config of one core, and what it resumes by, if it keeps tickets: other cores have their own.
    pub(super) fn of_core(tls: ClientTls) -> (ClientTls, Option<Resumption>) {
        if !tls.keeps_tickets {
            return (tls, None);
        }
        let store = Arc::new(Store::default());
        let mut config = ClientConfig::clone(&tls.config);
        config.resumption = client::Resumption::store(Arc::<Store>::clone(&store));
        let of_core = Resumption { store, waiting: Vec::new(), last: HashMap::new() };
        (ClientTls { config: Arc::new(config), ..tls }, Some(of_core))
    }

    /// A connection to this name begins: where no ticket is left, the last one serves again.
    pub(super) fn begin(&mut self, name: &ServerName<'static>) {
        if let Some(Last { tickets, message, .. }) = self.last.get_mut(name)
            && self.store.tickets(name) == 0
        {
            tickets.take(message);
        }
    }

    /// A handshake is done, and `tickets` takes those of its connection if they are needed.
    pub(super) fn wait(&mut self, session: u32, name: &ServerName<'static>, tickets: Tickets) {
        let is_wanted = self.store.tickets(name) < TICKETS_MAX && self.waiting.len() < WAITING_MAX;
        let has_room = self.last.len() < NAMES_MAX || self.last.contains_key(name);
        if is_wanted && has_room {
            self.waiting.push(Waiting { session, name: name.clone(), tickets });
        }
    }

    /// Tickets came on a connection, in these messages.
    pub(super) fn take(&mut self, session: u32, messages: &[u8]) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.session == session) {
            let Waiting { name, tickets, .. } = self.waiting.swap_remove(at);
            self.last.insert(name, Last { session, tickets, message: Vec::new() });
        }
        if let Some(last) = self.last.values_mut().find(|last| last.session == session) {
            last.tickets.take(messages);
            messages.clone_into(&mut last.message);
        }
    }

    /// A connection ends.
    pub(super) fn forget(&mut self, session: u32) {
        self.waiting.retain(|waiting| waiting.session != session);
        for last in self.last.values_mut().filter(|last| last.session == session) {
            last.session = 0;
        }
    }
}
