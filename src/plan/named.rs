//! `--target` as it is typed: addresses, ranges and lists of them, and names, which are looked up once
//! before a run, or again and again while short connections come and go.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;

use crate::base::constants::{NAME_TIMEOUT, TARGET_ADDRESSES_MAX};
use crate::base::endpoints::Endpoints;
use crate::base::units::port_range;
use crate::plan::ranges::AddressRange;
use crate::plan::route;

/// One value of `--target`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    items: Vec<Target>,
    /// The path of a `ws://` or `wss://`, with what follows it.
    websocket: Option<String>,
    /// Of `tls://` and `wss://`.
    is_tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    At(Endpoints),
    Range(AddressRange, (u16, u16)),
    Name(String, (u16, u16)),
}

/// What the values of `--target` come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The addresses with their ports of each item, in the order in which they were typed.
    pub endpoints: Vec<Vec<Endpoints>>,
    /// The name of each item that is one.
    pub names: Vec<Option<String>>,
    /// What each name stands for, in words.
    pub notes: Vec<String>,
}

/// What one item of `--target` stands for.
#[derive(Debug)]
pub struct LookedUp {
    /// The name; `None` of what is an address or a range of them.
    pub name: Option<String>,
    /// Its addresses with their ports.
    pub found: Result<Found, NameError>,
}

/// The addresses of a name, or what is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Those that this host has a way to, with their ports.
    pub endpoints: Vec<Endpoints>,
    /// The others.
    pub away: Vec<IpAddr>,
}

/// Why a name is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The resolver has no address.
    #[error("--target {0}: no address has this name ({1}); fix: check the name: getent ahosts {0}")]
    Unknown(String, String),
    /// The resolver does not answer.
    #[error(
        "--target {0}: the name servers did not answer in {secs} s; fix: check /etc/resolv.conf, or \
         write the address", secs = NAME_TIMEOUT.as_secs()
    )]
    Silent(String),
    /// This host has no way to any of them.
    #[error(
        "--target {0}: no route leads to any of its addresses ({1}); fix: see `ip route` and \
         `ip -6 route`"
    )]
    NoWay(String, String),
}

impl FromStr for Targets {
    type Err = String;

    fn from_str(text: &str) -> Result<Targets, String> {
        let (rest, websocket, is_tls) = without_scheme(text)?;
        let mut targets = Vec::new();
        // An item without a port has the ports of the next one that has some.
        let mut ports = websocket.is_some().then_some(if is_tls { "443" } else { "80" });
        for item in rest.rsplit(',') {
            let (host, own) = split_ports(item);
            ports = own.or(ports);
            targets.push(target(host, ports, text)?);
        }
        targets.reverse();
        Ok(Targets { items: targets, websocket: websocket.map(str::to_owned), is_tls })
    }
}

/// What stands between the scheme and the path, the path where the scheme has one, and whether it is of TLS.
fn without_scheme(text: &str) -> Result<(&str, Option<&str>, bool), String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok((text, None, false)) };
    let is_tls = matches!(scheme, "tls" | "wss");
    match scheme {
        "tcp" | "tls" => Ok((rest.strip_suffix('/').unwrap_or(rest), None, is_tls)),
        "ws" | "wss" => {
            let (hosts, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let is_sound = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            if !is_sound || path.len() > PATH_MAX || path.starts_with('?') {
                return Err(format!(
                    "`{text}`: not a path of printable ASCII of {PATH_MAX} bytes at most; fix: write \
                     {scheme}://HOST:PORT/PATH, what is special in it as %20"
                ));
            }
            Ok((hosts, Some(if path.is_empty() { "/" } else { path }), is_tls))
        }
        _ => Err(format!(
            "`{text}`: there is no scheme {scheme}; fix: write tcp://, tls://, ws:// or wss://"
        )),
    }
}

/// Bytes of a path: what is asked for on each connection fits into a buffer, with its headers.
const PATH_MAX: usize = 1024;

fn split_ports(item: &str) -> (&str, Option<&str>) {
    match item.rsplit_once(':') {
        // The last colon of `[fe80::1]` is none before a port.
        Some((host, ports)) if !ports.ends_with(']') => (host, Some(ports)),
        _ => (item, None),
    }
}

fn target(host: &str, ports: Option<&str>, text: &str) -> Result<Target, String> {
    let error = || {
        format!(
            "`{text}` is no target; fix: write 127.0.0.1:7000, 127.0.0.1:7000-7009, [::1]:7000, \
             10.0.0.2-10.0.0.9:7000 or example.org:7000"
        )
    };
    let text = ports.ok_or_else(error)?;
    let ports = port_range(text).map_err(|_| error())?;
    let address = |text: &str| text.parse::<IpAddr>().ok();
    if let Some((low, high)) = host.split_once('-')
        && let (Some(low), Some(high)) = (address(low), address(high))
    {
        let range = AddressRange::new(low, high)?;
        if range.len() > TARGET_ADDRESSES_MAX {
            let most = TARGET_ADDRESSES_MAX;
            return Err(format!("{range} has {} addresses; fix: {most} at most", range.len()));
        }
        return Ok(Target::Range(range, ports));
    }
    if is_name(host) {
        return Ok(Target::Name(host.to_owned(), ports));
    }
    // What is neither of these is an address, or says what is wrong with it.
    let is_address = host.starts_with('[') || address(host).is_some_and(|ip| ip.is_ipv4());
    if is_address { format!("{host}:{text}").parse().map(Target::At) } else { Err(error()) }
}

/// Whether it can be the name of a host: letters, digits, hyphens and underscores between dots, the last
/// part no number, which would be a part of an address.
fn is_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host).split('.');
    let is_label = |label: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len())
            && label.chars().all(is_part)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.chars().all(|c| c.is_ascii_digit());
    let last = labels.clone().next_back().unwrap_or_default();
    host.len() <= 253 && labels.clone().all(is_label) && !is_number(last)
}

impl Targets {
    /// Whether one of them is a name.
    #[must_use]
    pub fn has_name(&self) -> bool {
        self.items.iter().any(|target| matches!(target, Target::Name(..)))
    }

    /// Whether connections speak TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The path that connections ask for when they speak WebSocket.
    #[must_use]
    pub fn websocket(&self) -> Option<&str> {
        self.websocket.as_deref()
    }
}

/// Looks the names up.
///
/// # Errors
/// The first name that has no address which this host has a way to.
pub fn resolve(all: &[Targets]) -> Result<Resolved, NameError> {
    let mut resolved = Resolved::default();
    for LookedUp { name, found } in look_up(all) {
        let Found { endpoints, away } = found?;
        let words = name.as_ref().map(|name| in_words(name, &endpoints, &away));
        resolved.notes.extend(words);
        resolved.names.push(name);
        resolved.endpoints.push(endpoints);
    }
    Ok(resolved)
}

impl Resolved {
    /// How a request names the host of each address: by the name that was typed, where one was.
    #[must_use]
    pub fn hosts(&self) -> HashMap<SocketAddr, Box<str>> {
        let mut hosts = HashMap::new();
        for (name, endpoints) in self.names.iter().zip(&self.endpoints) {
            for address in endpoints.iter().flat_map(|endpoints| endpoints.each()) {
                let host = match name {
                    Some(name) => format!("{name}:{}", address.port()),
                    None => address.to_string(),
                };
                // A port that is the usual one is not named.
                let host = host.strip_suffix(":80").unwrap_or(&host);
                hosts.entry(address).or_insert_with(|| host.into());
            }
        }
        hosts
    }
}

/// Looks each name up, in the order in which targets were typed; a target that is no name is what it is.
pub fn look_up(all: &[Targets]) -> impl Iterator<Item = LookedUp> {
    all.iter().flat_map(|targets| &targets.items).map(|target| match target {
        Target::At(at) => no_name(vec![*at]),
        Target::Range(range, ports) => {
            no_name((0..range.len()).map(|n| endpoints(range.nth(n), 0, *ports)).collect())
        }
        Target::Name(name, ports) => {
            LookedUp { name: Some(name.clone()), found: addresses(name, *ports) }
        }
    })
}

fn no_name(endpoints: Vec<Endpoints>) -> LookedUp {
    LookedUp { name: None, found: Ok(Found { endpoints, away: Vec::new() }) }
}

fn endpoints(address: IpAddr, scope: u32, (low, high): (u16, u16)) -> Endpoints {
    Endpoints { address: address.to_canonical(), scope, low, high }
}

/// The addresses of a name: those that this host has a way to, and the others.
fn addresses(name: &str, ports: (u16, u16)) -> Result<Found, NameError> {
    let (tell, told) = mpsc::channel();
    let asked = name.to_owned();
    let look = move || {
        let found = (asked.as_str(), 1).to_socket_addrs().map(Iterator::collect::<BTreeSet<_>>);
        // After the time is up it is not waited for any more.
        let _ = tell.send(found);
    };
    let unknown = |error: &io::Error| NameError::Unknown(name.to_owned(), error.to_string());
    thread::Builder::new().name("names".into()).spawn(look).map_err(|error| unknown(&error))?;
    let found = told.recv_timeout(NAME_TIMEOUT).map_err(|_| NameError::Silent(name.to_owned()))?;
    let found = found.map_err(|error| unknown(&error))?;
    let (ways, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| route::outgoing_address(*address).is_ok());
    let away: Vec<IpAddr> = others.iter().map(SocketAddr::ip).collect();
    if ways.is_empty() {
        return Err(NameError::NoWay(name.to_owned(), listed(&away)));
    }
    let at = |address: &SocketAddr| {
        let scope = if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
        endpoints(address.ip(), scope, ports)
    };
    Ok(Found { endpoints: ways.iter().map(at).collect(), away })
}

fn in_words(name: &str, endpoints: &[Endpoints], away: &[IpAddr]) -> String {
    let none = if away.is_empty() {
        String::new()
    } else {
        format!("; without a route, and not used: {}", listed(away))
    };
    let used: Vec<IpAddr> = endpoints.iter().map(|endpoints| endpoints.address).collect();
    format!("--target {name}: {}{none}", listed(&used))
}

/// Addresses in words, as a sentence has them.
#[must_use]
pub fn listed(addresses: &[impl ToString]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let targets: Targets = text.parse().unwrap();
        let resolved = resolve(&[targets]).unwrap();
        resolved.endpoints.iter().flatten().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_ranges_and_lists() {
        assert_eq!(of("127.0.0.1:7000-7001"), ["127.0.0.1:7000-7001"]);
        assert_eq!(of("tcp://127.0.0.1:7000"), ["127.0.0.1:7000"]);
        assert_eq!(of("10.0.0.9-10.0.0.10:7"), ["10.0.0.9:7", "10.0.0.10:7"]);
        assert_eq!(of("10.0.0.1,10.0.0.5:7,[::1]:8-9"), ["10.0.0.1:7", "10.0.0.5:7", "[::1]:8-9"]);
        assert_eq!(of("[::1],[::2]:8"), ["[::1]:8", "[::2]:8"]);
        assert_eq!(of("[fe80::1%1]:7"), ["[fe80::1%1]:7"]);
        assert_eq!(of("[::ffff:10.0.0.1]:7"), ["10.0.0.1:7"]);
    }

    #[test]
    fn a_name_is_every_address_that_it_has() {
        let targets: Targets = "localhost:7000-7001".parse().unwrap();
        let resolved = resolve(&[targets]).unwrap();
        let loopback =
            Endpoints { address: [127, 0, 0, 1].into(), scope: 0, low: 7000, high: 7001 };
        assert!(resolved.endpoints[0].contains(&loopback), "{resolved:?}");
        assert!(resolved.notes[0].starts_with("--target localhost: "), "{resolved:?}");
        let typed = ["127.0.0.9:7", "10.0.0.1,localhost:8"].map(|text| text.parse().unwrap());
        assert_eq!(typed.each_ref().map(Targets::has_name), [false, true]);
        let names: Vec<_> = look_up(&typed).map(|one| one.name).collect();
        assert_eq!(names, [None, None, Some("localhost".to_owned())]);
        // RFC 6761: no name server has it.
        let targets: Targets = "nothing.invalid:1".parse().unwrap();
        let error = resolve(&[targets]).unwrap_err().to_string();
        assert!(error.contains("--target nothing.invalid: "), "{error}");
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for bad in [
            "",
            "7000",
            ":7000",
            "::1:7000",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:9-8",
            "1.2.3:7",
            "1.2.3.400:7",
            "1.2.3.4:70000",
            "a b:1",
            "-a:1",
            "a..b:1",
            "a:1,",
            ",a:1",
            "a:",
            "10.0.0.9-10.0.0.2:7",
            "10.0.0.0-10.255.255.255:7",
            "http://a:1",
            "ws://a:1/b c",
            "ws://a:1/b#c",
            "ws:///b",
            "ws://a:1?b",
            "tls://a",
            "tls://a:443/b",
            "wss://a:443/b c",
            "tcp://a:1/x",
            "255.255.255.255:1",
            "224.0.0.1:1",
        ] {
            assert!(bad.parse::<Targets>().is_err(), "{bad:?} was taken for a target");
        }
        let target = |text: &str| text.parse::<Targets>().expect("it is one");
        assert_eq!(
            target("ws://10.0.0.1/a?b:c=/d"),
            Targets {
                items: target("10.0.0.1:80").items,
                websocket: Some("/a?b:c=/d".to_owned()),
                is_tls: false
            }
        );
        assert_eq!(
            target("ws://10.0.0.1,10.0.0.2:7-9").items,
            target("10.0.0.1,10.0.0.2:7-9").items
        );
        assert_eq!(target("ws://a:1").websocket(), Some("/"));
        let wss = target("wss://push.example/stream");
        assert_eq!((wss.is_tls(), wss.websocket()), (true, Some("/stream")));
        assert_eq!(wss.items, target("push.example:443").items);
        assert!(target("tls://a:443").is_tls() && !target("ws://a").is_tls());
    }
}
