//! A situation as data: what is done to a run, and what its verdict should be; and how it is met once.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Finished, Program};
use crate::lab::foreign::{Foreign, Manner};
use crate::lab::host::{Cage, ControlGroup};
use crate::lab::netns::{Build, Lab, Run, Sight};
use crate::lab::network::Case;
use crate::lab::scenes::Wall;

/// A situation.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Each of these is right when the client sees the server.
    pub(crate) with: &'static [Is],
    /// Each of these is right when it does not.
    pub(crate) without: &'static [Is],
    /// Walls that are met besides, in truth.
    pub(crate) beside: &'static [&'static str],
    /// Whether it must be alone on the host, for the CPU's sake or because it changes the host.
    pub(crate) is_alone: bool,
    /// Whether it is met at every commit.
    pub(crate) is_cheap: bool,
    pub(crate) how: How,
}

/// What a verdict is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Is {
    /// This wall at this side cost most.
    Wall(&'static str, &'static str),
    /// This wall at this side was met. Whether anything was lost to it is a matter of chance.
    Met(&'static str, &'static str),
    /// No wall, and nothing lost.
    Nothing,
    /// A loss has no name, and this is in what was seen of it.
    Unknown(&'static str),
    /// The run is refused before its first connection, and this is in the line that says why.
    Refused(&'static str),
}

#[derive(Clone, Copy)]
pub(crate) enum How {
    Case(&'static Case),
    Wall(&'static Wall),
    Play(Play),
}

/// What is done, in the order of the fields.
#[derive(Clone, Copy)]
pub(crate) struct Play {
    pub(crate) build: Build,
    pub(crate) before: &'static [Step],
    pub(crate) client_in: In,
    pub(crate) server_in: In,
    pub(crate) server: Server,
    /// The flags of the run. `--target` is the server's first port, unless it is given.
    pub(crate) run: &'static [&'static str],
    /// Whether what is done meanwhile begins when connections are opened, and not when they are held.
    pub(crate) from_start: bool,
    /// What is done meanwhile, each after so many milliseconds.
    pub(crate) then: &'static [(u64, Step)],
}

#[derive(Clone, Copy)]
pub(crate) enum Server {
    /// None at all.
    None,
    /// Ours, with these flags.
    Ours(&'static [&'static str]),
    /// Foreign ones, each on a port of its own. A client that sees the server is on its host then, and
    /// else across a cable.
    Foreign(&'static [Manner]),
    /// A foreign one between, and ours behind it.
    Proxy(Manner),
}

/// What a program is started in.
#[derive(Clone, Copy)]
pub(crate) enum In {
    Open,
    /// At most so much by `ulimit -flag`, without the right to pass it.
    Limit(char, u64),
    Without(&'static str),
    /// A control group with so many bytes, hundredths of a CPU, or threads.
    Memory(u64),
    Cpu(u32),
    Threads(u32),
}

/// Something that is done to a run.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// A line of shell on the client's host, the server's, or the one between.
    Client(&'static str),
    Server(&'static str),
    Between(&'static str),
    /// Rules for `nft` there.
    ClientNft(&'static str),
    ServerNft(&'static str),
    BetweenNft(&'static str),
    /// A value of the whole host.
    Host(&'static str, &'static str),
    ToServer(Signal),
    ToClient(Signal),
    /// Another run before this one, with these flags, or beside it.
    Earlier(&'static [&'static str]),
    Beside(&'static [&'static str]),
    /// Loops that want a CPU each for so many seconds.
    Loops(u32, &'static str),
    /// The foreign servers end all connections, or die.
    EndAll,
    Die,
}

pub(crate) const BLANK: Row = Row {
    name: "",
    with: &[],
    without: &[],
    beside: &[],
    is_alone: false,
    is_cheap: false,
    how: How::Play(PLAY),
};

pub(crate) const PLAY: Play = Play {
    build: Build::Link,
    before: &[],
    client_in: In::Open,
    server_in: In::Open,
    server: Server::Ours(&[]),
    run: &[],
    from_start: false,
    then: &[],
};

/// A run that is over, or was refused.
pub(crate) struct Over {
    pub(crate) finished: Finished,
    pub(crate) result: Option<Value>,
}

impl From<Run> for Over {
    fn from(run: Run) -> Over {
        Over { finished: run.finished, result: Some(run.result) }
    }
}

impl Row {
    /// Meets it once; `None`, said loudly, where this host does not permit it.
    pub(crate) fn meet(&self, sight: Sight) -> Option<Over> {
        match self.how {
            How::Case(case) => {
                let mut lab = Lab::with(case.build, sight)?;
                (case.meet)(&mut lab).map(Over::from)
            }
            How::Wall(wall) => (wall.run)(sight, None).map(Over::from),
            How::Play(play) => play.meet(sight),
        }
    }

    /// What is right, given so much sight.
    pub(crate) fn right(&self, sight: Sight) -> &'static [Is] {
        if sight == Sight::With { self.with } else { self.without }
    }
}

/// What goes on while a run is under way.
struct Stage {
    lab: Lab,
    foreign: Vec<Foreign>,
    beside: Vec<Program>,
}

impl Play {
    fn meet(&self, sight: Sight) -> Option<Over> {
        let lab = Lab::with(self.build, sight)?;
        let mut groups = Vec::new();
        let mut stage = Stage { lab, foreign: Vec::new(), beside: Vec::new() };
        stage.lab.cages.client = cage(self.client_in, &mut groups)?;
        stage.lab.cages.server = cage(self.server_in, &mut groups)?;
        // Another run needs the server.
        let needs_server = |step: &&Step| matches!(step, Step::Earlier(_) | Step::Beside(_));
        let (late, early): (Vec<&Step>, Vec<&Step>) = self.before.iter().partition(needs_server);
        early.into_iter().try_for_each(|step| stage.take(step, None))?;
        let target = stage.serve(self.server, sight);
        late.into_iter().try_for_each(|step| stage.take(step, None))?;
        let flags = [&["--target", target.as_str()], self.run].concat();
        let flags = if self.run.contains(&"--target") { self.run } else { &flags };
        let is_seen = sight == Sight::With && !matches!(self.server, Server::Foreign(_));
        let is_ours = matches!(self.server, Server::Ours(_) | Server::Proxy(_));
        let mut client = match is_seen && is_ours {
            true => stage.lab.seeing_client(flags),
            false => stage.lab.client(flags),
        };
        let begins = if self.from_start { "slots_per_segment=" } else { "holding" };
        if !self.then.is_empty() && client.says(begins) {
            for (ms, step) in self.then {
                sleep(Duration::from_millis(*ms));
                stage.take(step, Some(&client))?;
            }
        }
        let finished = client.finish();
        let result = matches!(finished.code, Some(0 | 1)).then(|| stage.lab.result());
        // Groups go after the programs in them.
        drop(stage);
        Some(Over { finished, result })
    }
}

/// A cage of this kind; `None` where this host has none, `Some(None)` where none is wanted.
fn cage(of: In, groups: &mut Vec<ControlGroup>) -> Option<Option<Cage>> {
    let group = match of {
        In::Open => return Some(None),
        In::Limit(flag, most) => {
            return Some(Some(Cage::open().limit(flag, most).without("ipc_lock")));
        }
        In::Without(capability) => return Some(Some(Cage::open().without(capability))),
        In::Memory(bytes) => ControlGroup::memory(bytes),
        In::Cpu(percent) => ControlGroup::cpu(percent),
        In::Threads(count) => ControlGroup::threads(count),
    };
    let group = group?;
    let cage = Cage::open().group(&group);
    groups.push(group);
    Some(Some(cage))
}

impl Stage {
    /// Starts the server; where the client finds it.
    fn serve(&mut self, server: Server, sight: Sight) -> String {
        let at = |text: &str| text.parse::<SocketAddr>().expect("it is an address");
        match server {
            Server::None => "10.77.0.1:7000".to_owned(),
            Server::Ours(flags) => match flags.iter().position(|flag| *flag == "--listen") {
                Some(place) => {
                    let (listen, rest) = (flags[place + 1], &flags[place + 2..]);
                    self.lab.serve_at(listen, &[&flags[..place], rest].concat());
                    listen.to_owned()
                }
                None => {
                    self.lab.serve(flags);
                    "10.77.0.1:7000".to_owned()
                }
            },
            Server::Foreign(manners) => {
                let (namespace, ip) = match sight {
                    Sight::With => (&self.lab.client, "127.0.0.1"),
                    Sight::Without => (&self.lab.server, "10.77.0.1"),
                };
                for (port, manner) in (7000..).zip(manners) {
                    let address = at(&format!("{ip}:{port}"));
                    self.foreign.push(Foreign::start(namespace, address, *manner));
                }
                format!("{ip}:7000-{}", 6999 + manners.len())
            }
            Server::Proxy(manner) => {
                self.lab.serve(&[]);
                let between = self.lab.between.as_ref().expect("a proxy is between");
                self.foreign.push(Foreign::start(between, at("10.76.0.1:7000"), manner));
                "10.76.0.1:7000".to_owned()
            }
        }
    }

    fn take(&mut self, step: &Step, client: Option<&Program>) -> Option<()> {
        let between = || self.lab.between.as_ref().expect("there is one between");
        let (nft, rules) = match *step {
            Step::ClientNft(rules) => (Some(&self.lab.client), rules),
            Step::ServerNft(rules) => (Some(&self.lab.server), rules),
            Step::BetweenNft(rules) => (Some(between()), rules),
            _ => (None, ""),
        };
        if let Some(namespace) = nft {
            self.lab.has_nft().then(|| namespace.nft(rules))?;
            return Some(());
        }
        match *step {
            Step::Client(line) => drop(self.lab.client.run(line)),
            Step::Server(line) => drop(self.lab.server.run(line)),
            Step::Between(line) => drop(between().run(line)),
            Step::Host(name, value) => self.lab.host_wide(name, value).then_some(())?,
            Step::ToServer(signal) => {
                self.lab.program.as_ref().expect("a server runs").signal(signal);
            }
            Step::ToClient(signal) => client.expect("a client runs").signal(signal),
            Step::Earlier(flags) => drop(self.lab.client_elsewhere(flags).finish()),
            Step::Beside(flags) => {
                let mut other = self.lab.client_elsewhere(flags);
                assert!(other.says("holding"), "{:#?}", other.finish());
                self.beside.push(other);
            }
            Step::Loops(count, seconds) => {
                let begin = |_| {
                    let mut command = std::process::Command::new("timeout");
                    Program::start(command.args([seconds, "sh", "-c", "while :; do :; done"]))
                };
                self.beside.extend((0..count).map(begin));
            }
            Step::EndAll => self.foreign.iter().for_each(Foreign::end_all),
            Step::Die => self.foreign.iter_mut().for_each(Foreign::die),
            Step::ClientNft(_) | Step::ServerNft(_) | Step::BetweenNft(_) => {}
        }
        Some(())
    }
}
