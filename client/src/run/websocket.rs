//! What `ws://` and its flags come to.

use std::collections::HashMap;
use std::net::SocketAddr;

use megaconn::base::constants::{BUFFER_BYTES, WEBSOCKET_HEAD_BYTES};
use megaconn::engine::protocol::script::Script;
use megaconn::engine::protocol::script::template::Template;
use megaconn::engine::protocol::websocket::frame::CONTROL_MAX;
use megaconn::engine::protocol::websocket::kinds::{Kinds, MessageKind};
use megaconn::engine::protocol::websocket::upgrade::Request;

use crate::run::flags::{self, Flags, TrafficFlags};

/// What connections that speak WebSocket ask for, and of which hosts.
#[derive(Clone, Debug)]
pub(crate) struct WebSocket {
    pub(crate) request: Request,
    /// Messages are pings.
    pub(crate) asks_by_ping: bool,
    pub(crate) kinds: Kinds,
    pub(crate) hosts: HashMap<SocketAddr, Box<str>>,
}

impl WebSocket {
    /// What the targets of `ws://` ask for, in `room` bytes at most; all of them are, or none is.
    pub(crate) fn of(
        flags: &Flags,
        hosts: HashMap<SocketAddr, Box<str>>,
        script: Option<&Script>,
        room: usize,
    ) -> Result<Option<WebSocket>, String> {
        let Some(path) = flags.targets.path() else {
            let error =
                "--target: some ask for another path, or for none; fix: one path in all of them";
            return Err(error.to_owned());
        };
        let TrafficFlags { header, subprotocol, ping_every, message_bytes, .. } = &flags.traffic;
        let Some(path) = path else {
            return if flags.traffic.message_kind.is_some() {
                Err("--message-kind is of WebSocket; fix: --target ws://HOST:PORT".to_owned())
            } else if header.is_empty() && subprotocol.is_none() && ping_every.is_none() {
                Ok(None)
            } else {
                let error = "--header, --subprotocol and --ping-every are of WebSocket; fix: --target ws://HOST:PORT";
                Err(error.to_owned())
            };
        };
        let most = match ping_every {
            Some(_) => CONTROL_MAX,
            None => BUFFER_BYTES - WEBSOCKET_HEAD_BYTES,
        };
        if *message_bytes > most {
            let error = format!(
                "--message-bytes {message_bytes} does not fit into a frame; fix: {most} at most"
            );
            return Err(error);
        }
        let headers = header.iter().map(|line| format!("{line}\r\n")).collect();
        let request = Request { path: path.to_owned(), headers, subprotocol: subprotocol.clone() };
        let longest = hosts.values().map(|host| request.size(host)).max().unwrap_or(0);
        if longest > room {
            let error =
                format!("an upgrade of {longest} bytes, {room} at most; fix: fewer --header");
            return Err(error);
        }
        let asks_by_ping = ping_every.is_some();
        let kinds = kinds(script, flags.traffic.message_kind, most)?;
        Ok(Some(WebSocket { request, asks_by_ping, kinds, hosts }))
    }
}

/// What the messages of a script go out as, `most` bytes each at most.
fn kinds(
    script: Option<&Script>,
    asked: Option<flags::MessageKind>,
    most: u16,
) -> Result<Kinds, String> {
    let kind = |flag: &str, template: Option<&Template>| {
        let Some(template) = template else { return Ok(MessageKind::default()) };
        if template.size() > usize::from(most) {
            return Err(format!("{flag} does not fit into a frame; fix: {most} bytes at most"));
        }
        match (template.is_text(), asked) {
            (false, Some(flags::MessageKind::Text)) => Err(format!(
                "{flag} is no UTF-8, as a text of WebSocket is; fix: --message-kind binary"
            )),
            (true, None | Some(flags::MessageKind::Text)) => Ok(MessageKind::Text),
            _ => Ok(MessageKind::Binary),
        }
    };
    let hello = script.and_then(|script| script.hello.as_ref());
    let message = script.and_then(|script| script.message.as_ref());
    let keepalive = script.and_then(|script| script.keepalive.as_ref());
    Ok(Kinds {
        hello: kind("--hello", hello)?,
        messages: kind("--message", message)?,
        keepalives: kind("--keepalive-message", keepalive.map(|keepalive| &keepalive.message))?,
    })
}
