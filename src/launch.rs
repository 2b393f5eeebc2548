//! One pinned glommio executor per core, each pumping its own shard; one executor that is not
//! pinned for housekeeping. Cores share nothing but their counters and a command channel.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use futures_lite::future;
use glommio::channels::shared_channel::{self, ConnectedSender, SharedReceiver, SharedSender};
use glommio::timer::Timer;
use glommio::{
    BuilderErrorKind, ExecutorJoinHandle, GlommioError, Latency, LocalExecutorBuilder, Placement,
    Shares,
};

use crate::core::{Core, Turn};
use crate::limits::{
    COMMANDS_WAITING, EXECUTOR_IO_MEMORY, EXECUTOR_RING_DEPTH, HEARTBEAT, PREEMPT_TIMER,
    YIELD_AFTER,
};
use crate::uring::{Doorbell, Ringer};

/// A core that did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// glommio could not make or pin the executor.
    #[error(
        "the executor of CPU {cpu} did not start: {reason}; fix: more locked memory by \
         `ulimit -l`, more open files by `ulimit -n`, or fewer --cores"
    )]
    Executor {
        /// The CPU.
        cpu: u16,
        /// glommio's words.
        reason: String,
    },
    /// The executor that is not pinned.
    #[error(
        "the housekeeping executor did not start: {reason}; fix: more locked memory by \
         `ulimit -l`, or more open files by `ulimit -n`"
    )]
    Housekeeping {
        /// glommio's words.
        reason: String,
    },
    /// The core's shard could not be made.
    #[error("core {core}: {reason}")]
    Shard {
        /// The core.
        core: usize,
        /// Why, and the fix.
        reason: String,
    },
    /// A core panicked: our bug.
    #[error("core {core} ended by itself: a bug of megaconn; fix: none known, please report it")]
    Died {
        /// The core.
        core: usize,
    },
}

/// The running cores.
pub struct Cores<M: Send + 'static> {
    threads: Vec<ExecutorJoinHandle<()>>,
    commands: Vec<SharedSender<M>>,
    running: Arc<AtomicUsize>,
}

/// Counts a core as running for as long as it lives.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn begin(count: &Arc<AtomicUsize>) -> Running {
        count.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts one core per CPU of `cpus`, in that order: core `n` is ready before core `n + 1` is
/// made, because the order in which listeners join a SO_REUSEPORT group is what steering indexes.
///
/// # Errors
/// The first core that did not start; the process is to end then, and with it the cores before.
pub fn start<C, F>(cpus: &[u16], make: F) -> Result<Cores<C::Command>, LaunchError>
where
    C: Core + 'static,
    F: Fn(usize, &Doorbell) -> Result<C, String> + Clone + Send + 'static,
{
    let running = Arc::new(AtomicUsize::new(0));
    let mut cores = Cores { threads: Vec::new(), commands: Vec::new(), running };
    for (core, &cpu) in cpus.iter().enumerate() {
        let (sender, receiver) = shared_channel::new_bounded(COMMANDS_WAITING);
        let (ready, is_ready) = mpsc::channel();
        let (make, running) = (make.clone(), Running::begin(&cores.running));
        let thread = LocalExecutorBuilder::new(Placement::Fixed(usize::from(cpu)))
            .name(&format!("core-{core}"))
            .io_memory(EXECUTOR_IO_MEMORY)
            .ring_depth(EXECUTOR_RING_DEPTH)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || async move {
                // Dropped when the core ends, however it ends.
                let _running = running;
                let made = Doorbell::new()
                    .map_err(|error| short_of_something(&error))
                    .and_then(|bell| Ok((make(core, &bell)?, bell)));
                match made {
                    Ok((shard, bell)) => {
                        // The starter waits for this word; if it is gone, so is our reason to run.
                        if ready.send(Ok(())).is_ok() {
                            run_core(shard, bell, receiver).await;
                        }
                    }
                    // As above.
                    Err(reason) => drop(ready.send(Err(reason))),
                }
            })
            .map_err(|error| LaunchError::Executor { cpu, reason: error.to_string() })?;
        match is_ready.recv() {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                // It ends by itself. Its descriptors are free then, and dropping its sender takes
                // one: glommio panics when there is none.
                drop(thread.join());
                return Err(LaunchError::Shard { core, reason });
            }
            // It ended before it ran: glommio found no memory or no descriptor for its rings.
            Err(_) => return Err(why_not_begun(core, cpu, thread)),
        }
        cores.threads.push(thread);
        cores.commands.push(sender);
    }
    Ok(cores)
}

fn why_not_begun(core: usize, cpu: u16, thread: ExecutorJoinHandle<()>) -> LaunchError {
    match thread.join() {
        Ok(()) | Err(GlommioError::BuilderError(BuilderErrorKind::ThreadPanic(_))) => {
            LaunchError::Died { core }
        }
        Err(error) => LaunchError::Executor { cpu, reason: error.to_string() },
    }
}

/// What a core says whose driver or doorbell the kernel refused.
#[must_use]
pub fn short_of_something(error: &std::io::Error) -> String {
    format!("{error}; fix: more open files by `ulimit -n`, more locked memory by `ulimit -l`")
}

impl<M: Send + Clone + 'static> Cores<M> {
    /// Runs `housekeeping` on an executor of its own, on the calling thread, not pinned; when it
    /// ends, the cores are stopped and joined. With what it gave comes the first core that died.
    ///
    /// # Errors
    /// When that executor cannot be made.
    pub fn run<T, H, F>(self, housekeeping: H) -> Result<(T, Option<LaunchError>), LaunchError>
    where
        H: FnOnce(Commands<M>) -> F,
        F: Future<Output = T>,
    {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .name("housekeeping")
            .io_memory(EXECUTOR_IO_MEMORY)
            .ring_depth(EXECUTOR_RING_DEPTH)
            .make()
            .map_err(|error| LaunchError::Housekeeping { reason: error.to_string() })?;
        let running = self.running;
        let result = executor.run(async {
            let mut senders = Vec::new();
            for sender in self.commands {
                senders.push(sender.connect().await);
            }
            // Dropping the senders tells the cores to stop.
            housekeeping(Commands { senders, running }).await
        });
        let mut died = None;
        for (core, thread) in self.threads.into_iter().enumerate() {
            if thread.join().is_err() {
                died = died.or(Some(LaunchError::Died { core }));
            }
        }
        Ok((result, died))
    }
}

/// The way to the cores, for housekeeping.
pub struct Commands<M: Send + 'static> {
    senders: Vec<ConnectedSender<M>>,
    running: Arc<AtomicUsize>,
}

impl<M: Send + Clone + 'static> Commands<M> {
    /// Tells every core that is there.
    pub async fn tell(&self, command: M) {
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

/// What waits for the pump between two turns.
struct Inbox<M> {
    commands: VecDeque<M>,
    stopped: bool,
}

async fn run_core<C: Core + 'static>(
    core: C,
    bell: Doorbell,
    commands: SharedReceiver<C::Command>,
) {
    let inbox = Rc::new(RefCell::new(Inbox { commands: VecDeque::new(), stopped: false }));
    let executor = glommio::executor();
    let data = executor.create_task_queue(Shares::Static(1000), Latency::NotImportant, "data");
    let housekeeping =
        executor.create_task_queue(Shares::Static(100), Latency::NotImportant, "housekeeping");
    let beat = async {
        loop {
            Timer::new(HEARTBEAT).await;
        }
    };
    let heart = glommio::spawn_local_into(beat, housekeeping).expect("the queue was just made");
    let listen = listen(commands, Rc::clone(&inbox), bell.ringer());
    let listener =
        glommio::spawn_local_into(listen, housekeeping).expect("the queue was just made");
    let pump = glommio::spawn_local_into(pump(core, bell, inbox), data);
    pump.expect("the queue was just made").await;
    listener.await;
    heart.cancel().await;
}

/// Moves commands from the channel into the inbox and rings, until the channel closes.
async fn listen<M: Send + 'static>(
    commands: SharedReceiver<M>,
    inbox: Rc<RefCell<Inbox<M>>>,
    bell: Ringer,
) {
    let commands = commands.connect().await;
    while let Some(command) = commands.recv().await {
        inbox.borrow_mut().commands.push_back(command);
        bell.ring();
    }
    inbox.borrow_mut().stopped = true;
    bell.ring();
}

/// Turns the core while there is work, and sleeps by reading its bell when there is none.
async fn pump<C: Core>(mut core: C, bell: Doorbell, inbox: Rc<RefCell<Inbox<C::Command>>>) {
    let executor = glommio::executor();
    let mut rung = Box::pin(bell.rung());
    let mut yielded = Instant::now();
    while !inbox.borrow().stopped {
        while let Some(command) = inbox.borrow_mut().commands.pop_front() {
            core.obey(command);
        }
        match core.turn() {
            Turn::Busy => {
                if yielded.elapsed() >= YIELD_AFTER {
                    executor.yield_task_queue_now().await;
                    yielded = Instant::now();
                }
            }
            Turn::Idle(deadline) => {
                let bell_rang = async {
                    rung.as_mut().await.expect("an eventfd can be read while it is open");
                    true
                };
                let time_is_up = async {
                    match deadline {
                        Some(deadline) => Timer::new(deadline).await,
                        None => future::pending().await,
                    };
                    false
                };
                if future::or(bell_rang, time_is_up).await {
                    rung.set(bell.rung());
                }
            }
        }
    }
    drop(rung);
    bell.close().await;
}
