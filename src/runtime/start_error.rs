//! What did not start, at which step and with which error number, and the wall that stands behind it.

use std::io;

use glommio::{GlommioError, ReactorErrorKind};

use crate::base::constants::{CORE_ADDRESS_SPACE, EXECUTOR_MEMLOCK_LEAST, PROCESS_ADDRESS_SPACE};
use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::host::rlimit;

/// Cores that did not start, or one that did not end well.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// glommio could not make or pin the executor.
    #[error("{}{}", named(self.wall()), not_started(&format!("executor of CPU {cpu}"), source))]
    Executor {
        /// The CPU.
        cpu: u16,
        /// Why.
        source: ExecutorError,
    },
    /// The executor that is not pinned.
    #[error("{}{}", named(self.wall()), not_started("housekeeping executor", .0))]
    Housekeeping(#[source] ExecutorError),
    /// The core's worker could not be made.
    #[error("{}core {core}: {source}", named(self.wall()))]
    Core {
        /// The core.
        core: usize,
        /// At which step, and why.
        source: CoreStartError,
    },
    /// Less address space than the cores take: beyond it any allocation would end the process.
    #[error(
        "address-space: {cores} cores need {} bytes of address space, have {}; \
         fix: ulimit -v unlimited, or fewer --cores",
        grouped(address_space(*cores)), grouped(*left_bytes)
    )]
    AddressSpace {
        /// Cores to be started.
        cores: usize,
        /// Bytes within RLIMIT_AS that are not mapped.
        left_bytes: u64,
    },
    /// A core panicked: our bug.
    #[error("core {core} ended by itself: a bug of megaconn; fix: none known, please report it")]
    Died {
        /// The core.
        core: usize,
    },
}

impl LaunchError {
    /// The identifier of the wall that was met, when the failure is one's.
    #[must_use]
    pub fn wall(&self) -> Option<&'static str> {
        match self {
            LaunchError::Executor { source, .. } | LaunchError::Housekeeping(source) => {
                source.wall()
            }
            LaunchError::Core { source, .. } => source.wall(),
            LaunchError::AddressSpace { .. } => Some(ADDRESS_SPACE),
            LaunchError::Died { .. } => None,
        }
    }
}

/// An executor that was not made.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct ExecutorError {
    /// What the kernel said, or would have said; `None` when glommio does not tell.
    errno: Option<Errno>,
    /// The address space of this process was too small for it.
    lacks_address_space: bool,
    /// For people to read, and for nothing else.
    words: String,
}

impl ExecutorError {
    /// No ring where the limit itself, of `memlock_bytes`, is large enough; glommio panics then.
    pub(super) fn memlock_in_use(memlock_bytes: u64) -> ExecutorError {
        let words = format!(
            "no ring within RLIMIT_MEMLOCK ({memlock_bytes} bytes), which all io_uring programs of \
             this user share, and get back a moment after one has ended (os error 12)"
        );
        ExecutorError { errno: Some(Errno::ENOMEM), lacks_address_space: false, words }
    }

    /// A thread could not be started.
    pub(super) fn no_thread(error: &io::Error) -> ExecutorError {
        let errno = Errno::from(error);
        let lacks_address_space = lacks_address_space(errno, rlimit::address_space_left());
        let words = format!("no thread: {error}");
        ExecutorError { errno: Some(errno), lacks_address_space, words }
    }

    /// glommio gave up, and there is too little address space left; `None` when there is enough.
    pub(super) fn no_address_space() -> Option<ExecutorError> {
        let is_short = lacks_address_space(Errno::ENOMEM, rlimit::address_space_left());
        let words = "no memory within RLIMIT_AS (os error 12)".to_owned();
        let error = ExecutorError { errno: Some(Errno::ENOMEM), lacks_address_space: true, words };
        is_short.then_some(error)
    }

    /// By the type of glommio's `error`. Below a limit on locked memory glommio makes no executor, and
    /// gives its own error for that as an `io::Error` without a number: then `memlock_limit` decides,
    /// as it did for glommio.
    #[must_use]
    pub fn new(error: &GlommioError<()>, memlock_limit: Option<u64>) -> ExecutorError {
        let is_too_small = memlock_limit.is_some_and(|limit| limit < EXECUTOR_MEMLOCK_LEAST);
        let errno = match error {
            GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(..)) => Some(Errno::ENOMEM),
            GlommioError::IoError(io) if io.raw_os_error().is_none() && is_too_small => {
                Some(Errno::ENOMEM)
            }
            error => error.raw_os_error().map(Errno),
        };
        let left = rlimit::address_space_left();
        let lacks_address_space = errno.is_some_and(|errno| lacks_address_space(errno, left));
        ExecutorError { errno, lacks_address_space, words: error.to_string() }
    }

    fn wall(&self) -> Option<&'static str> {
        match self.errno? {
            _ if self.lacks_address_space => Some(ADDRESS_SPACE),
            // Neither a thread nor its rings wait for anything: there are too many threads.
            Errno::EAGAIN => Some("threads"),
            errno => wall_of_resources(errno),
        }
    }
}

/// By the type of glommio's error, under the limit of this process.
impl From<GlommioError<()>> for ExecutorError {
    fn from(error: GlommioError<()>) -> ExecutorError {
        ExecutorError::new(&error, rlimit::memlock_limit())
    }
}

/// A worker that could not be made on its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct CoreStartError {
    /// What was made.
    pub step: CoreStep,
    /// What the kernel said.
    pub source: Errno,
    /// The address space of this process was too small for it.
    pub lacks_address_space: bool,
}

/// What is made on a core before it runs, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreStep {
    /// The bell that wakes it.
    Doorbell,
    /// The driver.
    Driver,
    /// The ring of the first segment, within this much locked memory; `None` without a limit.
    FirstSegment {
        /// RLIMIT_MEMLOCK.
        memlock_bytes: Option<u64>,
    },
}

impl CoreStartError {
    /// What made the doorbell fail.
    #[must_use]
    pub fn doorbell(error: &io::Error) -> CoreStartError {
        CoreStartError::new(CoreStep::Doorbell, Errno::from(error))
    }

    /// What made the driver fail.
    #[must_use]
    pub fn driver(error: &io::Error) -> CoreStartError {
        CoreStartError::new(CoreStep::Driver, Errno::from(error))
    }

    /// What made the first segment fail, under the limit of this process.
    #[must_use]
    pub fn first_segment(errno: Errno) -> CoreStartError {
        let memlock_bytes = rlimit::memlock_bytes();
        CoreStartError::new(CoreStep::FirstSegment { memlock_bytes }, errno)
    }

    fn new(step: CoreStep, source: Errno) -> CoreStartError {
        let lacks_address_space = lacks_address_space(source, rlimit::address_space_left());
        CoreStartError { step, source, lacks_address_space }
    }

    fn wall(self) -> Option<&'static str> {
        if self.lacks_address_space { Some(ADDRESS_SPACE) } else { wall_of_resources(self.source) }
    }

    fn sentence(self) -> String {
        let errno = self.source;
        match self.step {
            _ if self.lacks_address_space => {
                format!("{}; {ADDRESS_SPACE_FIX}", io::Error::from_raw_os_error(errno.0))
            }
            CoreStep::Doorbell | CoreStep::Driver => format!(
                "{}; fix: more open files by `ulimit -n`, more locked memory by `ulimit -l`",
                io::Error::from_raw_os_error(errno.0)
            ),
            CoreStep::FirstSegment { memlock_bytes } => match (errno, memlock_bytes) {
                (Errno::ENOMEM, Some(limit)) => format!(
                    "no ring: {errno}, all rings of this user share RLIMIT_MEMLOCK ({limit} bytes); \
                     fix: ulimit -l unlimited, or end other io_uring programs of this user"
                ),
                (Errno::EMFILE, _) => {
                    format!("no ring: {errno}; fix: more open files by `ulimit -n`")
                }
                _ => format!("no ring: {errno}; fix: see `dmesg`, and man 2 io_uring_setup"),
            },
        }
    }
}

/// The wall of RLIMIT_AS.
const ADDRESS_SPACE: &str = "address-space";

const ADDRESS_SPACE_FIX: &str = "fix: ulimit -v unlimited, or fewer --cores";

/// Bytes of address space that so many cores take at their start, and what runs beside them.
fn address_space(cores: usize) -> u64 {
    CORE_ADDRESS_SPACE.saturating_mul(cores as u64).saturating_add(PROCESS_ADDRESS_SPACE)
}

/// Whether so many cores can be started within the address space that is left.
///
/// # Errors
/// When they cannot.
pub(super) fn check_address_space(cores: usize) -> Result<(), LaunchError> {
    match rlimit::address_space_left().filter(|left| *left < address_space(cores)) {
        Some(left_bytes) => Err(LaunchError::AddressSpace { cores, left_bytes }),
        None => Ok(()),
    }
}

/// Whether an error is one of memory, a thread's stack included, and less address space is `left` than a
/// core takes.
fn lacks_address_space(errno: Errno, left: Option<u64>) -> bool {
    let is_of_memory = matches!(errno, Errno::ENOMEM | Errno::EAGAIN);
    is_of_memory && left.is_some_and(|left| left < CORE_ADDRESS_SPACE)
}

/// The wall of a resource that every step takes: each makes descriptors and locks memory.
fn wall_of_resources(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::ENOMEM => Some("memlock"),
        Errno::EMFILE => Some("nofile"),
        _ => None,
    }
}

/// As a line about a wall begins.
fn named(wall: Option<&str>) -> String {
    wall.map_or(String::new(), |wall| format!("{wall}: "))
}

fn not_started(what: &str, reason: &ExecutorError) -> String {
    if reason.lacks_address_space {
        return format!("the {what} did not start: {reason}; {ADDRESS_SPACE_FIX}");
    }
    format!(
        "the {what} did not start: {reason}; fix: more locked memory by `ulimit -l`, more open files \
         by `ulimit -n`, or fewer --cores"
    )
}

#[cfg(test)]
mod tests {
    use glommio::BuilderErrorKind;

    use super::*;

    fn of_kernel(errno: Errno) -> ExecutorError {
        ExecutorError::new(&io::Error::from_raw_os_error(errno.0).into(), None)
    }

    fn too_small() -> ExecutorError {
        let error = ReactorErrorKind::MemLockLimit(65_536, 524_288);
        ExecutorError::new(&GlommioError::ReactorError(error), None)
    }

    #[test]
    fn an_executor_names_its_wall_by_the_number_of_the_error() {
        let wall = |source| LaunchError::Executor { cpu: 0, source }.wall();
        assert_eq!(wall(of_kernel(Errno::ENOMEM)), Some("memlock"));
        assert_eq!(wall(of_kernel(Errno::EMFILE)), Some("nofile"));
        assert_eq!(wall(of_kernel(Errno::EAGAIN)), Some("threads"));
        assert_eq!(wall(of_kernel(Errno::EPERM)), None);
        // Numbers that begin or end as another does.
        assert_eq!(wall(of_kernel(Errno::ETIMEDOUT)), None);
        assert_eq!(wall(of_kernel(Errno(112))), None);
        assert_eq!(wall(too_small()), Some("memlock"));
        assert_eq!(wall(ExecutorError::memlock_in_use(65_536)), Some("memlock"));
        let no_cpu = GlommioError::BuilderError(BuilderErrorKind::NonExistentCpus { cpu: 12 });
        assert_eq!(wall(ExecutorError::new(&no_cpu, None)), None);
        assert_eq!(LaunchError::Housekeeping(of_kernel(Errno::EMFILE)).wall(), Some("nofile"));
        assert_eq!(LaunchError::Died { core: 0 }.wall(), None);
    }

    #[test]
    fn words_decide_nothing() {
        let words = "ENOMEM, EMFILE, MemLockLimit (os error 11)";
        let of_words =
            |memlock_limit| ExecutorError::new(&io::Error::other(words).into(), memlock_limit);
        assert!(of_words(None).to_string().contains(words));
        for limit in [None, Some(EXECUTOR_MEMLOCK_LEAST)] {
            assert_eq!(of_words(limit).wall(), None);
        }
        // glommio gives no number, but reads the same limit.
        assert_eq!(of_words(Some(EXECUTOR_MEMLOCK_LEAST - 1)).wall(), Some("memlock"));
        let numbered = io::Error::from_raw_os_error(libc::EMFILE).into();
        let numbered = ExecutorError::new(&numbered, Some(EXECUTOR_MEMLOCK_LEAST - 1));
        assert_eq!(numbered.wall(), Some("nofile"));
    }

    #[test]
    fn a_core_names_its_wall_at_every_step() {
        let first_segment = CoreStep::FirstSegment { memlock_bytes: None };
        for step in [CoreStep::Doorbell, CoreStep::Driver, first_segment] {
            let wall = |errno| {
                let source = CoreStartError { step, source: errno, lacks_address_space: false };
                LaunchError::Core { core: 1, source }.wall()
            };
            assert_eq!(wall(Errno::ENOMEM), Some("memlock"));
            assert_eq!(wall(Errno::EMFILE), Some("nofile"));
            // No step of a core makes a thread.
            assert_eq!((wall(Errno::EAGAIN), wall(Errno::EINVAL)), (None, None));
        }
    }

    #[test]
    fn what_there_is_no_address_space_for_is_no_other_wall() {
        let (enough, little) = (Some(CORE_ADDRESS_SPACE), Some(CORE_ADDRESS_SPACE - 1));
        assert!(lacks_address_space(Errno::ENOMEM, little));
        // The C library says so of a thread's stack.
        assert!(lacks_address_space(Errno::EAGAIN, little));
        for (errno, left) in
            [(Errno::ENOMEM, enough), (Errno::ENOMEM, None), (Errno::EMFILE, little)]
        {
            assert!(!lacks_address_space(errno, left), "{errno} with {left:?}");
        }
        let (step, source) = (CoreStep::Driver, Errno::ENOMEM);
        let source = CoreStartError { step, source, lacks_address_space: true };
        let error = LaunchError::Core { core: 2, source };
        assert_eq!(error.wall(), Some("address-space"));
        assert_eq!(
            error.to_string(),
            "address-space: core 2: Cannot allocate memory (os error 12); fix: ulimit -v unlimited, or \
             fewer --cores"
        );
    }

    #[test]
    fn a_line_begins_with_the_wall_and_ends_with_the_fix() {
        let executor = |source| LaunchError::Executor { cpu: 3, source }.to_string();
        let fix = "; fix: more locked memory by `ulimit -l`, more open files by `ulimit -n`, or fewer \
                   --cores";
        assert_eq!(
            executor(of_kernel(Errno::EMFILE)),
            format!(
                "nofile: the executor of CPU 3 did not start: IO error occurred: Too many open files \
                 (os error 24){fix}"
            )
        );
        assert_eq!(
            executor(too_small()),
            format!(
                "memlock: the executor of CPU 3 did not start: Reactor error: The memlock resource \
                 limit is too low: 65536 (recommended 524288){fix}"
            )
        );
        assert_eq!(
            executor(ExecutorError::memlock_in_use(9)),
            format!(
                "memlock: the executor of CPU 3 did not start: no ring within RLIMIT_MEMLOCK (9 \
                 bytes), which all io_uring programs of this user share, and get back a moment after \
                 one has ended (os error 12){fix}"
            )
        );
        let housekeeping = LaunchError::Housekeeping(of_kernel(Errno::EPERM)).to_string();
        let begin = "the housekeeping executor did not start: IO error occurred: Operation not";
        assert!(housekeeping.starts_with(begin), "{housekeeping}");
    }

    #[test]
    fn a_line_of_a_core_says_what_to_raise() {
        let line = |step, source| {
            let source = CoreStartError { step, source, lacks_address_space: false };
            LaunchError::Core { core: 2, source }.to_string()
        };
        assert_eq!(
            line(CoreStep::Driver, Errno::EMFILE),
            "nofile: core 2: Too many open files (os error 24); fix: more open files by `ulimit -n`, \
             more locked memory by `ulimit -l`"
        );
        let limited = CoreStep::FirstSegment { memlock_bytes: Some(65_536) };
        let unlimited = CoreStep::FirstSegment { memlock_bytes: None };
        assert_eq!(
            line(limited, Errno::ENOMEM),
            "memlock: core 2: no ring: ENOMEM, all rings of this user share RLIMIT_MEMLOCK (65536 \
             bytes); fix: ulimit -l unlimited, or end other io_uring programs of this user"
        );
        assert_eq!(
            line(unlimited, Errno::ENOMEM),
            "memlock: core 2: no ring: ENOMEM; fix: see `dmesg`, and man 2 io_uring_setup"
        );
        assert_eq!(
            line(limited, Errno::EMFILE),
            "nofile: core 2: no ring: EMFILE; fix: more open files by `ulimit -n`"
        );
    }
}
