//! Where the listening sockets of a server are from: it opens them, the process that started it has given them
//! (`LISTEN_FDS`), or it takes them over from the server at `--take-over`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use megaconn::base::endpoints::Endpoints;
use megaconn::base::stderr::talk;
use megaconn::runtime::given::{self, GivenError};
use megaconn::runtime::hand_over::give::Goods;
use megaconn::runtime::hand_over::take::{self, Promise, Redeemed, TakeError, Taken};
use megaconn::runtime::hand_over::{Entry, Place, Use};
use megaconn::runtime::listeners::{self, Group, ListenError, Origin, Settings};
use megaconn::sys::socket::SteerError;
use socket2::Socket;

use crate::commands::serve::services::Services;

/// Sockets that do not go together with the flags.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketsError {
    #[error(transparent)]
    Given(#[from] GivenError),
    #[error(transparent)]
    Take(#[from] TakeError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(
        "LISTEN_FDS and --take-over {0}: sockets were given, and a server with others waits at that path; fix: \
         end that server (SIGTERM), or start this one without the socket unit"
    )]
    Both(PathBuf),
    #[error("--take-over: {0}; fix: a higher `ulimit -n`, or fewer ports or cores")]
    NoFiles(std::io::Error),
    #[error(
        "--listen: the sockets of LISTEN_FDS are of {0}, and not the same; fix: leave out --listen"
    )]
    Disagree(String),
    #[error(
        "--listen: the server at --take-over {0} listens on {1} as well, where connections would be reset; fix: \
         add --listen {2}, or end that server (SIGTERM) and start this one then"
    )]
    NotAll(PathBuf, String, SocketAddr),
}

/// What a server gives to the next one of its orders for texts to all: the socket, and its path when it has one.
pub(crate) type PassedPlace = Option<(Entry, Socket, Option<PathBuf>)>;

/// What there is before anything is opened.
pub(crate) struct Found {
    /// Where the server listens.
    pub(crate) listen: Vec<Endpoints>,
    /// Sockets that it need not open.
    groups: Vec<Group>,
    /// The server that is taken over.
    from: Option<Older>,
    /// Its sockets of what it offers besides.
    pub(crate) services: Vec<(Entry, Socket)>,
    /// The file of its statistics.
    pub(crate) stats: Option<PathBuf>,
    /// The path at which it takes orders for texts to all.
    pub(crate) broadcast_on: Option<PathBuf>,
}

/// A server that is taken over.
struct Older {
    pid: u32,
    promise: Promise,
}

/// All listening sockets.
pub(crate) struct Opened {
    /// `[core][listener]`.
    pub(crate) per_core: Vec<Vec<Socket>>,
    /// Steering was asked for and the kernel would not.
    pub(crate) unsteered: Option<SteerError>,
    /// Whether an older server has them as well.
    pub(crate) takes_over: bool,
    /// Whether the process that started this one keeps them.
    pub(crate) are_shared: bool,
    /// What a server with --take-over keeps for the next one.
    pub(crate) kept: Option<Kept>,
}

/// What the next server is given, and how this one came to it.
pub(crate) struct Kept {
    groups: Vec<Group>,
    settings: Settings,
    cpus: Vec<u16>,
    services: Vec<(Entry, Socket)>,
    stats: Option<PathBuf>,
    broadcast_on: Option<PathBuf>,
    beginning: Beginning,
}

enum Beginning {
    /// The place is ours.
    First(Place),
    /// It is the older server's until its promise is redeemed.
    Next(Older),
}

/// What there is when the cores accept.
pub(crate) struct Begun {
    /// The server that was taken over, where there was one.
    pub(crate) older: Option<Past>,
    /// What the next server is given; none where the place is lost, which was told.
    pub(crate) goods: Option<(Place, Goods)>,
}

/// A server that was taken over.
pub(crate) enum Past {
    /// It has let go, and ends its connections. The stream to it.
    Drains(Socket),
    /// It had ended before it was told to let go.
    Ended,
}

/// Looks for sockets that need not be opened. To be called first of all, on the first thread: then only what
/// was passed at the start is open.
pub(crate) fn find(typed: &[Endpoints], take_over: Option<&Path>) -> Result<Found, SocketsError> {
    let given = given::sockets()?;
    let taken = take_over.map(take::take).transpose()?.flatten();
    let wanted = listeners::addresses(typed)?;
    match (taken, take_over) {
        (Some(_), Some(path)) if !given.is_empty() => Err(SocketsError::Both(path.into())),
        (
            Some(Taken { pid, program, groups, services, stats, broadcast_on, promise }),
            Some(path),
        ) => {
            let is_missing =
                |group: &&Group| !wanted.is_empty() && !wanted.contains(&group.address);
            let missing: Vec<_> = groups.iter().filter(is_missing).map(|g| g.address).collect();
            if let Some(first) = missing.first() {
                return Err(SocketsError::NotAll(path.into(), list(&missing), *first));
            }
            let count: usize = groups.iter().map(|group| group.sockets.len()).sum();
            talk(&format!(
                "taking over from process {pid} (version {program}): {count} listening sockets"
            ));
            let listen = if typed.is_empty() { all(&groups) } else { typed.to_vec() };
            let from = Some(Older { pid, promise });
            Ok(Found { listen, groups, from, services, stats, broadcast_on })
        }
        _ if !given.is_empty() => {
            let addresses: Vec<_> = given.iter().map(|group| group.address).collect();
            let is_same = addresses.iter().all(|address| wanted.contains(address))
                && addresses.len() == wanted.len();
            if !wanted.is_empty() && !is_same {
                return Err(SocketsError::Disagree(list(&addresses)));
            }
            let count: usize = given.iter().map(|group| group.sockets.len()).sum();
            talk(&format!("LISTEN_FDS: {count} listening sockets, of which every core accepts"));
            Ok(Found::of(all(&given), given))
        }
        _ => {
            let default = "127.0.0.1:7000".parse().expect("an address with its port");
            let listen = if typed.is_empty() { vec![default] } else { typed.to_vec() };
            Ok(Found::of(listen, Vec::new()))
        }
    }
}

fn all(groups: &[Group]) -> Vec<Endpoints> {
    groups.iter().map(|group| group.address.into()).collect()
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Found {
    fn of(listen: Vec<Endpoints>, groups: Vec<Group>) -> Found {
        let (services, stats, broadcast_on) = (Vec::new(), None, None);
        Found { listen, groups, from: None, services, stats, broadcast_on }
    }

    /// Opens what there is not, for a core on each of `cpus`.
    pub(crate) fn open(
        self,
        cpus: &[u16],
        settings: Settings,
        take_over: Option<&Path>,
    ) -> Result<Opened, SocketsError> {
        let Found { listen, mut groups, from, .. } = self;
        let takes_over = from.is_some();
        let mut addresses = listeners::addresses(&listen)?;
        addresses.retain(|address| groups.iter().all(|group| group.address != *address));
        let are_shared = groups.iter().any(|group| group.origin == Origin::Given);
        if from.is_none() {
            for group in &groups {
                group.set(&settings, cpus)?;
            }
        }
        let few = groups.iter().find(|group| group.sockets.len() < cpus.len());
        if let Some(group) = few.filter(|group| group.origin == Origin::Opened) {
            talk(&format!(
                "{} has {} sockets for {} cores, of which several accept from one: --steer counts for the \
                 first cores alone until a server is started anew",
                group.address,
                group.sockets.len(),
                cpus.len()
            ));
        }
        let (opened, unsteered) = listeners::open(&addresses, cpus, &settings)?;
        groups.extend(opened);
        let kept = match (take_over, from) {
            (None, _) => None,
            (Some(path), from) => Some(Kept {
                groups: groups.iter().map(Group::try_clone).collect::<Result<_, _>>()?,
                settings,
                cpus: cpus.to_vec(),
                services: Vec::new(),
                stats: None,
                broadcast_on: None,
                beginning: match from {
                    Some(older) => Beginning::Next(older),
                    None => Beginning::First(take::offer(path)?),
                },
            }),
        };
        let per_core = listeners::deal(groups, cpus.len())?;
        Ok(Opened { per_core, unsteered, takes_over, are_shared, kept })
    }
}

impl Opened {
    /// Keeps what else the next server is given.
    pub(crate) fn keep(
        &mut self,
        services: &Services,
        orders: io::Result<PassedPlace>,
        stats: Option<&Path>,
    ) -> Result<(), SocketsError> {
        if let Some(kept) = &mut self.kept {
            kept.services = services.try_clone().map_err(SocketsError::NoFiles)?;
            if let Some((entry, socket, path)) = orders.map_err(SocketsError::NoFiles)? {
                kept.services.push((entry, socket));
                kept.broadcast_on = path;
            }
            kept.stats = stats.and_then(|path| path.canonicalize().ok());
        }
        Ok(())
    }
}

impl Kept {
    /// The cores accept: if there is an older server it is told so, and lets go.
    pub(crate) fn begin(self) -> Begun {
        let Kept { groups, settings, cpus, services, stats, broadcast_on, beginning } = self;
        let (older, place) = match beginning {
            Beginning::First(place) => (None, Some(place)),
            Beginning::Next(Older { pid, promise }) => {
                let Redeemed { has_let_go, place, stream } = promise.redeem();
                let how = if has_let_go { "accepts no more" } else { "ended" };
                talk(&format!("took over from process {pid}, which {how}"));
                // Only now: an older server that had served on would have found its sockets changed.
                for group in &groups {
                    match group.set(&settings, &cpus) {
                        Ok(None) => {}
                        Ok(Some(error)) => talk(&format!(
                            "warning: {}: connections are not spread anew: {error}",
                            group.address
                        )),
                        Err(error) => talk(&format!("warning: {error}")),
                    }
                }
                let lost = |error: &TakeError| {
                    talk(&format!("warning: this server cannot be taken over: {error}"));
                };
                let older = if has_let_go { Past::Drains(stream) } else { Past::Ended };
                (Some(older), place.inspect_err(lost).ok())
            }
        };
        let entry = |group: &Group| {
            let r#use = match group.origin {
                Origin::Opened => Use::Listen,
                Origin::Given => Use::ListenGiven,
            };
            Entry { r#use, address: Some(group.address) }
        };
        let sockets = groups.into_iter().flat_map(|group| {
            let entry = entry(&group);
            group.sockets.into_iter().map(move |socket| (entry.clone(), socket))
        });
        let sockets = sockets.chain(services).collect();
        let goods = place.map(|place| (place, Goods { sockets, stats, broadcast_on }));
        Begun { older, goods }
    }
}
