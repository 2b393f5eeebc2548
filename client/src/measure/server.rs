//! The server as the client last saw it: through its metrics address, or else through what its
//! `--stats` wrote into our run directory.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use megaconn::base::clock::unix_ms;
use megaconn::base::files::{is_being_written, open_regular};
use megaconn::observe::metrics::fetch::Place;
use megaconn::observe::snapshot::{CoreSnapshot, Snapshot};
use megaconn::results::SERVER_DUMPS;
use serde::Deserialize;

use crate::measure::server_metrics::ServerMetrics;

/// What is known of the server, and since when.
pub(crate) struct ServerFigures {
    source: Source,
    view: Option<Snapshot>,
    /// Milliseconds since 1970 of the view; of its oldest core.
    at_ms: Option<u64>,
    /// When the process began that was seen first, and whether another one was seen since.
    began_ms: Option<u64>,
    was_replaced: bool,
}

/// Two sights of one process, of which the later one was answered late, tell of beginnings as far apart at most.
const BEGAN_WITHIN_MS: u64 = 2_000;

enum Source {
    Metrics(ServerMetrics),
    Dumps(Dumps),
}

/// A `server.ndjson`, read on as it grows.
struct Dumps {
    path: PathBuf,
    /// Lines from before are another run's.
    from_ms: u64,
    read_to: u64,
    /// The last line of every core, and its time.
    last: BTreeMap<u64, (u64, String)>,
    /// Which file is read: a server that was started again has another one of the same name.
    inode: u64,
    /// A server was seen writing it.
    was_written: bool,
    /// And has ended.
    has_ended: bool,
}

/// The fields that every dump line has.
#[derive(Deserialize)]
struct Mark {
    core: u64,
    at_ms: u64,
}

impl ServerFigures {
    /// By the dumps in the run directory `dir`, from `from_ms` on.
    pub(crate) fn of(dir: &Path, from_ms: u64) -> ServerFigures {
        let dumps = Dumps {
            path: dir.join(SERVER_DUMPS),
            from_ms,
            read_to: 0,
            last: BTreeMap::new(),
            inode: 0,
            was_written: false,
            has_ended: false,
        };
        ServerFigures::new(Source::Dumps(dumps), None, None)
    }

    /// By its metrics address, which has just given `view`.
    pub(crate) fn by(metrics: ServerMetrics, view: Snapshot) -> ServerFigures {
        ServerFigures::new(Source::Metrics(metrics), Some(view), Some(unix_ms()))
    }

    fn new(source: Source, view: Option<Snapshot>, at_ms: Option<u64>) -> ServerFigures {
        let mut figures =
            ServerFigures { source, view, at_ms, began_ms: None, was_replaced: false };
        figures.see_process();
        figures
    }

    /// Another process answers than at first, when a server was taken over or started anew.
    fn see_process(&mut self) {
        let lived_ms = self.figure("process_lived_ms");
        let Some(began_ms) = self.at_ms.zip(lived_ms).map(|(at, ms)| at.saturating_sub(ms)) else {
            return;
        };
        let first_ms = *self.began_ms.get_or_insert(began_ms);
        self.was_replaced |= began_ms.abs_diff(first_ms) > BEGAN_WITHIN_MS;
    }

    /// Whether another process answers, or has answered, than at first: what servers have counted in all is not
    /// known then.
    pub(crate) fn was_replaced(&self) -> bool {
        self.was_replaced
    }

    /// Looks again. What cannot be seen any more stays as it was last.
    pub(crate) fn refresh(&mut self) {
        match &mut self.source {
            Source::Metrics(metrics) => {
                // What it says is of this moment or later.
                let at_ms = unix_ms();
                if let Some(view) = metrics.again() {
                    (self.view, self.at_ms) = (Some(view), Some(at_ms));
                }
            }
            Source::Dumps(dumps) => {
                if dumps.read_on() {
                    let lines = dumps.last.values().map(|(_, line)| line.as_str());
                    self.view = Snapshot::server_from_dump_lines(lines).ok();
                    self.at_ms = dumps.last.values().map(|(at_ms, _)| *at_ms).min();
                }
            }
        }
        self.see_process();
    }

    /// The server as it is now; `None` while it cannot be seen.
    pub(crate) fn look(&mut self) -> Option<Snapshot> {
        self.refresh();
        self.view.clone().filter(|_| self.unseen().is_none())
    }

    /// Since when, and why, a server that was seen cannot be seen any more.
    pub(crate) fn unseen(&self) -> Option<String> {
        match &self.source {
            Source::Metrics(metrics) => metrics.unseen(),
            Source::Dumps(dumps) => {
                let why = "the server that wrote server.ndjson has ended";
                dumps.has_ended.then(|| why.to_owned())
            }
        }
    }

    /// Connections that the server held; `None` when nothing was seen of it.
    pub(crate) fn connections(&self) -> Option<u64> {
        self.figure("connections")
    }

    /// Resident bytes of the server.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        self.figure("process_resident_bytes")
    }

    /// Open files of the server.
    pub(crate) fn open_files(&self) -> Option<u64> {
        self.figure("process_open_files")
    }

    fn figure(&self, name: &str) -> Option<u64> {
        self.view.as_ref()?.figures.get(name).copied()
    }

    /// Where it gives its metrics; `None` when it is seen by its dumps.
    pub(crate) fn place(&self) -> Option<Place> {
        match &self.source {
            Source::Metrics(metrics) => Some(metrics.place()),
            Source::Dumps(_) => None,
        }
    }

    /// When the server was last seen, in milliseconds since 1970; `None` when it never was.
    pub(crate) fn at_ms(&self) -> Option<u64> {
        self.at_ms.filter(|_| self.view.is_some())
    }

    /// Whether its figures are of `ms` or later.
    pub(crate) fn is_of(&self, ms: u64) -> bool {
        self.at_ms().is_some_and(|at_ms| at_ms >= ms)
    }

    /// Every core, in order.
    pub(crate) fn cores(&self) -> impl Iterator<Item = &CoreSnapshot> {
        self.view.iter().flat_map(|view| &view.cores)
    }
}

impl Dumps {
    /// Reads what was written since, and says whether there was something; lines that are not whole
    /// yet wait for the next time.
    fn read_on(&mut self) -> bool {
        let Ok(Some(mut file)) = open_regular(&self.path) else { return false };
        let Ok(inode) = file.metadata().map(|metadata| metadata.ino()) else { return false };
        if inode != self.inode {
            (self.inode, self.read_to, self.was_written) = (inode, 0, false);
        }
        let is_written = is_being_written(&file);
        self.has_ended = self.was_written && !is_written;
        self.was_written |= is_written;
        let mut text = String::new();
        let read =
            file.seek(SeekFrom::Start(self.read_to)).and_then(|_| file.read_to_string(&mut text));
        if read.is_err() {
            return false;
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read_to += whole as u64;
        let mut is_news = false;
        for line in text[..whole].lines() {
            if let Ok(Mark { core, at_ms }) = serde_json::from_str::<Mark>(line)
                && at_ms >= self.from_ms
            {
                self.last.insert(core, (at_ms, line.to_owned()));
                is_news = true;
            }
        }
        is_news
    }
}
