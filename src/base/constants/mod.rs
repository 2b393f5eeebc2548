//! Every hard number of the project, once, with its unit and its reason.
//!
//! Nothing here is tuned to a machine: a bound that depends on the host is computed in `plan`.

use std::time::Duration;

mod broadcast;
mod client;
mod host;

pub use broadcast::*;
pub use client::*;
pub use host::*;

/// Slots in one segment at most: a ring finds a request to cancel in at most 256 hash chains, so a
/// larger table makes cancelling slow; and a slot index must fit 16 bits of the token.
pub const SEGMENT_SLOTS_MAX: u32 = 65_536;

/// Segments of one core at most: the segment number must fit 16 bits of the token, and the last
/// number is kept free so that no packed slot equals `SlotId::NONE`.
pub const SEGMENTS_MAX: usize = 65_535;

/// Submission queue entries of a segment's ring. Small, because ring memory is charged to the
/// user's RLIMIT_MEMLOCK: 128 entries are 8 KiB, and one `enter` per 128 operations is amortised.
pub const SQ_ENTRIES: u32 = 128;

/// Completion queue entries of a segment's ring. A burst beyond it is kept by the kernel
/// (IORING_FEAT_NODROP) and fetched by the next `enter`; it is slower, never lost.
pub const CQ_ENTRIES: u32 = 512;

/// Bytes that the kernel charges for one ring: submission entries of 64 B, completion entries of
/// 16 B and two headers, each region rounded up to pages (seen on Linux 6.18: 8 KiB + 12 KiB).
pub const RING_BYTES: u64 = 20 * 1024;

/// Completions handled in one turn of an endpoint before it submits what they caused.
pub const BATCH_COMPLETIONS: usize = 512;

/// Time of busy turns after which the executor's other tasks have theirs: a command waits no longer.
pub const YIELD_AFTER: Duration = Duration::from_millis(10);

/// Time for which a core looks for work before it sleeps, while that pays: a round trip on one host
/// takes some 20 us when neither end sleeps, and some 60 us when both do.
pub const BUSY_POLL_TIME: Duration = Duration::from_micros(60);

/// Sleeps that begin without a busy-poll at most, after one in vain: a core that is woken ten thousand
/// times a second, and never within the time of a busy-poll, spends 0.06 % of its CPU on them.
pub const SLEEPS_UNPOLLED_MAX: u32 = 1023;

/// Time for which a core waits in its driver before it sleeps, while the executor's other tasks wait: a
/// core that is woken 200 times a second or more sleeps only once each [`YIELD_AFTER`], and one that is
/// not pays for one short wait before each sleep.
pub const SHORT_WAIT_TIME: Duration = Duration::from_millis(5);

/// Connections of one core that may have a receive waiting at once: each keeps a buffer meanwhile, 4 MiB
/// in all. A busy connection beyond them is polled, as one at rest is.
pub const WARM_MAX: u32 = 1024;

/// Time between two messages of a connection within which its next receive waits for bytes, and after
/// the last one for which it does, before it is polled instead: that is looked at with the tick, so up
/// to 100 ms more.
pub const WARM_TIME: Duration = Duration::from_millis(100);

/// Bytes of one buffer. A message of a long-lived connection fits; a stream passes in pieces.
pub const BUFFER_BYTES: u16 = 4096;

/// The same where connections speak TLS: a record of 16 KiB of plaintext fits, behind a message that is not whole.
pub const TLS_BUFFER_BYTES: u16 = 24 << 10;

/// Buffers of one core: 32 MiB of address space, and 192 MiB with those of TLS, of which only what was used
/// lately is resident.
pub const BUFFERS_PER_CORE: u16 = 8192;

/// Unused buffers of one core whose memory stays: 256 KiB, enough for what arrives
/// between two turns at an ordinary pace.
pub const BUFFERS_KEPT: usize = 64;

/// Buffers whose memory goes back at one look, one look each [`TICK_MS`]: after a burst that had all
/// of them it takes 13 s. Seen on one host, 2 us to give a page and 2 us to touch it again: a
/// look takes 0.13 ms, and bursts that come again each time cost 0.3 % of a core at most.
pub const BUFFERS_TIDIED: usize = 64;
const _: () = assert!(BUFFERS_KEPT < BUFFERS_PER_CORE as usize && BUFFERS_TIDIED > 0);

/// Accepts outstanding on all listeners of one core together. Few, because each of them waits on
/// its listener's queue and is visited when a connection arrives, and because what is accepted in one turn holds up
/// the messages of all others by 10 us each. Opening is as fast with 16 as with 64.
pub const ACCEPTS_PER_CORE: usize = 16;

/// Accepts outstanding on one listener at most.
pub const ACCEPTS_PER_LISTENER_MAX: usize = 16;

/// Connections that `--accept-rate` lets in at once after a quiet time: those of so long.
pub const ACCEPT_BURST: Duration = Duration::from_millis(10);

/// A core that holds accepting back looks again after this time: a tenth of [`ACCEPT_BURST`], so that no turn is
/// lost by it.
pub const PACE_STEP: Duration = Duration::from_millis(1);

const _: () = assert!(PACE_STEP.as_micros() * 2 <= ACCEPT_BURST.as_micros());

/// Listeners of one core at most: each needs one descriptor and at least one outstanding accept.
pub const LISTENERS_MAX: usize = 1024;

/// Connections refused in one visit of a full core, so that refusing cannot starve serving.
pub const REFUSALS_PER_VISIT: usize = 64;

/// Milliseconds a core that could not grow, or whose accept failed for want of memory, waits
/// before it tries again.
pub const BACK_OFF_MS: u32 = 100;

/// Time for which a peer may acknowledge nothing of what is sent to it before its connection is
/// closed, unless --send-timeout says otherwise.
pub const SEND_TIMEOUT: Duration = Duration::from_millis(30_000);

/// Time between two looks at how much a peer that takes no more has acknowledged, or a sixteenth of the
/// time that it has, if that is less: it is closed less than a second late. Seen on Linux 6.18, a look
/// takes some 0.3 us, and as many peers as a core has buffers take 0.5 % of it.
pub const STALL_LOOK_EVERY: Duration = Duration::from_millis(500);

/// Such looks in one tick: as many peers as a core has buffers are looked at within that time.
pub const STALL_LOOKS_PER_TICK: usize = 2048;

/// The longest --send-timeout: a slot keeps 16 bits of the time of its stall, in steps of 16 ms.
pub const SEND_TIMEOUT_MAX: Duration = Duration::from_secs(8 * 60);

/// The longest --idle-timeout, with one --push-every after which it is looked at: a slot keeps 32
/// bits of the time of its last receive, in microseconds, and may stall in between.
pub const IDLE_TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);

/// Time between two pushes on one connection, unless --push-every says otherwise.
pub const PUSH_EVERY: Duration = Duration::from_secs(60);

/// The longest --push-every: due times are compared with wrap-around at 24 days.
pub const PUSH_EVERY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Time between the first pushes of two connections that were accepted together, at most: 32,000
/// pushes a second are a load that one core takes beside its other work.
pub const PUSH_GAP: Duration = Duration::from_micros(31);

/// Pushes that may come due behind one that the peer does not take. Nothing is kept of them but
/// that they are due; the peer is closed then, before what it would get is of yesterday.
pub const PUSHES_BACKLOG_MAX: u32 = 4;

/// Buckets of a core's timing wheel, one millisecond each: 65 s, so that with the usual intervals a
/// slot is looked at once a round or twice. Twelve bytes each: 768 KiB for a core with timers.
pub const WHEEL_BUCKETS: usize = 65_536;

/// Time that a connection has for its handshake, from the accept on.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time for a handshake that may be asked for.
pub const HANDSHAKE_TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);

/// Handshakes that go on in one turn, at about 150 us each for a step: a storm of them adds no more than this to what others
/// wait.
pub const HANDSHAKES_PER_TURN: u32 = 2;

/// Handshakes of TLS under way in one core, at about 6.5 KiB each.
pub const HANDSHAKES_MAX: u32 = 16_384;

/// Slots of the wheel that one turn looks at, each of which may begin a push: half of a batch, so
/// that a burst of what is due cannot starve what arrives.
pub const TIMERS_PER_TURN: u32 = 256;

/// The longest --drain: a user who stops a server does not mean to wait longer.
pub const DRAIN_MAX: Duration = Duration::from_secs(60 * 60);

/// Connections that one turn of a drain ends.
pub const DRAIN_CLOSES_PER_TURN: u32 = 256;

/// Slots that one turn of a drain looks at: some microseconds.
pub const DRAIN_LOOKS_PER_TURN: u32 = 4_096;

/// Time between two sweeps of a drain that has found nothing more to end.
pub const DRAIN_STEP: Duration = Duration::from_millis(10);

/// Time that the cores have, after the time of a drain is up, to cut what is left.
pub const DRAIN_SLACK: Duration = Duration::from_secs(2);

/// Time between two looks at listening sockets that other processes may have as well.
pub const SHARED_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time a stalled connection keeps its buffer when others wait for one.
pub const STALL_GRACE: Duration = Duration::from_millis(50);

/// Milliseconds that a segment stays empty before it is given back.
pub const SEGMENT_LINGER_MS: u32 = 2_000;

/// Milliseconds between two looks of an otherwise idle core at what has come due.
pub const TICK_MS: u32 = 100;

/// Length of a listener's accept queue that we ask for; the kernel caps it at `somaxconn`.
pub const BACKLOG_DEFAULT: i32 = 4096;

/// Depth of glommio's own three rings per executor: it carries one read and a few timers.
pub const EXECUTOR_RING_DEPTH: usize = 64;

/// Bytes glommio registers for file I/O per executor. We read eight bytes from an eventfd.
pub const EXECUTOR_IO_MEMORY: usize = 64 * 1024;

/// Bytes charged to RLIMIT_MEMLOCK by one executor: three rings and its registered memory, which
/// is charged once for each ring.
pub const EXECUTOR_LOCKED_BYTES: u64 = 3 * (64 * 1024 + 16 * 1024);

/// Bytes of RLIMIT_MEMLOCK below which glommio makes no executor, whatever it may pass by CAP_IPC_LOCK
/// (`MemLockLimit` of glommio 0.9).
pub const EXECUTOR_MEMLOCK_LEAST: u64 = 512 * 1024;

/// Time after which glommio interrupts a pump that has work without end, to see to its own rings.
///
/// glommio 0.9 goes to sleep beside a runnable task when this timer fires between its last look at
/// its rings and its first look at its queues (glommio/glommio#53; `run_task_queues` then says that
/// nothing ran). Seen as a core that slept for ever, once in some million turns at 10 ms, on a host
/// that takes the CPU away for as long. A long timer makes it rare, the heartbeat makes it short. It
/// comes from another thread: where the executor's own timers, all due in one moment, are what is
/// runnable, none is left to wake it.
pub const PREEMPT_TIMER: Duration = Duration::from_millis(100);

/// Time between two beats of an executor's heart; see [`PREEMPT_TIMER`].
pub const HEARTBEAT: Duration = Duration::from_millis(50);

/// Commands that may wait for one core: phases, which are few.
pub const COMMANDS_WAITING: usize = 16;

/// Time between two looks of the housekeeping thread at signals and counters.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The same of a server that has memory to spare: 0.2 % of a core in place of 0.9 %.
pub const LOOK_SELDOM: Duration = Duration::from_millis(100);

/// Clients of a small HTTP service that are served at once; a client beyond them is told 503.
pub const HTTP_CLIENTS: usize = 8;

/// Connections to such a service that one turn of its thread takes.
pub const HTTP_ACCEPTS_PER_TURN: usize = 16;

/// Time for which its thread rests after each turn, so that no client keeps it busy.
pub const HTTP_REST: Duration = Duration::from_millis(5);

/// Time between two readings of its text: a client that asks sooner waits, and all that
/// wait get the same text. A reading takes some hundred microseconds for each core.
pub const HTTP_TEXT_EVERY: Duration = Duration::from_millis(50);

/// Bytes of a request at most, with its line, headers and body.
pub const HTTP_REQUEST_BYTES: usize = 8 * 1024;

/// Bytes of a buffer that a frame of WebSocket may need for its head, and for the answer to an upgrade that
/// stands before a first text.
pub const WEBSOCKET_HEAD_BYTES: u16 = 256;

/// Bytes of the longest path that the address of a Unix socket has room for, see unix(7).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Headers of a request at most.
pub const HTTP_HEADERS: usize = 64;

/// Time a client has to send its request, and again to take the answer.
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(2);

/// Niceness of the threads that read the figures, for scrapers and for dumps: a core that shares its
/// CPU goes first.
pub const READER_NICENESS: i32 = 10;

/// Connections that the service of --bystander has at once; one beyond them is closed.
pub const BYSTANDER_CLIENTS: usize = 256;

/// Time for which it rests after an accept that failed.
pub const BYSTANDER_REST: Duration = Duration::from_millis(5);

/// Connections and datagrams that one turn of its thread takes before it looks at the others again.
pub const BYSTANDER_PER_TURN: usize = 64;

/// Bytes of a line of a dump at most: full histograms would have some 200 KB.
pub const DUMP_LINE_BYTES: u64 = 1 << 20;

/// Time that the last dump has to be written; the reader of the pipe may have stopped reading.
pub const DUMP_END_TIMEOUT: Duration = Duration::from_secs(2);

/// The port of a server's host where a client looks for figures that it was not told of: the one that
/// the documentation gives to `--metrics`.
pub const METRICS_PORT: u16 = 9100;

/// Time in which a metrics address has to take the connection of its reader: the client, or
/// `megaconn top`.
pub const FETCH_CONNECT: Duration = Duration::from_secs(1);

/// Time in which it has to answer whole.
pub const FETCH_READ: Duration = Duration::from_secs(2);

/// Bytes of its answer at most: about 25 KB a core, for more cores than there are.
pub const FETCH_BYTES: u64 = 32 << 20;

/// The shortest time between two looks of `megaconn top`: a metrics address reads its figures twenty
/// times a second at most.
pub const TOP_EVERY_LEAST: Duration = Duration::from_millis(100);

/// Time that its lines of bars show.
pub const TOP_SPARK_TIME: Duration = Duration::from_secs(180);

/// Moments that it remembers: three minutes of the shortest time.
pub const TOP_HISTORY: usize = 1_800;

/// Messages per second that its first key up from none asks of a run: on few connections no load yet, and
/// seen at once.
pub const TOP_FIRST_RATE: f64 = 100.0;

/// Time between two looks of it at keys and at what has come.
pub const TOP_KEYS_EVERY: Duration = Duration::from_millis(50);

/// Address space that the start of one core may take at once: its buffers and two stacks are 36 MiB, and
/// the C library maps 64 MiB for each thread that allocates, where it can.
pub const CORE_ADDRESS_SPACE: u64 = 40 << 20;

/// The same of what a process has beside its cores: housekeeping, heartbeats, dumps, metrics.
pub const PROCESS_ADDRESS_SPACE: u64 = 34 << 20;

/// Files a process has open besides rings and cores: housekeeping, dumps, standard streams.
pub const FILES_PER_PROCESS: u64 = 64;

/// Files a core has open besides its rings: an executor, a bell, listeners of some ports.
pub const FILES_PER_CORE: u64 = 32;

/// Kernel bytes of one idle TCP socket with an armed poll, in a table slot, on Linux 6.18. Objects:
/// TCP 2,368 + sock_inode_cache 832 + filp 192 + dentry 192 + io_kiocb 256 + node 32 + slot 8;
/// the rest is slab slack, security and accounting records and half a bind bucket. Measured 4,170
/// (sixteen target ports) to 4,215 (one); see notes/results.
pub const KERNEL_BYTES_PER_SOCKET: u64 = 4_250;

/// Of these, what the memory cgroup of a server is charged: the TCP socket of a connection that arrives is
/// made outside of it. Measured on Linux 6.18: 1,545 bytes with 36,000 connections.
pub const CHARGED_BYTES_PER_ACCEPTED: u64 = 1_600;

/// User bytes of a connection of one end beside its slot and its session: ring pages, slack. Measured with slots
/// of 32 B: 33.3 to 34.3; of 44 B: 44 to 45; see notes/claims.md.
pub const USER_BYTES_BESIDE: u64 = 8;

/// Bytes of a time at which something is due on a connection of a client by itself: the end of its life, its next message.
pub const DUE_BYTES: u64 = 16;

/// Bytes that a client keeps of a connection which has come back, or is in another's place, in maps beside its slot.
pub const LIVED_AGAIN_BYTES: u64 = 60;

/// What rustls keeps of a handshake under way, beside our record of it: 4.2 KB at a server that waits for the last
/// flight and 3.5 KB at a client, measured by `tests/handshake_memory.rs`, and room for a chain of certificates.
pub const HANDSHAKE_HEAP_BYTES: usize = 6 << 10;

/// Part of all memory that both programs leave to all other processes, unless --memory-reserve says
/// otherwise: a twentieth.
pub const MEMORY_RESERVE_PART: u64 = 20;

/// What they leave at least: the kernel keeps some for itself, and other programs want some at once.
pub const MEMORY_RESERVE_LEAST_BYTES: u64 = 512 << 20;

/// Part of all memory that this least may be: in a container of 512 MiB it would be all there is.
pub const MEMORY_RESERVE_LEAST_PART: u64 = 8;

/// What they leave at least of any memory, however small: all buffers of the pools, see
/// [`BUFFERS_MEMORY_PART`], and the connections that one look does not see, 20 ms of them at 200,000 a
/// second. With an eighth of 64 MiB a server was killed, with this it was not.
pub const MEMORY_RESERVE_SMALLEST_BYTES: u64 = 16 << 20;

/// The least memory that a server starts in: its reserve, and as much again for itself and its
/// connections.
pub const MEMORY_LEAST_BYTES: u64 = 32 << 20;

/// Part of all memory that the buffers of all cores may be together.
pub const BUFFERS_MEMORY_PART: u64 = 8;

/// Buffers that a core has however small the memory is: 256 KiB.
pub const BUFFERS_LEAST: u16 = 64;

/// Part of its reserve that a client leaves beyond it, when it is not told how much to leave: where
/// both ends are on one host it stops opening before the server must refuse. Both look every 20 ms, in
/// which 200,000 connections a second take 33 MB.
pub const MEMORY_RESERVE_CLIENT_PART: u64 = 8;

/// What that is at least, two such looks, and the part of a small memory that it may be.
pub const MEMORY_RESERVE_CLIENT_LEAST_BYTES: u64 = 64 << 20;

/// See [`MEMORY_RESERVE_CLIENT_LEAST_BYTES`].
pub const MEMORY_RESERVE_CLIENT_LEAST_PART: u64 = 16;

/// Part of the reserve by which memory must exceed it before it is enough again.
pub const MEMORY_RESERVE_SLACK_PART: u64 = 8;

/// Bytes that all of a host may take in a second: twice what a million connections took in 5.2 s.
pub const MEMORY_TAKEN_PER_S: u64 = 4 << 30;

/// Time between two lines that say that memory is short.
pub const MEMORY_LINE_EVERY: Duration = Duration::from_secs(10);

/// Bytes of a JSON file that a report reads; its own are some ten thousand.
pub const REPORT_FILE_BYTES: u64 = 64 << 20;

/// Runs in the report of a scaling run; a page with more cannot be read.
pub const SCALE_RUNS_MAX: usize = 10_000;

/// Points of a line in a report, which is some hundred pixels wide; from this number on, every second
/// point goes.
pub const REPORT_POINTS: usize = 2_048;

/// Bystanders that a report draws; a panel has ten or so.
pub const REPORT_BYSTANDERS: usize = 64;

const _: () =
    assert!(BROADCAST_TEXT_MAX == BUFFER_BYTES - WEBSOCKET_HEAD_BYTES - BROADCAST_HEAD_BYTES);
const _: () = assert!(SQ_ENTRIES.is_power_of_two() && CQ_ENTRIES.is_power_of_two());
const _: () = assert!(CQ_ENTRIES >= 2 * SQ_ENTRIES, "a submit must not overflow the completions");
const _: () = assert!(SEGMENT_SLOTS_MAX as usize <= u16::MAX as usize + 1);
const _: () = assert!(SEGMENTS_MAX < u16::MAX as usize + 1);
const _: () = assert!(BUFFERS_PER_CORE < u16::MAX, "u16::MAX says: no buffer");
const _: () = assert!(ACCEPTS_PER_LISTENER_MAX <= ACCEPTS_PER_CORE);
const _: () = assert!(MESSAGES_IN_FLIGHT <= BUFFERS_PER_CORE as u32);
const _: () = assert!((CONNECTS_IN_FLIGHT as i64) < BACKLOG_DEFAULT as i64);
const _: () = assert!(STALL_GRACE.as_millis() < SEND_TIMEOUT.as_millis());
const _: () = assert!(SEND_TIMEOUT.as_millis() <= SEND_TIMEOUT_MAX.as_millis());
const _: () = assert!(
    IDLE_TIMEOUT_MAX.as_micros() + SEND_TIMEOUT_MAX.as_micros() < u32::MAX as u128,
    "a slot must not forget when it last received"
);
const _: () = assert!(BYSTANDER_RATE_MAX * TIME_WAIT.as_secs() < 28_232);
const _: () = assert!(WHEEL_BUCKETS.is_power_of_two());
const _: () = assert!(
    TOP_SPARK_TIME.as_millis() <= TOP_HISTORY as u128 * TOP_EVERY_LEAST.as_millis(),
    "the bars show what is remembered"
);
