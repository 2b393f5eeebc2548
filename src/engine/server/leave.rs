//! A server lets go of its listening sockets while other processes keep them: a newer one that has taken
//! them over, or a service manager. Nothing that waits there is reset, and no connection that the kernel has
//! given to an accept of ours is lost.
//!
//! Every accept is taken back. One that the kernel has answered before is a connection as any other, and is
//! served here until it ends. When all are back the sockets are let go of.

use crate::engine::driver::Listen;
use crate::engine::protocol::Protocol;
use crate::engine::server::Server;
use crate::engine::server::accept::watch;
use crate::engine::server::listener::Leaving;

impl<D: Listen, P: Protocol> Server<D, P> {
    /// Whether the time of accepting is over.
    pub(super) fn accepts_no_more(&self) -> bool {
        self.drain.is_some() || self.leaving.has_begun()
    }

    pub(super) fn begin_to_leave(&mut self) {
        // A drain has ended the listeners already.
        if self.accepts_no_more() {
            return;
        }
        self.leaving = Leaving::CallsBack;
        self.cancel_accepts();
        for index in 0..self.listeners.len() {
            if self.listeners[index].is_watched {
                self.end.driver.cancel(watch(index));
            }
        }
    }

    /// Lets go of the listeners when nothing of ours is with the kernel for them.
    pub(super) fn let_go_when_done(&mut self) {
        let is_back = || self.listeners.iter().all(|one| one.accepts.is_empty() && !one.is_watched);
        if self.leaving == Leaving::CallsBack && is_back() {
            self.leaving = Leaving::IsGone;
            // No request that names them is left behind.
            self.end.driver.submit();
            self.end.driver.let_go_of_listeners();
            self.config.accepting.let_go();
        }
    }

    /// The kernel wakes one accept for a connection. One of a process that was taking it back at that moment
    /// leaves the connection where it is, and wakes none of ours. An accept that is asked for anew looks first.
    pub(super) fn look_anew(&mut self) {
        for listener in 0..self.listeners.len() {
            if let Some(id) = self.listeners[listener].accepts.first() {
                self.cancel_accept(id);
            }
        }
    }
}
