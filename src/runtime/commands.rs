//! Commands: from the housekeeping thread to every core.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use glommio::channels::shared_channel::{ConnectedSender, SharedReceiver, SharedSender};

use crate::runtime::pump::Inbox;

/// The way to the cores, for housekeeping. The cores stop when it is dropped.
pub struct Commands<M: Send + 'static> {
    senders: Vec<ConnectedSender<M>>,
    running: Arc<AtomicUsize>,
}

impl<M: Send + Clone + 'static> Commands<M> {
    /// The way to the cores behind `senders`, of which `running` are running.
    pub(super) async fn connect(
        senders: Vec<SharedSender<M>>,
        running: Arc<AtomicUsize>,
    ) -> Commands<M> {
        let mut connected = Vec::new();
        for sender in senders {
            connected.push(sender.connect().await);
        }
        Commands { senders: connected, running }
    }

    /// Gives `command` to every core.
    pub async fn broadcast(&self, command: M) {
        for sender in &self.senders {
            // Whether a core is gone is seen by `all_run`.
            let _ = sender.send(command.clone()).await;
        }
    }

    /// Whether every core is running still.
    #[must_use]
    pub fn all_run(&self) -> bool {
        self.running.load(Ordering::Relaxed) == self.senders.len()
    }
}

/// Moves commands from the channel into the inbox, and stops the pump when the channel closes.
pub(super) async fn receive_commands<M: Send + 'static>(
    commands: SharedReceiver<M>,
    inbox: Rc<RefCell<Inbox<M>>>,
) {
    let commands = commands.connect().await;
    while let Some(command) = commands.recv().await {
        inbox.borrow_mut().put(command);
    }
    inbox.borrow_mut().stop();
}
