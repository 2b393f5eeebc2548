//! From what was typed to what the server is to do: the flags are checked against each other. Nothing
//! here asks the host.

use std::net::SocketAddr;
use std::time::Duration;

use megaconn::base::constants::{
    BUFFER_BYTES, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT_MAX, PUSH_EVERY, WEBSOCKET_HEAD_BYTES,
};
use megaconn::base::units::Text;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::Push;
use megaconn::engine::server::orders::SlowReader;
use megaconn::engine::storm::Way;
use megaconn::observe::control::place::Place;

use crate::commands::serve::flags::{
    self, Connections, Flags, Outputs, Places, TlsFlags, TrafficFlags,
};

/// What `serve` is to do.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) places: Places,
    pub(crate) traffic: Traffic,
    pub(crate) tls: TlsFlags,
    pub(crate) connections: Connections,
    pub(crate) outputs: Outputs,
    /// Where an unrelated small service answers.
    pub(crate) bystander: Option<SocketAddr>,
}

/// What is sent, and what is expected of a peer.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// What becomes of bytes that arrive, and what is sent unasked.
    pub(crate) mode: Mode,
    /// What every connection is sent first.
    pub(crate) banner: Option<Text>,
    /// With --websocket.
    pub(crate) websocket: Option<WebSocketConfig>,
    /// With --broadcast-on.
    pub(crate) broadcasts: Option<BroadcastConfig>,
    /// Whether every connection begins with a header of the PROXY protocol.
    pub(crate) proxy_protocol: bool,
    /// Time after which a peer that sends nothing is closed.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) handshake_timeout: Duration,
    /// Time after which a peer that takes nothing is closed.
    pub(crate) send_timeout: Duration,
}

/// Texts to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BroadcastConfig {
    /// Where they are ordered.
    pub(crate) place: Place,
    /// Whether they go without a head.
    pub(crate) is_raw: bool,
    pub(crate) topics: u16,
    pub(crate) slow_reader: SlowReader,
}

/// How connections speak WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebSocketConfig {
    /// The subprotocol that is agreed to.
    pub(crate) subprotocol: Option<String>,
    /// The banner, which is a text.
    pub(crate) banner: Option<Box<str>>,
    /// Time between two pings of a connection.
    pub(crate) ping_every: Option<Duration>,
}

/// Flags that contradict each other, with the fix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct FlagError(String);

impl Config {
    /// What `flags` mean together.
    ///
    /// # Errors
    /// When two of them contradict each other.
    pub(crate) fn new(flags: Flags) -> Result<Config, FlagError> {
        let Flags { places, traffic, tls, connections, outputs, bystander } = flags;
        let has_timeout = traffic.handshake_timeout.is_some();
        let traffic = Traffic::new(traffic)?;
        let shakes = tls.tls_cert.is_some()
            || tls.tls_self_signed
            || traffic.websocket.is_some()
            || traffic.proxy_protocol;
        if has_timeout && !shakes {
            let error = "--handshake-timeout without a handshake; fix: add --tls-cert, --websocket or \
                         --proxy-protocol";
            return Err(FlagError(error.to_owned()));
        }
        if connections.storm.iter().any(|storm| storm.drop.by == Way::Vanishing) {
            let error = "--storm by vanishing is of the client; fix: by fin or by reset";
            return Err(FlagError(error.to_owned()));
        }
        Ok(Config { places, traffic, tls, connections, outputs, bystander })
    }
}

impl Traffic {
    fn new(flags: TrafficFlags) -> Result<Traffic, FlagError> {
        let (mode, broadcasts) = (mode(&flags)?, broadcasts(&flags)?);
        let websocket = websocket(&flags, &mode)?;
        let TrafficFlags { banner, proxy_protocol, idle_timeout, send_timeout, .. } = flags;
        Ok(Traffic {
            mode,
            banner,
            websocket,
            broadcasts,
            proxy_protocol,
            idle_timeout,
            handshake_timeout: flags.handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT),
            send_timeout,
        })
    }
}

fn websocket(flags: &TrafficFlags, mode: &Mode) -> Result<Option<WebSocketConfig>, FlagError> {
    if !flags.websocket {
        let of_websocket = [
            ("--subprotocol is of an upgrade", flags.subprotocol.is_some()),
            ("--ping-every sends frames of WebSocket", flags.ping_every.is_some()),
        ];
        let given = of_websocket.into_iter().find(|(_, is_given)| *is_given);
        let error = |(what, _)| Err(FlagError(format!("{what}; fix: add --websocket")));
        return given.map_or(Ok(None), error);
    }
    if let Some(every) = flags.ping_every {
        if matches!(mode, Mode::Push(_)) {
            let error = "--ping-every and --mode push: a connection has one timer, which is that of the \
                         pushes; fix: leave out one of them";
            return Err(FlagError(error.to_owned()));
        }
        check_silence("--ping-every", every, flags.idle_timeout, "a ping")?;
    }
    let most = usize::from(BUFFER_BYTES - WEBSOCKET_HEAD_BYTES);
    for (flag, text) in [("--banner", &flags.banner), ("--push-text", &flags.push_text)] {
        if text.as_ref().is_some_and(|text| text.bytes().len() > most) {
            let error = format!("{flag} leaves no room for a frame; fix: {most} bytes at most");
            return Err(FlagError(error));
        }
    }
    let banner = flags.banner.as_ref().map(|text| str::from_utf8(text.bytes()).map(Box::from));
    let banner = banner.transpose().map_err(|_| {
        let error = "--banner is not UTF-8, which a text of WebSocket is; fix: another text";
        FlagError(error.to_owned())
    })?;
    let (subprotocol, ping_every) = (flags.subprotocol.clone(), flags.ping_every);
    Ok(Some(WebSocketConfig { subprotocol, banner, ping_every }))
}

/// Silence is looked at when something of the timer is due.
fn check_silence(
    flag: &str,
    every: Duration,
    idle_timeout: Option<Duration>,
    due: &str,
) -> Result<(), FlagError> {
    if idle_timeout.is_none_or(|idle| idle + every <= IDLE_TIMEOUT_MAX) {
        return Ok(());
    }
    Err(FlagError(format!(
        "--idle-timeout and {flag} are more than 1h together; fix: less of either, since silence is \
         looked at when {due} is due"
    )))
}

fn broadcasts(flags: &TrafficFlags) -> Result<Option<BroadcastConfig>, FlagError> {
    let Some(place) = flags.broadcast_on.clone() else { return Ok(None) };
    if flags.mode != flags::Mode::Push {
        let error = "--broadcast-on sends texts of its own accord; fix: add --mode push";
        return Err(FlagError(error.to_owned()));
    }
    let slow_reader = match flags.slow_reader {
        flags::SlowReader::Skip => SlowReader::Skip,
        flags::SlowReader::Close => SlowReader::Close,
    };
    let (is_raw, topics) = (flags.broadcast_raw, flags.topics.unwrap_or(1));
    Ok(Some(BroadcastConfig { place, is_raw, topics, slow_reader }))
}

/// The mode with what belongs to it.
fn mode(flags: &TrafficFlags) -> Result<Mode, FlagError> {
    let pushes = flags.mode == flags::Mode::Push;
    for (flag, is_given) in
        [("every", flags.push_every.is_some()), ("text", flags.push_text.is_some())]
    {
        if is_given && !pushes {
            let error = format!("--push-{flag} pushes nothing; fix: add --mode push");
            return Err(FlagError(error));
        }
    }
    let every = flags.push_every.unwrap_or(PUSH_EVERY);
    let is_ordered =
        flags.broadcast_on.is_some() && flags.push_every.is_none() && flags.push_text.is_none();
    if pushes && is_ordered {
        // Nothing is sent by a timer.
        return Ok(Mode::Sink);
    }
    if pushes {
        check_silence("--push-every", every, flags.idle_timeout, "a push")?;
    }
    Ok(match flags.mode {
        flags::Mode::Echo => Mode::Echo,
        flags::Mode::Sink => Mode::Sink,
        flags::Mode::Push => {
            Mode::Push(Push { every, text: flags.push_text.clone().unwrap_or_default() })
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use megaconn::base::constants::BACKLOG_DEFAULT;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn config(line: &str) -> Result<Config, FlagError> {
        let words = std::iter::once("serve").chain(line.split_whitespace());
        Config::new(Line::try_parse_from(words).expect("each flag is good by itself").flags)
    }

    fn mode_of(line: &str) -> String {
        format!("{:?}", config(line).expect("the flags go together").traffic.mode)
    }

    #[test]
    fn what_is_not_typed_has_its_default() {
        let Config { places, traffic, tls, connections, outputs, bystander } =
            config("").expect("no flag contradicts no flag");
        assert_eq!((places.listen, Ok(places.cores)), (vec![], "all".parse()));
        assert_eq!(places.take_over, None);
        assert_eq!(tls, TlsFlags::default());
        assert!(matches!(traffic.mode, Mode::Echo) && traffic.banner.is_none());
        assert!(traffic.websocket.is_none() && !traffic.proxy_protocol);
        let timeouts = (traffic.idle_timeout, traffic.send_timeout);
        assert_eq!(timeouts, (None, Duration::from_secs(30)));
        assert_eq!((connections.drain, connections.keepalive), (Duration::ZERO, None));
        assert_eq!((connections.max_connections, connections.memory_reserve), (None, None));
        assert_eq!((connections.steer, connections.backlog), (flags::Steer::Cpu, BACKLOG_DEFAULT));
        assert_eq!((outputs.stats, outputs.stats_every), (None, Duration::from_secs(1)));
        assert_eq!((outputs.metrics, bystander), (None, None));
    }

    #[test]
    fn a_mode_has_what_belongs_to_it() {
        let text = |text: &str| text.parse::<Text>().expect("a text");
        assert_eq!(mode_of("--mode sink"), "Sink");
        let push = |every, text| format!("{:?}", Mode::Push(Push { every, text }));
        assert_eq!(mode_of("--mode push"), push(PUSH_EVERY, Text::default()));
        assert_eq!(
            mode_of("--mode push --push-every 5s --push-text hi"),
            push(Duration::from_secs(5), text("hi"))
        );
        // Together they are exactly as long as may be.
        assert!(config("--mode push --idle-timeout 50m --push-every 10m").is_ok());
        // Without pushes an idle timeout has the whole hour.
        assert!(config("--mode sink --idle-timeout 1h").is_ok());
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for (line, expected) in [
            ("--push-every 1s", "--push-every pushes nothing; fix: add --mode push"),
            ("--mode sink --push-text hi", "--push-text pushes nothing; fix: add --mode push"),
            (
                "--mode push --idle-timeout 50m --push-every 11m",
                "--idle-timeout and --push-every are more than 1h together; fix: less of either, \
                 since silence is looked at when a push is due",
            ),
            (
                "--mode push --idle-timeout 1h",
                "--idle-timeout and --push-every are more than 1h together; fix: less of either, \
                 since silence is looked at when a push is due",
            ),
        ] {
            let error = config(line).expect_err(line);
            assert_eq!(error.to_string(), expected, "{line}");
        }
    }
}
