//! One pinned glommio executor per core, each pumping its own shard; one executor that is not
//! pinned for housekeeping. Cores share nothing but their counters and a command channel.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use futures_lite::future;
use glommio::channels::shared_channel::{self, ConnectedSender, SharedReceiver, SharedSender};
use glommio::timer::Timer;
use glommio::{
    BuilderErrorKind, ExecutorJoinHandle, GlommioError, Latency, LocalExecutorBuilder, Placement,
    Shares,
};

use crate::core::{Core, Turn};
use crate::limits::{EXECUTOR_IO_MEMORY, EXECUTOR_RING_DEPTH, TURNS_PER_YIELD};
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
    let mut cores = Cores { threads: Vec::new(), commands: Vec::new() };
    for (core, &cpu) in cpus.iter().enumerate() {
        let (sender, receiver) = shared_channel::new_bounded(COMMANDS_WAITING);
        let (ready, is_ready) = mpsc::channel();
        let make = make.clone();
        let thread = LocalExecutorBuilder::new(Placement::Fixed(usize::from(cpu)))
            .name(&format!("core-{core}"))
            .io_memory(EXECUTOR_IO_MEMORY)
            .ring_depth(EXECUTOR_RING_DEPTH)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || async move {
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

/// Commands that may wait for one core.
const COMMANDS_WAITING: usize = 16;

impl<M: Send + Clone + 'static> Cores<M> {
    /// Runs `housekeeping` on an executor of its own, on the calling thread, not pinned; when it
    /// ends, the cores are stopped and joined.
    ///
    /// # Errors
    /// When that executor cannot be made, or a core died.
    pub fn run<T, H, F>(self, housekeeping: H) -> Result<T, LaunchError>
    where
        H: FnOnce(Commands<M>) -> F,
        F: Future<Output = T>,
    {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .name("housekeeping")
            .io_memory(EXECUTOR_IO_MEMORY)
            .ring_depth(EXECUTOR_RING_DEPTH)
            .make()
            .map_err(|error| LaunchError::Executor { cpu: 0, reason: error.to_string() })?;
        let result = executor.run(async {
            let mut senders = Vec::new();
            for sender in self.commands {
                senders.push(sender.connect().await);
            }
            // Dropping the senders tells the cores to stop.
            housekeeping(Commands { senders }).await
        });
        for (core, thread) in self.threads.into_iter().enumerate() {
            thread.join().map_err(|_| LaunchError::Died { core })?;
        }
        Ok(result)
    }
}

/// The way to the cores, for housekeeping.
pub struct Commands<M: Send + 'static> {
    senders: Vec<ConnectedSender<M>>,
}

impl<M: Send + Clone + 'static> Commands<M> {
    /// Tells every core; `false` when one is gone.
    pub async fn tell(&self, command: M) -> bool {
        let mut all_there = true;
        for sender in &self.senders {
            all_there &= sender.send(command.clone()).await.is_ok();
        }
        all_there
    }
}

/// What waits for the pump between two turns.
struct Inbox<M> {
    commands: VecDeque<M>,
    stopped: bool,
}

/// Time after which glommio interrupts a pump that has work without end, to see to its own rings.
///
/// glommio 0.9 goes to sleep beside a runnable task when this timer fires between its last look at
/// its rings and its first look at its queues (glommio/glommio#53; `run_task_queues` then says that
/// nothing ran). Seen as a core that slept for ever, once in some million turns at 10 ms, on a host
/// that takes the CPU away for as long. A long timer makes it rare, the heartbeat makes it short.
const PREEMPT_TIMER: Duration = Duration::from_millis(100);

/// Time between two beats.
const HEARTBEAT: Duration = Duration::from_millis(50);

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
    let mut turns = 0_u32;
    while !inbox.borrow().stopped {
        while let Some(command) = inbox.borrow_mut().commands.pop_front() {
            core.obey(command);
        }
        match core.turn() {
            Turn::Busy => {
                turns = turns.wrapping_add(1);
                if turns.is_multiple_of(TURNS_PER_YIELD) {
                    executor.yield_task_queue_now().await;
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
