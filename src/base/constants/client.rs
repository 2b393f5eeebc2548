//! The numbers that the client alone has need of, each with its unit and its reason.

use std::time::Duration;

/// Milliseconds by which such a look may be late before the core takes itself for stopped.
pub const TICK_LATE_MS: u32 = 1_000;

/// Connects in flight per client core: enough to keep the handshake busy, far below a server's
/// accept queue, so that a ramp cannot overflow it.
pub const CONNECTS_IN_FLIGHT: u32 = 256;

/// Connects in flight per client core at most.
pub const CONNECTS_IN_FLIGHT_MAX: u32 = 1_000_000;

/// Connections of which a client core keeps how they were lost: as many as it is likely to hold.
pub const LOSSES_MAX: usize = 1 << 20;

/// Of bytes that were not expected so many are kept: enough to know a greeting or an HTTP status by.
pub const FIRST_BYTES_MAX: usize = 64;

/// Time within which connects count as of one age: a core keeps one mark for each.
pub const AGE_GRAIN_MS: u32 = 10;

/// Connects of a client core that opens as many as it can, of which half must have come to stay: else it
/// has met a wall. Enough that a burst of losses on the way is none.
pub const GROWTH_WINDOW: u64 = 256;

/// Connects that a client core starts in one turn. Few, because messages wait for the end of the turn, and on loopback a
/// connect takes 10 us or more. 300,000 were opened as fast with 8 as with 64 (86,600/s of 82,800/s), each in 0.17 ms for
/// 1.4 ms; and while 200,000 of 400,000 came back the median of messages was 0.7 ms for 3.5 ms.
pub const CONNECTS_PER_TURN: u32 = 8;

/// Time between two looks at a connection that does not read, whether the server has ended it.
pub const READERS_LOOK: Duration = Duration::from_secs(1);

/// Most time by which a push may exceed its interval before it is overdue; half the interval when
/// that is less.
pub const PUSH_GRACE_MAX: Duration = Duration::from_secs(1);

/// Most time from when a message was due to its echo before the echo is late.
pub const ECHO_LATE_AFTER: Duration = Duration::from_secs(1);

/// Longest interval between pushes that the client holds a server to: a slot's clock has 32 bits of
/// microseconds, and half of their 71 minutes tells past from future.
pub const EXPECTED_EVERY_MAX: Duration = Duration::from_secs(30 * 60);

/// Things that a schedule had due so shortly before its end may be left without being missed.
pub const SCHEDULE_SLACK: Duration = Duration::from_millis(100);

/// Tuples that are tried for one short connection.
pub const CHURN_TRIES_MAX: u32 = 16;

/// Time for which a closed connection's tuple may be in TIME_WAIT: Linux takes 60 s.
pub const TIME_WAIT: Duration = Duration::from_secs(61);

/// Time between the last connect of a plateau and the first message, in which queues run empty.
pub const SETTLE: Duration = Duration::from_millis(200);

/// Time in which every core has heard an order: it yields more often.
pub const STOP_HEARD: Duration = Duration::from_millis(50);

/// Rest of a client core that is behind its schedule because it waits for the server, after which it
/// looks again.
pub const HELD_UP_LOOK: Duration = Duration::from_millis(10);

/// What such a rest may last on a busy host: what it lasts longer the core was not run, and that is
/// its own lag.
pub const HELD_UP_MOST: Duration = Duration::from_millis(40);

/// Messages in flight per client core: each may hold one buffer.
pub const MESSAGES_IN_FLIGHT: u32 = 1024;

/// Messages of a sweep in flight per client core. A window of connections that do not answer takes ten
/// seconds, and a message that waits takes some kernel memory.
pub const SWEEPS_IN_FLIGHT: u32 = 65_536;

/// Closes in flight per client core.
pub const CLOSES_IN_FLIGHT: u32 = 1024;

/// Connections that a storm cuts and that are not closed yet, per client core: each has three completions, and a turn looks at
/// [`BATCH_COMPLETIONS`](super::BATCH_COMPLETIONS). When 500,000 were cut p99 of the messages of those that stayed was 2.8 s
/// without a bound, 0.88 s with 256 and 19 ms with 64; all were back after 12.5, 12.3 and 13.5 s. When 200,000 were cut it was
/// 9.5 ms with 64 and 5 ms with 8 (and with 8 connects a turn); all were back after 4.5 and 4.7 s.
pub const CUTS_IN_FLIGHT: u32 = 8;

/// Time that a connect may take before it is given up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(10_000);

/// Time that an echo may take before its connection counts as silent.
pub const ECHO_TIMEOUT: Duration = Duration::from_millis(10_000);

/// Time that the server may take to end a connection that we ended.
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(10_000);

/// Tuples a core passes over before it gives up: as many as a full ephemeral range in TIME_WAIT
/// beyond one for each connection it wants.
pub const TUPLES_SKIPPED_SPARE: u64 = 65_536;

/// Time that the server's dumps have to show what the client waits for: two of their ticks.
pub const SERVER_TICK_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Time that the server's dumps have to show it empty.
pub const SERVER_EMPTY_TIMEOUT: Duration = Duration::from_secs(60);

/// Time in which a name of a target has to be found.
pub const NAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two lookups of the names of targets, at least: name servers are others'.
pub const RESOLVE_EVERY_MIN: Duration = Duration::from_secs(1);

/// Addresses in one range of targets.
pub const TARGET_ADDRESSES_MAX: u64 = 65_536;

/// Time a target has to answer the client's first connect.
pub const REACH_TIMEOUT: Duration = Duration::from_secs(3);

/// Time a target has to end the connection of that look, after ours has ended.
pub const REACH_END_TIMEOUT: Duration = Duration::from_millis(200);

/// Targets that are tried at the same time before a run.
pub const TARGETS_TRIED_AT_ONCE: usize = 16;

/// Tries of each bystander per second, unless --bystander-rate says otherwise.
pub const BYSTANDER_RATE: u64 = 20;

/// The highest --bystander-rate: beyond it the panel is a load, and no bystander; and its own connects
/// would find no port, of the usual 28,232, whose TIME_WAIT is over.
pub const BYSTANDER_RATE_MAX: u64 = 400;

/// The shortest time for which an idle host is watched, before the first connection and after the last
/// one. By the default rate its 95th percentile then stands on five tries.
pub const BYSTANDER_IDLE_LEAST: Duration = Duration::from_secs(5);

/// Time after which a try of a bystander is lost: TCP sends a SYN again after it, so that a connect
/// that lost a packet is one that was lost.
pub const BYSTANDER_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between two attempts to open the bystanders' own session again, once it is lost.
pub const BYSTANDER_REOPEN: Duration = Duration::from_secs(1);

/// Time beside its hold that a plateau may take, in the guess for how many records there is to be room.
pub const BYSTANDERS_TIME: Duration = Duration::from_secs(60);

/// Steps that a search for the safe capacity takes, about: five up, six halvings.
pub const SEARCH_STEPS: usize = 11;

/// Records that a panel keeps at most, of 16 bytes each: eight bystanders for seven hours.
pub const BYSTANDER_SAMPLES_MAX: usize = 4 << 20;

/// The sleep that the bystander `schedule` asks for.
pub const BYSTANDER_SLEEP: Duration = Duration::from_millis(10);

/// Bytes that the bystander `disk` writes, has written, and reads back.
pub const BYSTANDER_DISK_BYTES: usize = 4096;

/// Time between an attempt at a server's metrics that failed and the next one, so that a run does
/// not wait for a server that is gone.
pub const SERVER_METRICS_RETRY: Duration = Duration::from_secs(5);

/// Memory that a run takes for its figures and its report, after its connections were opened.
pub const REPORT_BYTES: u64 = 8 << 20;

/// Memory that the messages take which a core has out at once, in its buffers and the kernel's: 1,024
/// of 4 KiB and as much. In a control group of 96 MiB a run to the limit that left less was killed while
/// it verified what it had opened.
pub const MESSAGES_OUT_BYTES: u64 = 8 << 20;

/// Orders by `--control` that may wait: the controller takes them ten times a second, so that more than
/// these come from a program that does not look at what becomes of them.
pub const CONTROL_WAITING_MAX: usize = 64;

/// Changes by `--control` that a run takes: each is kept, in its state, which is some 100 bytes longer for
/// it at every look, and in its result.
pub const CONTROL_CHANGES_MAX: usize = 1_000;

/// Time between two looks of `--stop-on-miss`: the histograms of all cores are merged for each.
pub const MISS_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Answers of which `--stop-on-miss` looks at the p99: of fewer it is the slowest one.
pub const MISS_ANSWERS_LEAST: u64 = 100;

/// Time that a plan by the clock leaves for what is beside the connects of a plateau: it settles, and each connection is
/// proven by a message.
pub const TIMETABLE_SPARE: Duration = Duration::from_secs(5);

/// Time between the end of a hold and the next plateau by the clock: the server's figures are awaited for as long, and
/// what is out comes back.
pub const TIMETABLE_BETWEEN: Duration = Duration::from_secs(5);

/// Times that the server is asked which time it is: the answer that came soonest counts.
pub const CLOCK_TRIES: usize = 8;

/// How far apart parts of one run may begin, beyond what is not known of their clocks: a process of a scheduler that is
/// told to start at a moment does so within a second.
pub const PARTS_APART_MAX: Duration = Duration::from_secs(1);
