//! The server as the client last saw it: through its metrics address, or else through what its
//! `--stats` wrote into our run directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use megaconn::base::clock::unix_ms;
use megaconn::observe::snapshot::{CoreSnapshot, Snapshot};
use serde::Deserialize;

use crate::measure::server_metrics::ServerMetrics;

/// What is known of the server, and since when.
pub(crate) struct ServerFigures {
    source: Source,
    view: Option<Snapshot>,
    /// Milliseconds since 1970 of the view; of its oldest core.
    at_ms: Option<u64>,
}

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
        let path = dir.join("server.ndjson");
        let dumps = Dumps { path, from_ms, read_to: 0, last: BTreeMap::new() };
        ServerFigures { source: Source::Dumps(dumps), view: None, at_ms: None }
    }

    /// By its metrics address, which has just given `view`.
    pub(crate) fn by(metrics: ServerMetrics, view: Snapshot) -> ServerFigures {
        let source = Source::Metrics(metrics);
        ServerFigures { source, view: Some(view), at_ms: Some(unix_ms()) }
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
            Source::Dumps(_) => None,
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
        let Ok(mut file) = File::open(&self.path) else { return false };
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
