//! What the live view knows: the processes as they were seen last, what they did since the look before
//! that, and what is to be shown of it. Nothing here reads a clock, a socket or a key by itself.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::constants::TOP_HISTORY;
use crate::base::side::Side;
use crate::host::counters::tells_of_harm;
use crate::observe::snapshot::Snapshot;
use crate::top::rows::{self, Row, Seen};
use crate::top::steer::{Lever, Steered};

/// All of it.
#[derive(Clone, Debug)]
pub struct State {
    /// What goes on.
    live: Live,
    /// What is shown in its place while it is paused.
    held: Option<Live>,
    /// By what rows are sorted.
    pub sort: Sort,
    /// Rows that are above the first one shown.
    pub scroll: usize,
    /// Whether the keys are explained.
    pub shows_help: bool,
    /// The run that may be changed.
    pub steered: Option<Steered>,
}

/// What moves.
#[derive(Clone, Debug)]
pub struct Live {
    /// Time since the view began.
    pub now: Duration,
    /// Time between two looks.
    pub every: Duration,
    /// Every address, in the order given.
    pub targets: Vec<Target>,
    /// The last minutes, oldest first.
    pub history: VecDeque<Moment>,
    /// Moments so far, of which the history has the last ones.
    pub ticks: u64,
}

/// An address, and the process there.
#[derive(Clone, Debug)]
pub struct Target {
    /// As it was typed.
    pub address: String,
    /// What names its host.
    pub host: String,
    /// The last look at it.
    pub seen: Option<Seen>,
    /// The look before, at the same process.
    pub before: Option<Seen>,
    /// Since when it does not answer, and why; what was seen is of before.
    pub gone: Option<(Duration, String)>,
}

/// What all cores of a side did at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Connections open.
    pub connections: Option<u64>,
    /// New ones a second.
    pub new_per_s: Option<f64>,
    /// Messages a second.
    pub messages_per_s: Option<f64>,
}

/// An order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// As they are numbered.
    Core,
    /// Most connections first, and so on.
    Connections,
    /// By new connections.
    New,
    /// By messages.
    Messages,
    /// By how busy they are.
    Busy,
    /// By what waits.
    Queue,
}

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The next order of rows.
    Sort,
    /// Stand still, or go on.
    Pause,
    /// Explain the keys, or not any more.
    Help,
    /// Scroll down by this number of rows.
    Down(usize),
    /// Scroll up by this number of rows.
    Up(usize),
    /// Change the run, where that is allowed.
    Lever(Lever),
    /// End the view.
    Quit,
}

/// A counter of a host that rose.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Its name, with the host's before it where there is more than one.
    pub name: String,
    /// By how much, a second.
    pub per_s: f64,
    /// Whether it tells of something that went wrong.
    pub is_bad: bool,
}

impl State {
    /// Nothing seen yet of the `addresses`, with the name of the host of each.
    #[must_use]
    pub fn new(addresses: &[(String, String)], every: Duration) -> State {
        let target = |(address, host): &(String, String)| Target {
            address: address.clone(),
            host: host.clone(),
            seen: None,
            before: None,
            gone: None,
        };
        let targets = addresses.iter().map(target).collect();
        let live = Live { now: Duration::ZERO, every, targets, history: VecDeque::new(), ticks: 0 };
        State { live, held: None, sort: Sort::Core, scroll: 0, shows_help: false, steered: None }
    }

    /// What is to be shown.
    #[must_use]
    pub fn shown(&self) -> &Live {
        self.held.as_ref().unwrap_or(&self.live)
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.held.is_some()
    }

    /// A look at a target at this time, or why there was nothing to see.
    pub fn looked(&mut self, target: usize, at: Duration, seen: Result<Snapshot, String>) {
        let target = &mut self.live.targets[target];
        match seen {
            Ok(view) => {
                let before = target.seen.take().filter(|before| {
                    // What happened while it did not answer is no rate of now.
                    target.gone.is_none() && rows::is_same(&before.view, &view)
                });
                target.before = before;
                target.seen = Some(Seen { at, view });
                target.gone = None;
            }
            Err(why) => {
                let since = target.gone.take().map_or(at, |(since, _)| since);
                target.gone = Some((since, why));
            }
        }
    }

    /// It is this late now; all that was to be seen by now was.
    pub fn tick(&mut self, now: Duration) {
        self.live.now = now;
        self.live.ticks += 1;
        self.live.history.push_back(self.live.moment());
        if self.live.history.len() > TOP_HISTORY {
            self.live.history.pop_front();
        }
    }

    /// Does what a key asks for; `false` when it is to end.
    pub fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Sort => self.sort = self.sort.next(),
            Key::Pause => {
                self.held = if self.held.is_some() { None } else { Some(self.live.clone()) };
            }
            Key::Help => self.shows_help = !self.shows_help,
            Key::Down(rows) => {
                let most = self.shown().rows().len().saturating_sub(1);
                self.scroll = self.scroll.saturating_add(rows).min(most);
            }
            Key::Up(rows) => self.scroll = self.scroll.saturating_sub(rows),
            // It is asked by the one that reads keys.
            Key::Lever(_) => {}
            Key::Quit if self.shows_help => self.shows_help = false,
            Key::Quit => return false,
        }
        true
    }

    /// The rows of all cores, as they are sorted.
    #[must_use]
    pub fn sorted(&self) -> Vec<Row> {
        let mut rows = self.shown().rows();
        let sort = self.sort;
        // Stable: of two that are alike, the one that is numbered first.
        rows.sort_by(|one, other| sort.amount(other).total_cmp(&sort.amount(one)));
        rows
    }
}

impl Live {
    /// Every core that answers, in order.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let answering = self.targets.iter().enumerate().filter(|(_, t)| t.gone.is_none());
        let rows = answering.filter_map(|(number, target)| {
            Some(rows::of(number, target.before.as_ref(), target.seen.as_ref()?))
        });
        let mut rows: Vec<Row> = rows.flatten().collect();
        rows.sort_by_key(|row| row.side);
        rows
    }

    /// The processes of a side that answer.
    pub fn views(&self, side: Side) -> impl Iterator<Item = &Snapshot> {
        let answering = self.targets.iter().filter(|target| target.gone.is_none());
        let views = answering.filter_map(|target| Some(&target.seen.as_ref()?.view));
        views.filter(move |view| view.side == side)
    }

    /// The side of which the last minutes are shown: the server's, if there is one.
    #[must_use]
    pub fn main_side(&self) -> Side {
        let seen = self.targets.iter().filter_map(|target| target.seen.as_ref());
        let mut sides = seen.map(|seen| seen.view.side);
        if sides.any(|side| side == Side::Server) { Side::Server } else { Side::Client }
    }

    fn moment(&self) -> Moment {
        let total = rows::total(self.main_side(), &self.rows());
        total.map_or_else(Moment::default, |row| Moment {
            connections: row.connections,
            new_per_s: row.new_per_s,
            messages_per_s: row.messages_per_s,
        })
    }

    /// Counters of the hosts that rose, those that tell of something bad first, then by how much. Two
    /// addresses of one host show the same ones: the first that answers counts.
    #[must_use]
    pub fn moved(&self) -> Vec<Moved> {
        let mut of_hosts = BTreeMap::new();
        for target in self.targets.iter().filter(|target| target.gone.is_none()) {
            if let (Some(before), Some(seen)) = (&target.before, &target.seen) {
                of_hosts.entry(target.host.as_str()).or_insert((before, seen));
            }
        }
        let has_many = of_hosts.len() > 1;
        let mut moved = Vec::new();
        for (host, (before, seen)) in of_hosts {
            let time = seen.at.saturating_sub(before.at).as_secs_f64();
            let (Some(then), Some(now)) = (&before.view.host, &seen.view.host) else { continue };
            for (name, _) in now.iter().filter(|(name, _)| is_event(name)) {
                let rise = now.rise(then, name).filter(|rise| *rise > 0 && time > 0.0);
                moved.extend(rise.map(|rise| Moved {
                    name: if has_many { format!("{host} {name}") } else { name.to_owned() },
                    per_s: rise as f64 / time,
                    is_bad: tells_of_harm(name),
                }));
            }
        }
        moved.sort_by(|a, b| b.is_bad.cmp(&a.is_bad).then(b.per_s.total_cmp(&a.per_s)));
        moved
    }
}

/// CPU time is a column of the table, and how many are connected is no event.
fn is_event(name: &str) -> bool {
    !name.ends_with("ticks") && name != "Tcp.CurrEstab"
}

impl Sort {
    fn next(self) -> Sort {
        let orders =
            [Sort::Core, Sort::Connections, Sort::New, Sort::Messages, Sort::Busy, Sort::Queue];
        let at = orders.iter().position(|order| *order == self).unwrap_or(0);
        orders[(at + 1) % orders.len()]
    }

    /// Its name, as a heading has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Sort::Core => "core",
            Sort::Connections => "connections",
            Sort::New => "new/s",
            Sort::Messages => "msg/s",
            Sort::Busy => "busy",
            Sort::Queue => "queue",
        }
    }

    /// What it sorts by, the most first; what was not seen is less than nothing.
    fn amount(self, row: &Row) -> f64 {
        let amount = match self {
            Sort::Core => Some(0.0),
            Sort::Connections => row.connections.map(|n| n as f64),
            Sort::New => row.new_per_s,
            Sort::Messages => row.messages_per_s,
            Sort::Busy => row.busy,
            Sort::Queue => Some(row.queues.iter().map(|(_, n)| *n as f64).sum()),
        };
        amount.unwrap_or(-1.0)
    }
}
