//! A handshake: rustls, from the first byte until both ends have said Finished.
//!
//! rustls is given one record at a time, so that it takes nothing that comes behind the handshake. What does, a record
//! of data in the same packet, stays as it came and is opened by the session.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{
    AlertDescription, CommonState, Error, ExtractedSecrets, HandshakeKind, ProtocolVersion, Side,
};

use crate::base::constants::HANDSHAKE_HEAP_BYTES;
use crate::engine::protocol::tls::config::{ClientTls, ServerTls};
use crate::engine::protocol::tls::failure::{FIRST_BYTES_MAX, Failure, Reason};
use crate::engine::protocol::tls::record::RECORD_BYTES_MAX;
use crate::engine::protocol::tls::secrets::Session;
use crate::engine::protocol::tls::suite::{HEADER_BYTES, Suite};
use crate::engine::protocol::tls::traffic::{self, Secrets};

/// Bytes that a peer may send for a handshake. One with a chain of certificates of RSA has about 6,000.
pub const HANDSHAKE_BYTES_MAX: usize = 256 * 1024;

/// A handshake under way.
pub struct Handshake {
    end: End,
    /// What came and is not dealt with.
    incoming: Vec<u8>,
    /// Bytes of `incoming` that rustls has seen: whole records.
    shown: usize,
    /// Bytes that rustls has been shown in all.
    shown_total: usize,
    /// What is to be sent.
    outgoing: Vec<u8>,
    secrets: Secrets,
    progress: Result<Progress, Failure>,
}

/// How far a handshake is. Whatever it says, [`Handshake::outgoing`] may have bytes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for the peer.
    NeedMore,
    /// Both ends are done: [`Handshake::finish`].
    Done,
}

/// What a handshake has come to.
pub struct Finished {
    /// The keys.
    pub session: Session,
    /// Bytes that came behind the handshake: whole records and the beginning of one, not opened.
    pub rest: Vec<u8>,
    /// The last bytes to send, before any that the session seals.
    pub outgoing: Vec<u8>,
    /// The protocol that ALPN has chosen.
    pub protocol: Option<Vec<u8>>,
    /// Whether a ticket has made it short.
    pub is_resumed: bool,
    /// At a client that keeps tickets, what takes those that a server of TLS 1.3 sends. It is about 1 kB:
    /// drop it when the first one has come.
    pub tickets: Option<Tickets>,
}

/// Takes tickets of TLS 1.3 for later connections of the same config.
pub struct Tickets(Box<KernelConnection<ClientConnectionData>>);

enum End {
    /// A server that has not had its first record: it costs no more than what came of it.
    Awaiting(ServerTls),
    Server(Box<UnbufferedServerConnection>),
    Client {
        end: Box<UnbufferedClientConnection>,
        keeps_tickets: bool,
    },
}

/// What rustls says after a step.
enum Step {
    Again,
    Wait,
    Closed,
}

/// Bytes of a handshake under way: our record of it, and what rustls keeps.
pub const HANDSHAKE_BYTES: usize = size_of::<Handshake>() + HANDSHAKE_HEAP_BYTES;

impl Handshake {
    /// That of a server. It has nothing to say until a client does, and until then it is small.
    #[must_use]
    pub fn server(config: &ServerTls) -> Handshake {
        Handshake::new(End::Awaiting(config.clone()))
    }

    /// Bytes that came and are not dealt with.
    #[must_use]
    pub fn incoming_bytes(&self) -> usize {
        self.incoming.len()
    }

    /// Whether the first record has come whole, and rustls has the handshake.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        !matches!(self.end, End::Awaiting(_))
    }

    /// That of a client, which has its first bytes to send at once.
    ///
    /// # Errors
    /// When rustls has no random numbers.
    pub fn client(config: &ClientTls, name: &ServerName<'static>) -> Result<Handshake, Failure> {
        let ClientTls { config, keeps_tickets } = config.clone();
        let end = UnbufferedClientConnection::new(config, name.clone());
        let end = Box::new(end.map_err(Failure::of_ours)?);
        let mut handshake = Handshake::new(End::Client { end, keeps_tickets });
        handshake.progress = handshake.advance();
        handshake.progress.clone()?;
        Ok(handshake)
    }

    fn new(end: End) -> Handshake {
        Handshake {
            end,
            incoming: Vec::new(),
            shown: 0,
            shown_total: 0,
            outgoing: Vec::new(),
            secrets: [None, None],
            progress: Ok(Progress::NeedMore),
        }
    }

    /// Takes bytes of the peer, cut anywhere.
    ///
    /// # Errors
    /// Why the handshake has failed, again at every later call. An alert may be among the bytes to send.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, Failure> {
        if self.progress.is_ok() {
            self.incoming.extend_from_slice(bytes);
        }
        if self.progress == Ok(Progress::NeedMore) {
            self.progress = self.advance();
        }
        self.progress.clone()
    }

    /// Bytes to send.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// So many of them are sent.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn sent(&mut self, bytes: usize) {
        self.outgoing.drain(..bytes);
        free_if_empty(&mut self.outgoing);
    }

    /// What it means that the connection ends now.
    #[must_use]
    pub fn ended(&self) -> Failure {
        let bytes = self.shown_total + self.incoming.len() - self.shown;
        self.progress.clone().err().unwrap_or_else(|| Reason::Ended(bytes).into())
    }

    /// What is left when both ends are done.
    ///
    /// # Errors
    /// When rustls gives its secrets not away: a suite that this module does not know.
    ///
    /// # Panics
    /// Before [`Progress::Done`].
    pub fn finish(mut self) -> Result<Finished, Failure> {
        assert_eq!(self.progress, Ok(Progress::Done), "a handshake is finished before it is done");
        let common = self.end.common();
        let protocol = common.alpn_protocol().map(<[u8]>::to_owned);
        let is_resumed = common.handshake_kind() == Some(HandshakeKind::Resumed);
        let suite = common.negotiated_cipher_suite().and_then(|suite| Suite::of(suite.suite()));
        let suite =
            suite.ok_or_else(|| Failure::of_ours(Error::General("unknown suite".to_owned())))?;
        let (side, extracted, tickets) = self.end.extract().map_err(Failure::of_ours)?;
        let session = Session::new(suite, side, &extracted, self.secrets);
        self.incoming.drain(..self.shown);
        let Handshake { incoming: rest, outgoing, .. } = self;
        Ok(Finished { session, rest, outgoing, protocol, is_resumed, tickets })
    }

    fn advance(&mut self) -> Result<Progress, Failure> {
        if let End::Awaiting(config) = &self.end {
            let config = config.0.clone();
            let Some(bytes) = self.next_record()? else { return Ok(Progress::NeedMore) };
            let end = UnbufferedServerConnection::new(config).map_err(Failure::of_ours)?;
            self.end = End::Server(Box::new(end));
            self.shown += bytes;
        }
        loop {
            match self.step() {
                Ok(Step::Again) => {}
                Ok(Step::Closed) => return Err(self.ended()),
                Ok(Step::Wait) if !self.end.common().is_handshaking() => return Ok(Progress::Done),
                Ok(Step::Wait) => match self.next_record() {
                    Ok(Some(bytes)) => self.shown += bytes,
                    Ok(None) => return Ok(Progress::NeedMore),
                    Err(reason) => return Err(reason.into()),
                },
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    fn step(&mut self) -> Result<Step, Error> {
        let shown = &mut self.incoming[..self.shown];
        let (discard, step) = match &mut self.end {
            End::Awaiting(_) => unreachable!("rustls has it"),
            End::Server(end) => step(end.process_tls_records(shown), &mut self.outgoing),
            End::Client { end, .. } => step(end.process_tls_records(shown), &mut self.outgoing),
        };
        traffic::take(&mut self.secrets);
        self.incoming.drain(..discard);
        self.shown -= discard;
        free_if_empty(&mut self.incoming);
        step
    }

    /// The bytes of the next record, when they are all there.
    fn next_record(&mut self) -> Result<Option<usize>, Reason> {
        let next = &self.incoming[self.shown..];
        let is_first = self.shown_total == 0;
        let is_kind = |kind: &u8| match self.end {
            // An alert may be all that a server has to say.
            End::Client { .. } if is_first => matches!(kind, 21 | 22),
            End::Awaiting(_) => *kind == 22,
            _ => (20..=23).contains(kind),
        };
        if !next.first().is_none_or(is_kind) || next.get(1).is_some_and(|version| *version != 3) {
            return Err(if is_first {
                Reason::NotTls(next[..next.len().min(FIRST_BYTES_MAX)].to_owned())
            } else {
                Reason::Misbehaved("bytes that are no record".to_owned())
            });
        }
        let Some(header) = next.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let bytes = HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
        if bytes > RECORD_BYTES_MAX {
            return Err(Reason::Misbehaved("a record that is longer than TLS allows".to_owned()));
        }
        if bytes > next.len() {
            return Ok(None);
        }
        self.shown_total += bytes;
        if self.shown_total > HANDSHAKE_BYTES_MAX {
            return Err(Reason::TooLong(HANDSHAKE_BYTES_MAX));
        }
        Ok(Some(bytes))
    }

    /// What an error of rustls means. The alert that it has for the peer is encoded.
    fn fail(&mut self, error: Error) -> Failure {
        // With nothing to send rustls would go on to read what it has failed with.
        while self.end.common().wants_write() {
            if !matches!(self.step(), Ok(Step::Again)) {
                break;
            }
        }
        if error == Error::AlertReceived(AlertDescription::CloseNotify) {
            return self.ended();
        }
        let known = match &error {
            Error::InvalidCertificate(fault) => Some(AlertDescription::from(fault.clone())),
            Error::NoCertificatesPresented => Some(AlertDescription::CertificateRequired),
            Error::NoApplicationProtocol => Some(AlertDescription::NoApplicationProtocol),
            _ => None,
        };
        // An alert in plaintext: 21, version, length 2, level, number.
        let alert = match self.outgoing[..] {
            [] => None,
            [.., 21, 3, _, 0, 2, _, number] => Some(AlertDescription::from(number)),
            _ => known,
        };
        Failure { reason: error.into(), alert }
    }
}

impl End {
    fn common(&self) -> &CommonState {
        match self {
            End::Awaiting(_) => unreachable!("rustls has it"),
            End::Server(end) => end,
            End::Client { end, .. } => end,
        }
    }

    fn extract(self) -> Result<(Side, ExtractedSecrets, Option<Tickets>), Error> {
        match self {
            End::Awaiting(_) => unreachable!("rustls has it"),
            End::Server(end) => Ok((Side::Server, end.dangerous_into_kernel_connection()?.0, None)),
            End::Client { end, keeps_tickets } => {
                let (secrets, kernel) = end.dangerous_into_kernel_connection()?;
                let is_tls13 = kernel.protocol_version() == ProtocolVersion::TLSv1_3;
                let tickets = (keeps_tickets && is_tls13).then(|| Tickets(Box::new(kernel)));
                Ok((Side::Client, secrets, tickets))
            }
        }
    }
}

impl Tickets {
    /// Takes what [`Opened::Ticket`] names, and says how many tickets were in it.
    ///
    /// [`Opened::Ticket`]: crate::engine::protocol::tls::content::Opened::Ticket
    pub fn take(&mut self, mut messages: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(([4, high, middle, low], rest)) = messages.split_first_chunk() {
            let bytes = [high, middle, low].map(|byte| usize::from(*byte));
            let bytes = bytes[0] << 16 | bytes[1] << 8 | bytes[2];
            let Some((ticket, rest)) = rest.split_at_checked(bytes) else { break };
            taken += usize::from(self.0.handle_new_session_ticket(ticket).is_ok());
            messages = rest;
        }
        taken
    }
}

impl Failure {
    fn of_ours(error: Error) -> Failure {
        Reason::Ours(error.to_string()).into()
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Failure {
        Failure { reason, alert: None }
    }
}

/// What waits for a peer holds no memory that it does not need.
fn free_if_empty(bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        *bytes = Vec::new();
    }
}

/// Does what rustls asks for, and says how many bytes it has done with.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let wrong = |what: &str| Err(Error::General(what.to_owned()));
    let step = match status.state {
        Ok(ConnectionState::EncodeTlsData(record)) => {
            encode(record, outgoing);
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(sending)) => {
            sending.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Ok(Step::Wait),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
        Ok(_) => wrong("data amid the handshake"),
        Err(error) => Err(error),
    };
    (status.discard, step)
}

fn encode<Data>(mut record: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) {
    let start = outgoing.len();
    let room = match record.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        _ => unreachable!("a record has at least a header"),
    };
    outgoing.resize(start + room, 0);
    let written = record.encode(&mut outgoing[start..]).expect("it has the room that it needs");
    outgoing.truncate(start + written);
}
