//! One pinned glommio executor per core, each pumping its own shard; one executor that is not
//! pinned for housekeeping. Cores share nothing but their counters and a command channel.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::time::Instant;

use futures_lite::future;
use glommio::channels::shared_channel::{self, ConnectedSender, SharedReceiver, SharedSender};
use glommio::timer::Timer;
use glommio::{
    BuilderErrorKind, ExecutorJoinHandle, GlommioError, Latency, LocalExecutorBuilder, Placement,
    Shares,
};

use crate::base::constants::{
    COMMANDS_WAITING, EXECUTOR_IO_MEMORY, EXECUTOR_RING_DEPTH, HEARTBEAT, PREEMPT_TIMER,
    YIELD_AFTER,
};
use crate::engine::worker::{Core, Turn};
use crate::host::rlimit::{self, not_started};
use crate::runtime::sleep::Sleep;
use crate::sys::doorbell::Doorbell;

/// A core that did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// glommio could not make or pin the executor.
    #[error("{}", not_started(&format!("executor of CPU {cpu}"), reason))]
    Executor {
        /// The CPU.
        cpu: u16,
        /// glommio's words.
        reason: String,
    },
    /// The executor that is not pinned.
    #[error("{}", not_started("housekeeping executor", reason))]
    Housekeeping {
        /// glommio's words.
        reason: String,
    },
    /// The core's shard could not be made.
    #[error("{}", rlimit::of_core(*core, reason))]
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
    /// Each gives `false` when its core panicked.
    threads: Vec<ExecutorJoinHandle<bool>>,
    commands: Vec<SharedSender<M>>,
    running: Arc<AtomicUsize>,
}

/// Counts a core as running for as long as it lives.
struct Running(Arc<AtomicUsize>);

thread_local! {
    static RUNNING: Cell<Option<Running>> = const { Cell::new(None) };
}

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
                // Dropped with the thread, however it ends: a panic of glommio's own leaves the
                // executor's tasks where they are.
                RUNNING.set(Some(running));
                let made = Doorbell::new()
                    .map_err(|error| short_of_something(&error))
                    .and_then(|bell| Ok((make(core, &bell)?, bell)));
                match made {
                    Ok((shard, bell)) => {
                        // The starter waits for this word; if it is gone, so is our reason to run.
                        ready.send(Ok(())).is_err() || run_core(shard, bell, receiver).await
                    }
                    Err(reason) => {
                        // As above.
                        drop(ready.send(Err(reason)));
                        true
                    }
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

fn why_not_begun(core: usize, cpu: u16, thread: ExecutorJoinHandle<bool>) -> LaunchError {
    match thread.join() {
        Ok(_) | Err(GlommioError::BuilderError(BuilderErrorKind::ThreadPanic(_))) => {
            rlimit::memlock_in_use()
                .map_or(LaunchError::Died { core }, |reason| LaunchError::Executor { cpu, reason })
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
            if !matches!(thread.join(), Ok(true)) {
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

/// What waits for the pump between two turns, and wakes it.
struct Inbox<M> {
    commands: VecDeque<M>,
    stopped: bool,
    /// The pump is not to sleep: something has happened since it last looked.
    rung: bool,
    pump: Option<Waker>,
}

impl<M> Inbox<M> {
    fn ring(&mut self) {
        self.rung = true;
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
    }

    fn poll_rung(&mut self, pump: &Waker) -> Poll<()> {
        if std::mem::take(&mut self.rung) {
            return Poll::Ready(());
        }
        self.pump = Some(pump.clone());
        Poll::Pending
    }
}

/// Runs a core until it is told to stop; `false` when it panicked.
async fn run_core<C: Core + 'static>(
    core: C,
    bell: Doorbell,
    commands: SharedReceiver<C::Command>,
) -> bool {
    let inbox = Inbox { commands: VecDeque::new(), stopped: false, rung: false, pump: None };
    let (inbox, bell) = (Rc::new(RefCell::new(inbox)), Rc::new(bell));
    let executor = glommio::executor();
    let data = executor.create_task_queue(Shares::Static(1000), Latency::NotImportant, "data");
    let housekeeping =
        executor.create_task_queue(Shares::Static(100), Latency::NotImportant, "housekeeping");
    let beat = async {
        loop {
            Timer::new(HEARTBEAT).await;
        }
    };
    let made = "the queue was just made";
    let heart = glommio::spawn_local_into(beat, housekeeping).expect(made);
    let listen = listen(commands, Rc::clone(&inbox));
    let listener = glommio::spawn_local_into(listen, housekeeping).expect(made);
    let heed = heed(Rc::clone(&bell), Rc::clone(&inbox));
    let porter = glommio::spawn_local_into(heed, data).expect(made);
    let is_well = glommio::spawn_local_into(pump(core, inbox), data).expect(made).await;
    listener.cancel().await;
    porter.cancel().await;
    heart.cancel().await;
    if let Ok(bell) = Rc::try_unwrap(bell) {
        bell.close().await;
    }
    is_well
}

/// Moves commands from the channel into the inbox, until the channel closes.
async fn listen<M: Send + 'static>(commands: SharedReceiver<M>, inbox: Rc<RefCell<Inbox<M>>>) {
    let commands = commands.connect().await;
    while let Some(command) = commands.recv().await {
        let mut inbox = inbox.borrow_mut();
        inbox.commands.push_back(command);
        inbox.ring();
    }
    let mut inbox = inbox.borrow_mut();
    inbox.stopped = true;
    inbox.ring();
}

/// Passes the bell on to the pump. A task of its own, because glommio keeps a waker for every poll of
/// a read that is not done: a pump that looked at the bell each time it wakes by the clock would
/// gather them, and a task may have 32,767 at most.
async fn heed<M>(bell: Rc<Doorbell>, inbox: Rc<RefCell<Inbox<M>>>) {
    loop {
        bell.rung().await.expect("an eventfd can be read while it is open");
        inbox.borrow_mut().ring();
    }
}

/// Turns the core while there is work, and sleeps when there is none; `false` when it panicked. A
/// panic that passed through glommio would end the process before anybody could report it.
async fn pump<C: Core>(mut core: C, inbox: Rc<RefCell<Inbox<C::Command>>>) -> bool {
    let executor = glommio::executor();
    let (mut sleep, mut yielded) = (Sleep::new(), Instant::now());
    while !inbox.borrow().stopped {
        let turn = panic::catch_unwind(AssertUnwindSafe(|| {
            while let Some(command) = inbox.borrow_mut().commands.pop_front() {
                core.obey(command);
            }
            sleep.on_wake(core.wakeup());
            match core.turn() {
                Turn::Idle(at_most) => sleep.prepare_to_sleep(core.wakeup(), at_most),
                Turn::Busy => Turn::Busy,
            }
        }));
        let Ok(turn) = turn else { return false };
        match turn {
            Turn::Busy => {
                if yielded.elapsed() >= YIELD_AFTER {
                    executor.yield_task_queue_now().await;
                    yielded = Instant::now();
                }
            }
            Turn::Idle(deadline) => {
                let rung = future::poll_fn(|cx| inbox.borrow_mut().poll_rung(cx.waker()));
                let time_is_up = async {
                    match deadline {
                        Some(deadline) => drop(Timer::new(deadline).await),
                        None => future::pending().await,
                    }
                };
                future::or(rung, time_is_up).await;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::errno::Errno;
    use crate::engine::worker::Wakeup;
    use crate::runtime::topology::CoreList;

    /// A core that has never anything to do but sleep, and says how often it did.
    struct Sleeper(Arc<AtomicUsize>, Still);

    impl Core for Sleeper {
        type Command = ();
        type Wakeup = Still;

        fn turn(&mut self) -> Turn {
            self.0.fetch_add(1, Ordering::Relaxed);
            Turn::Idle(Some(Duration::from_micros(10)))
        }

        fn obey(&mut self, (): ()) {}

        fn wakeup(&mut self) -> &mut Still {
            &mut self.1
        }
    }

    /// A core with a bug.
    struct Mortal(Still);

    impl Core for Mortal {
        type Command = ();
        type Wakeup = Still;

        fn turn(&mut self) -> Turn {
            Turn::Idle(None)
        }

        fn obey(&mut self, (): ()) {
            panic!("it was told to");
        }

        fn wakeup(&mut self) -> &mut Still {
            &mut self.0
        }
    }

    /// A driver to which nothing ever comes, and which cannot wait.
    struct Still;

    impl Wakeup for Still {
        fn has_work(&mut self) -> bool {
            false
        }

        fn housekeep(&mut self) -> Option<Duration> {
            None
        }

        fn wait(&mut self, _: Duration) -> Result<bool, Errno> {
            Err(Errno::ENOSYS)
        }

        fn arm(&mut self, _: bool) {}
    }

    fn one_cpu() -> Vec<u16> {
        CoreList::All.resolve().expect("some CPU is allowed")[..1].to_vec()
    }

    /// A task of glommio has a count of 16 bits, which sleeping must not use up.
    #[test]
    fn a_core_may_sleep_without_end() {
        let turns = Arc::new(AtomicUsize::new(0));
        let sleeper = Arc::clone(&turns);
        let make = move |_, _: &Doorbell| Ok(Sleeper(Arc::clone(&sleeper), Still));
        let cores = start(&one_cpu(), make).expect("the core starts");
        let (all_run, died) = cores
            .run(async |commands| {
                let began = Instant::now();
                while turns.load(Ordering::Relaxed) < 40_000 && commands.all_run() {
                    assert!(began.elapsed() < Duration::from_secs(60), "it sleeps for too long");
                    Timer::new(Duration::from_millis(20)).await;
                }
                commands.all_run()
            })
            .expect("housekeeping starts");
        assert!(all_run && died.is_none(), "{died:?} after {turns:?} turns");
    }

    #[test]
    fn a_core_that_dies_is_missed() {
        let cores =
            start(&one_cpu(), |_, _: &Doorbell| Ok(Mortal(Still))).expect("the core starts");
        let ((), died) = cores
            .run(async |commands| {
                commands.tell(()).await;
                let began = Instant::now();
                while commands.all_run() {
                    assert!(began.elapsed() < Duration::from_secs(20), "nobody misses it");
                    Timer::new(Duration::from_millis(5)).await;
                }
            })
            .expect("housekeeping starts");
        assert!(matches!(died, Some(LaunchError::Died { core: 0 })), "{died:?}");
    }
}
