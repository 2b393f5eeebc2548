//! The executors: one pinned glommio executor per core, each pumping its own worker; one that is not
//! pinned for housekeeping. Cores share nothing but their counters and a command channel.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use glommio::channels::shared_channel::{self, SharedReceiver, SharedSender};
use glommio::{
    BuilderErrorKind, CpuSet, ExecutorJoinHandle, GlommioError, Latency, LocalExecutorBuilder,
    Placement, Shares,
};

use crate::base::constants::{
    COMMANDS_WAITING, EXECUTOR_IO_MEMORY, EXECUTOR_RING_DEPTH, PREEMPT_TIMER,
};
use crate::engine::worker::Worker;
use crate::host::rlimit;
use crate::runtime::alarm::{Alarm, Heartbeat};
use crate::runtime::commands::{Commands, receive_commands};
use crate::runtime::doorbell::forward_doorbell;
use crate::runtime::pump::{Inbox, pump};
use crate::runtime::start_error::{
    CoreStartError, ExecutorError, LaunchError, check_address_space,
};
use crate::sys::doorbell::Doorbell;

/// The running cores.
pub struct Cores<M: Send + 'static> {
    /// Each gives `false` when its core panicked.
    threads: Vec<ExecutorJoinHandle<bool>>,
    commands: Vec<SharedSender<M>>,
    running: Arc<AtomicUsize>,
    alarm: Alarm,
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

/// Starts one core for each CPU of `seeds`, in that order, and has `make` make its worker of its seed on
/// the core itself: core `n` is ready before core `n + 1` is made, because the order in which listeners
/// join a SO_REUSEPORT group is what steering indexes.
///
/// # Errors
/// The first core that did not start; the process is to end then, and with it the cores before.
pub fn start<S, W>(
    seeds: Vec<(u16, S)>,
    make: fn(S, &Doorbell) -> Result<W, CoreStartError>,
) -> Result<Cores<W::Command>, LaunchError>
where
    S: Send + 'static,
    W: Worker + 'static,
{
    check_address_space(seeds.len())?;
    let running = Arc::new(AtomicUsize::new(0));
    let alarm = Alarm::begin()
        .map_err(|error| LaunchError::Housekeeping(ExecutorError::no_thread(&error)))?;
    let mut cores = Cores { threads: Vec::new(), commands: Vec::new(), running, alarm };
    for (core, (cpu, seed)) in seeds.into_iter().enumerate() {
        try_threads(2).map_err(|source| LaunchError::Executor { cpu, source })?;
        let (sender, receiver) = shared_channel::new_bounded(COMMANDS_WAITING);
        let (ready, is_ready) = mpsc::channel();
        let running = Running::begin(&cores.running);
        let heartbeat = cores.alarm.heartbeat();
        let placement = placement(cpu);
        let is_pinned = matches!(placement, Placement::Fixed(_));
        let thread = LocalExecutorBuilder::new(placement)
            .name(&format!("core-{core}"))
            .io_memory(EXECUTOR_IO_MEMORY)
            .ring_depth(EXECUTOR_RING_DEPTH)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || async move {
                // Dropped with the thread, however it ends: a panic of glommio's own leaves the
                // executor's tasks where they are.
                RUNNING.set(Some(running));
                if !is_pinned {
                    pin(cpu);
                }
                let made = Doorbell::new()
                    .map_err(|error| CoreStartError::doorbell(&error))
                    .and_then(|bell| Ok((make(seed, &bell)?, bell)));
                match made {
                    Ok((worker, bell)) => {
                        // The starter waits for this word; if it is gone, so is our reason to run.
                        ready.send(Ok(())).is_err()
                            || run_core(worker, bell, receiver, heartbeat).await
                    }
                    Err(error) => {
                        // As above.
                        let _ = ready.send(Err(error));
                        true
                    }
                }
            })
            .map_err(|error| LaunchError::Executor { cpu, source: error.into() })?;
        match is_ready.recv() {
            Ok(Ok(())) => {}
            Ok(Err(source)) => {
                // It ends by itself. Its descriptors are free then, and dropping its sender takes
                // one: glommio panics when there is none.
                drop(thread.join());
                return Err(LaunchError::Core { core, source });
            }
            // It ended before it ran: glommio found no memory or no descriptor for its rings.
            Err(_) => return Err(why_not_begun(core, cpu, thread)),
        }
        cores.threads.push(thread);
        cores.commands.push(sender);
    }
    Ok(cores)
}

/// How glommio pins a core's threads to its CPU. It looks the CPU up in /sys, and panics where it is not
/// there: then the core pins itself.
fn placement(cpu: u16) -> Placement {
    let cpu = usize::from(cpu);
    let is_known =
        || Ok::<_, GlommioError<()>>(CpuSet::online()?.filter(|at| at.cpu == cpu).len() == 1);
    if is_known().unwrap_or(false) { Placement::Fixed(cpu) } else { Placement::Unbound }
}

/// Pins this thread. The CPU is one of those that the process may use, so the kernel does not refuse it;
/// if it does all the same, the core runs wherever it may.
fn pin(cpu: u16) {
    let mut only = rustix::thread::CpuSet::new();
    only.set(usize::from(cpu));
    let _ = rustix::thread::sched_setaffinity(None, &only);
}

/// Whether so many more threads may be started: where they may not, glommio panics.
fn try_threads(count: usize) -> Result<(), ExecutorError> {
    let (end, ends) = mpsc::channel::<()>();
    let ends = Arc::new(Mutex::new(ends));
    let mut threads = Vec::new();
    let mut tried = Ok(());
    for _ in 0..count {
        let ends = Arc::clone(&ends);
        // It lives until all of them were tried.
        let wait = move || drop(ends.lock().map(|ends| ends.recv()));
        match thread::Builder::new().spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                tried = Err(ExecutorError::no_thread(&error));
                break;
            }
        }
    }
    drop(end);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    tried
}

fn why_not_begun(core: usize, cpu: u16, thread: ExecutorJoinHandle<bool>) -> LaunchError {
    match thread.join() {
        Ok(_) | Err(GlommioError::BuilderError(BuilderErrorKind::ThreadPanic(_))) => {
            if let Some(source) = ExecutorError::no_address_space() {
                return LaunchError::Executor { cpu, source };
            }
            let Some(limit) = rlimit::memlock_bytes() else { return LaunchError::Died { core } };
            LaunchError::Executor { cpu, source: ExecutorError::memlock_in_use(limit) }
        }
        Err(error) => LaunchError::Executor { cpu, source: error.into() },
    }
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
        try_threads(1).map_err(LaunchError::Housekeeping)?;
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .name("housekeeping")
            .io_memory(EXECUTOR_IO_MEMORY)
            .ring_depth(EXECUTOR_RING_DEPTH)
            .make()
            .map_err(|error| LaunchError::Housekeeping(error.into()))?;
        let (running, heartbeat) = (self.running, self.alarm.heartbeat());
        let result = executor.run(async {
            // It may sleep on as a core may: on a CPU with a quota a hold went on for minutes.
            let beats = glommio::spawn_local(heartbeat).detach();
            let result = housekeeping(Commands::connect(self.commands, running).await).await;
            beats.cancel();
            result
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

/// Runs a worker until it is told to stop; `false` when it panicked.
async fn run_core<W: Worker + 'static>(
    worker: W,
    bell: Doorbell,
    commands: SharedReceiver<W::Command>,
    heartbeat: Heartbeat,
) -> bool {
    let (inbox, bell) = (Inbox::new(), Rc::new(bell));
    let executor = glommio::executor();
    let data = executor.create_task_queue(Shares::Static(1000), Latency::NotImportant, "data");
    let housekeeping =
        executor.create_task_queue(Shares::Static(100), Latency::NotImportant, "housekeeping");
    let made = "the queue was just made";
    let heartbeat = glommio::spawn_local_into(heartbeat, housekeeping).expect(made);
    let receiver = receive_commands(commands, Rc::clone(&inbox));
    let receiver = glommio::spawn_local_into(receiver, housekeeping).expect(made);
    let forwarder = forward_doorbell(Rc::clone(&bell), Rc::clone(&inbox));
    let forwarder = glommio::spawn_local_into(forwarder, data).expect(made);
    let is_well = glommio::spawn_local_into(pump(worker, inbox), data).expect(made).await;
    receiver.cancel().await;
    forwarder.cancel().await;
    heartbeat.cancel().await;
    if let Ok(bell) = Rc::try_unwrap(bell) {
        bell.close().await;
    }
    is_well
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use glommio::timer::Timer;

    use super::*;
    use crate::base::errno::Errno;
    use crate::engine::worker::{Turn, Wakeup};
    use crate::runtime::topology::CoreList;

    /// A core that has never anything to do but sleep, and says how often it did.
    struct Sleeper(Arc<AtomicUsize>, Still);

    impl Worker for Sleeper {
        type Command = ();
        type Wakeup = Still;

        fn turn(&mut self) -> Turn {
            self.0.fetch_add(1, Ordering::Relaxed);
            Turn::Idle(Some(Duration::from_micros(10)))
        }

        fn handle_command(&mut self, (): ()) {}

        fn wakeup(&mut self) -> &mut Still {
            &mut self.1
        }
    }

    /// A core with a bug.
    struct Mortal(Still);

    impl Worker for Mortal {
        type Command = ();
        type Wakeup = Still;

        fn turn(&mut self) -> Turn {
            Turn::Idle(None)
        }

        fn handle_command(&mut self, (): ()) {
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

    /// One seed, for the first CPU that is allowed.
    fn one<S>(seed: S) -> Vec<(u16, S)> {
        vec![(CoreList::All.resolve().expect("some CPU is allowed")[0], seed)]
    }

    /// A task of glommio has a count of 16 bits, which sleeping must not use up.
    #[test]
    fn a_core_may_sleep_without_end() {
        let turns = Arc::new(AtomicUsize::new(0));
        let make = |turns, _: &Doorbell| Ok(Sleeper(turns, Still));
        let cores = start(one(Arc::clone(&turns)), make).expect("the core starts");
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
        let cores = start(one(()), |(), _| Ok(Mortal(Still))).expect("the core starts");
        let ((), died) = cores
            .run(async |commands| {
                commands.broadcast(()).await;
                let began = Instant::now();
                while commands.all_run() {
                    assert!(began.elapsed() < Duration::from_secs(20), "it is not missed");
                    Timer::new(Duration::from_millis(5)).await;
                }
            })
            .expect("housekeeping starts");
        assert!(matches!(died, Some(LaunchError::Died { core: 0 })), "{died:?}");
    }

    #[test]
    fn each_core_gets_its_own_seed_and_says_why_it_did_not_start() {
        let make = |seed: i32, _: &Doorbell| match seed {
            0 => Ok(Mortal(Still)),
            errno => Err(CoreStartError::first_segment(Errno(errno))),
        };
        let seeds = [one(0), one(libc::EPERM)].concat();
        let Err(error) = start(seeds, make) else { panic!("the second core cannot start") };
        let LaunchError::Core { core: 1, source } = error else { panic!("{error}") };
        assert_eq!(source.source, Errno::EPERM);
    }
}
