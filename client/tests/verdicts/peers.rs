//! Foreign servers with rules of their own. A client that sees such a server is on its host: it sees
//! the kernel's counters and the accept queues, and no figures of the program.

use Is::{Met, Nothing, Refused, Unknown, Wall};

use crate::lab::foreign::{ECHO, End, Manner, Says, When, Whom};
use crate::lab::netns::Build;
use crate::row::{BLANK, How, Is, PLAY, Play, Row, Server, Step};

const fn row(
    name: &'static str,
    with: &'static [Is],
    without: &'static [Is],
    servers: &'static [Manner],
    run: &'static [&'static str],
) -> Row {
    let server = Server::Foreign(servers);
    Row { name, with, without, how: How::Play(Play { server, run, ..PLAY }), ..BLANK }
}

/// What shows at the client has one name with and without sight.
const fn seen(
    name: &'static str,
    is: &'static [Is],
    servers: &'static [Manner],
    run: &'static [&'static str],
) -> Row {
    row(name, is, is, servers, run)
}

const fn cheap(row: Row) -> Row {
    Row { is_cheap: true, ..row }
}

const fn ends(when: When, end: End) -> Manner {
    Manner { ends: Some((when, end)), ..ECHO }
}

const fn turns_away(whom: Whom, end: End) -> Manner {
    Manner { unwelcome: Some((whom, end)), ..ECHO }
}

const fn says(says: Says) -> Manner {
    Manner { says, ..ECHO }
}

/// Opened over a second, so that what depends on an age is told from a moment.
const SPREAD: &[&str] = &["--connections", "60", "--rate", "40", "--hold", "3s"];
const SPREAD_LONG: &[&str] =
    &["--connections", "60", "--rate", "30", "--message-count", "0", "--hold", "4s"];
const SHORT: &[&str] = &["--connections", "100", "--hold", "500ms"];
const FOUR_TARGETS: &[&str] = &["--connections", "200", "--hold", "1s"];
const BUSY: &[&str] =
    &["--connections", "60", "--rate", "40", "--message-every", "200ms", "--hold", "4s"];

const IDLE: &[Is] = &[Wall("idle-limit", "between")];
const AT_ONCE: &[Is] = &[Unknown("after their connect at the latest")];
const OTHER: &[Is] = &[Wall("other-protocol", "server")];
const NO_ANSWER: &[Is] = &[Unknown("no answer came")];
const GONE: &[Is] = &[Wall("server-gone", "server")];

const DEAF: Manner = says(Says::Nothing);

pub(crate) const ROWS: &[Row] = &[
    seen("idle for 1 s: FIN", IDLE, &[ends(When::Idle(1000), End::Fin)], SPREAD),
    seen("idle for 3 s: FIN", IDLE, &[ends(When::Idle(3000), End::Fin)], SPREAD_LONG),
    seen("idle for 1 s: RST", IDLE, &[ends(When::Idle(1000), End::Reset)], SPREAD),
    seen("2 s old: FIN", &[Wall("age-limit", "between")], &[ends(When::Age(2000), End::Fin)], BUSY),
    seen(
        "2 s old: RST",
        &[Wall("age-limit", "between")],
        &[ends(When::Age(2000), End::Reset)],
        BUSY,
    ),
    of_four_sources(seen(
        "25 of each source: RST",
        &[Wall("source-limit", "between")],
        &[turns_away(Whom::BeyondOfSource(25), End::Reset)],
        SOURCES,
    )),
    of_four_sources(seen(
        "25 of each source: FIN",
        &[Wall("source-limit", "between")],
        &[turns_away(Whom::BeyondOfSource(25), End::Fin)],
        SOURCES,
    )),
    of_four_sources(played_by_ours(
        seen(
            "25 of each source by our own server",
            &[Wall("source-limit", "between")],
            &[],
            SOURCES,
        ),
        &["--max-connections-per-source", "25"],
    )),
    seen("100 in all: RST", AT_ONCE, &[turns_away(Whom::Beyond(100), End::Reset)], OF_200),
    seen("100 in all: FIN", AT_ONCE, &[turns_away(Whom::Beyond(100), End::Fin)], OF_200),
    row(
        "30 accepted and no more",
        &[Wall("accept-stalled", "server")],
        NO_ANSWER,
        &[Manner { accepts: 31, ..ECHO }],
        SHORT,
    ),
    row(
        "one of two listeners accepts nothing",
        &[Wall("accept-stalled", "server")],
        NO_ANSWER,
        &[Manner { listeners: 2, ..ECHO }],
        SHORT,
    ),
    // Its queue overflows because it does not accept: both names are true.
    row(
        "nothing accepted, a queue of 4",
        &[Wall("accept-stalled", "server"), Wall("accept-queue", "server")],
        &[Wall("unanswered", "between"), Unknown("no answer came")],
        &[Manner { accepts: 1, backlog: 4, ..ECHO }],
        SHORT,
    ),
    seen(
        "one of four targets is silent",
        &[Unknown("all of the target")],
        &[ECHO, ECHO, DEAF, ECHO],
        FOUR_TARGETS,
    ),
    seen(
        "one of four targets resets",
        &[Unknown("all of the target")],
        &[ECHO, turns_away(Whom::All, End::Reset), ECHO, ECHO],
        FOUR_TARGETS,
    ),
    seen(
        "one of four targets accepts 5",
        &[Unknown("all of the target"), Wall("accept-stalled", "server")],
        &[ECHO, ECHO, ECHO, Manner { accepts: 6, ..ECHO }],
        FOUR_TARGETS,
    ),
    seen(
        "one of four targets speaks HTTP",
        OTHER,
        &[ECHO, ECHO, ECHO, says(Says::Text(b"HTTP/1.1 400 Bad Request\r\n\r\n"))],
        FOUR_TARGETS,
    ),
    cheap(seen(
        "one of four targets is slow",
        &[Nothing],
        &[ECHO, ECHO, ECHO, says(Says::EchoAfter(200))],
        FOUR_TARGETS,
    )),
    seen(
        "every 4th is reset",
        &[Unknown("every 4. of those")],
        &[turns_away(Whom::EveryNth(4), End::Reset)],
        // One core, in the order of opening.
        &["--cores", "0", "--connects-in-flight", "1", "--connections", "200", "--hold", "500ms"],
    ),
    seen(
        "FIN after three messages",
        &[Unknown("ended by the other side (FIN)")],
        &[ends(When::Messages(3), End::Fin)],
        BUSY,
    ),
    seen(
        "RST after three messages",
        &[Unknown("were reset (RST)")],
        &[ends(When::Messages(3), End::Reset)],
        BUSY,
    ),
    cheap(seen("garbage", OTHER, &[says(Says::Text(&[0, 255, 7, 9, 13]))], SHORT)),
    cheap(seen("HTTP", OTHER, &[says(Says::Text(b"HTTP/1.1 400 Bad\r\n\r\n"))], SHORT)),
    cheap(seen("a banner first", OTHER, &[says(Says::First(b"220 mail ESMTP\r\n"))], SHORT)),
    cheap(seen(
        "a TLS alert and an end",
        OTHER,
        &[Manner {
            says: Says::Text(&[21, 3, 1, 0, 2, 2, 22]),
            ..ends(When::Messages(1), End::Fin)
        }],
        SHORT,
    )),
    seen("one bit of the echo changed", OTHER, &[says(Says::EchoFlipped)], SHORT),
    seen(
        "a short answer and an end",
        OTHER,
        &[Manner { says: Says::Text(b"ERR\n"), ..ends(When::Messages(1), End::Fin) }],
        SHORT,
    ),
    seen("no answer at all", NO_ANSWER, &[DEAF], SHORT),
    seen(
        "an end in place of the echo",
        &[Unknown("ended by the other side (FIN)")],
        &[Manner { says: Says::Nothing, ..ends(When::Messages(1), End::Fin) }],
        SHORT,
    ),
    seen(
        "all stand still for 4 s",
        &[Met("server-stalled", "server")],
        &[says(Says::EchoBut(2000, 4000))],
        &["--connections", "50", "--message-every", "500ms", "--hold", "7s"],
    ),
    // A message waits for the echo of the one before it: not the client is slow.
    seen(
        "echoes after 0.5 s, messages every 100 ms",
        &[Unknown("late or not begun in time")],
        &[says(Says::EchoAfter(500))],
        &["--connections", "50", "--message-every", "100ms", "--hold", "4s"],
    ),
    cheap(seen("echoes in parts", &[Nothing], &[says(Says::EchoInBytes)], SHORT)),
    cheap(seen("echoes after 100 ms", &[Nothing], &[says(Says::EchoAfter(100))], BUSY_SHORT)),
    cheap(seen("a plain echo server", &[Nothing], &[ECHO], BUSY_SHORT)),
    during(seen("dies in the hold", GONE, &[ECHO], BUSY), &[(1000, Step::Die)]),
    during(
        seen("ends all at once, and is there", &[Unknown("within a second")], &[ECHO], BUSY),
        &[(1000, Step::EndAll)],
    ),
    // Refused before the run, or named by it.
    seen(
        "one of four targets is not there",
        &[Refused("refused: --target")],
        &[ECHO, ECHO, ECHO, Manner { listeners: 0, ..ECHO }],
        FOUR_TARGETS,
    ),
    proxy(
        "a proxy that takes 50",
        &[Wall("proxy-between", "between")],
        AT_ONCE,
        Manner { unwelcome: Some((Whom::Beyond(50), End::Reset)), ..PROXY },
        SHORT,
    ),
    proxy(
        "a proxy that ends what is idle for 1 s",
        IDLE,
        IDLE,
        Manner { ends: Some((When::Idle(1000), End::Fin)), ..PROXY },
        SPREAD,
    ),
    proxy(
        "a proxy with 50 ms each way",
        &[Nothing],
        &[Nothing],
        Manner { says: Says::Behind("10.77.0.1:7000", 50), ..ECHO },
        BUSY_SHORT,
    ),
];

const BUSY_SHORT: &[&str] = &["--connections", "100", "--message-every", "500ms", "--hold", "1s"];
const OF_200: &[&str] = &["--connections", "200", "--rate", "400", "--hold", "500ms"];
const SOURCES: &[&str] = &[
    "--source",
    "10.77.0.20-10.77.0.23",
    "--source-ports",
    "40000-40099",
    "--connections",
    "400",
    "--rate",
    "400",
    "--hold",
    "1s",
];

const PROXY: Manner = says(Says::Behind("10.77.0.1:7000", 0));

const fn proxy(
    name: &'static str,
    with: &'static [Is],
    without: &'static [Is],
    manner: Manner,
    run: &'static [&'static str],
) -> Row {
    let play = Play { build: Build::Router, server: Server::Proxy(manner), run, ..PLAY };
    Row { name, with, without, how: How::Play(play), ..BLANK }
}

const fn during(row: Row, then: &'static [(u64, Step)]) -> Row {
    let How::Play(play) = row.how else { return row };
    Row { how: How::Play(Play { then, ..play }), ..row }
}

/// Of our own server with these flags.
const fn played_by_ours(row: Row, serve: &'static [&'static str]) -> Row {
    let How::Play(play) = row.how else { return row };
    Row { how: How::Play(Play { server: Server::Ours(serve), ..play }), ..row }
}

const fn of_four_sources(row: Row) -> Row {
    let How::Play(play) = row.how else { return row };
    let before =
        &[Step::Client("for n in 20 21 22 23; do ip addr add 10.77.0.$n/24 dev link0; done")];
    Row { how: How::Play(Play { before, ..play }), ..row }
}
