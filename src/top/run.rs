//! Runs the live view: a thread for each address looks, this one draws and reads keys. Whatever becomes
//! of it, the terminal is left as it was found.

use std::io::{self, IsTerminal, stdin, stdout};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::base::constants::TOP_KEYS_EVERY;
use crate::observe::control::place::Place;
use crate::observe::control::{self, ask};
use crate::observe::metrics::fetch;
use crate::observe::snapshot::Snapshot;
use crate::runtime::signals::{HangUp, Signals, Stop};
use crate::top::render::render;
use crate::top::state::{Key, State};
use crate::top::steer::{Lever, Steered};

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// Nothing to draw on, or to read keys from.
    #[error(
        "{0} is no terminal; fix: run it in one, or read http://ADDR:PORT/metrics, or dumps by \
         `megaconn stats`"
    )]
    NoTerminal(&'static str),
    /// The terminal does not do what it is asked to.
    #[error("the terminal: {0}; fix: another one, or another TERM")]
    Terminal(io::Error),
    /// Signals.
    #[error("signal handlers: {0}; fix: none known, please report it")]
    Signals(io::Error),
    /// The thread that asks a run.
    #[error("no thread for --allow-control: {0}; fix: a higher `ulimit -u`")]
    NoSteer(io::Error),
    /// One of the threads that look.
    #[error("no thread for {0}: {1}; fix: a higher `ulimit -u`, or sysctl kernel.threads-max")]
    NoThread(SocketAddr, io::Error),
}

/// What is shown, and how.
pub struct View<'a> {
    /// Metrics addresses of processes.
    pub addresses: &'a [SocketAddr],
    /// Time between two looks.
    pub every: Duration,
    /// Whether colours may be used.
    pub has_colours: bool,
    /// The run that keys may change.
    pub steered: Option<Place>,
}

/// Shows the processes behind `addresses`, with a look in each interval `every`, until the user quits
/// or a signal stops it.
///
/// # Errors
/// Without a terminal, or when it fails.
pub fn run(view: View<'_>) -> Result<Option<Stop>, TopError> {
    let View { addresses, every, has_colours, steered } = view;
    for (name, is_one) in [("stdin", stdin().is_terminal()), ("stdout", stdout().is_terminal())] {
        if !is_one {
            return Err(TopError::NoTerminal(name));
        }
    }
    let signals = Signals::install(HangUp::Stops).map_err(TopError::Signals)?;
    let began = Instant::now();
    let (tell, news) = mpsc::channel();
    for (number, address) in addresses.iter().copied().enumerate() {
        let tell = tell.clone();
        let look = move || look_again_and_again(number, address, every, &tell);
        let thread = thread::Builder::new().name("top".into()).spawn(look);
        thread.map_err(|error| TopError::NoThread(address, error))?;
    }
    let named = addresses.iter().map(|a| (a.to_string(), a.ip().to_string()));
    let mut state = State::new(&named.collect::<Vec<_>>(), every);
    let levers = steered.map(|place| steer(place, &mut state, every)).transpose()?;
    let mut screen = Screen::open().map_err(TopError::Terminal)?;
    let sources = Sources { signals, news, levers, began };
    show(&mut screen, &mut state, &sources, has_colours).map_err(TopError::Terminal)
}

/// What the view is told, and tells.
struct Sources {
    signals: Signals,
    news: Receiver<News>,
    levers: Option<Levers>,
    began: Instant,
}

/// Levers that are moved, and what the run says.
struct Levers {
    moved: Sender<(&'static str, String)>,
    heard: Receiver<Heard>,
}

/// The state of the run, or what became of a change: its words, and its numbers or why there are none.
enum Heard {
    State(Result<control::State, String>),
    Answer(String, Result<Vec<u64>, String>),
}

/// Begins to listen to the run at `place`, on a thread of its own.
fn steer(place: Place, state: &mut State, every: Duration) -> Result<Levers, TopError> {
    state.steered = Some(Steered::new(place.to_string()));
    let (moved, levers) = mpsc::channel::<(&str, String)>();
    let (tell, heard) = mpsc::channel();
    let listen = move || {
        loop {
            if tell.send(Heard::State(ask::state(&place))).is_err() {
                return;
            }
            let first = levers.recv_timeout(every);
            // Keys that came together are asked for before the next look.
            for (path, body) in first.into_iter().chain(levers.try_iter()) {
                let changes = ask::post(&place, path, &body);
                if tell.send(Heard::Answer(format!("{path} {body}"), changes)).is_err() {
                    return;
                }
            }
        }
    };
    let thread = thread::Builder::new().name("steer".into()).spawn(listen);
    thread.map(|_| Levers { moved, heard }).map_err(TopError::NoSteer)
}

/// One look at one address.
struct News {
    target: usize,
    at: Instant,
    seen: Result<Snapshot, String>,
}

/// Draws what there is until the user quits.
fn show(
    screen: &mut Screen,
    state: &mut State,
    sources: &Sources,
    has_colours: bool,
) -> io::Result<Option<Stop>> {
    let Sources { signals, news, levers, began } = sources;
    let began = *began;
    let every = state.shown().every;
    let (mut tick_at, mut is_new) = (began + every, true);
    loop {
        for News { target, at, seen } in news.try_iter() {
            state.looked(target, at - began, seen);
            is_new = true;
        }
        for heard in levers.iter().flat_map(|levers| levers.heard.try_iter()) {
            if let Some(run) = &mut state.steered {
                match heard {
                    Heard::State(state) => run.heard(state),
                    Heard::Answer(words, changes) => run.answered(words, changes),
                }
            }
            is_new = true;
        }
        if Instant::now() >= tick_at {
            tick_at = Instant::now() + every;
            state.tick(began.elapsed());
            is_new = true;
        }
        if is_new {
            screen.0.draw(|frame| render(frame, state, has_colours))?;
        }
        is_new = event::poll(TOP_KEYS_EVERY)?;
        if is_new && let Some(key) = key(&event::read()?) {
            if let (Key::Lever(lever), Some(levers), Some(run)) = (key, levers, &mut state.steered)
            {
                // A thread that has ended says nothing more, which the view shows.
                let _ = run.request(lever).map(|request| levers.moved.send(request));
            }
            if !state.press(key) {
                return Ok(None);
            }
        }
        if let Some(stop) = signals.stop() {
            return Ok(Some(stop));
        }
    }
}

/// What a person asks for by a key.
fn key(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Char('s') => Some(Key::Sort),
        KeyCode::Char('p' | ' ') => Some(Key::Pause),
        KeyCode::Char('+' | '=') => Some(Key::Lever(Lever::Raise)),
        KeyCode::Char('-') => Some(Key::Lever(Lever::Lower)),
        KeyCode::Char(']') => Some(Key::Lever(Lever::Faster)),
        KeyCode::Char('[') => Some(Key::Lever(Lever::Slower)),
        KeyCode::Char('r') => Some(Key::Lever(Lever::PauseRun)),
        KeyCode::Char('?' | 'h') => Some(Key::Help),
        KeyCode::Down | KeyCode::Char('j') => Some(Key::Down(1)),
        KeyCode::Up | KeyCode::Char('k') => Some(Key::Up(1)),
        KeyCode::PageDown => Some(Key::Down(PAGE)),
        KeyCode::PageUp => Some(Key::Up(PAGE)),
        KeyCode::Home => Some(Key::Up(usize::MAX)),
        KeyCode::End => Some(Key::Down(usize::MAX)),
        _ => None,
    }
}

/// Rows that page up and page down pass.
const PAGE: usize = 10;

/// Looks at an address in each interval `every`, until the receiver of `tell` is gone.
fn look_again_and_again(target: usize, address: SocketAddr, every: Duration, tell: &Sender<News>) {
    loop {
        let began = Instant::now();
        let seen = fetch::text(&fetch::Place::Address(address))
            .map_err(|error| error.to_string())
            .and_then(|text| {
                Snapshot::from_metrics(&text)
                    .map_err(|error| format!("no figures of ours: {error}"))
            });
        let news = News { target, at: Instant::now(), seen };
        if tell.send(news).is_err() {
            return;
        }
        thread::sleep(every.saturating_sub(began.elapsed()));
    }
}

/// The terminal while it is ours: raw, on its other screen, without a cursor. It is given back when
/// this is dropped, and, before anything is said, when something panics.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Screen> {
        // Its first step may have been taken when its second fails.
        ratatui::try_init().map(Screen).inspect_err(|_| give_back())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // Where the terminal is gone there is nothing to give back.
    let _ = ratatui::try_restore();
}

#[cfg(test)]
#[path = "../../tests/tmux/mod.rs"]
#[expect(dead_code, reason = "this file needs only a part of it")]
mod tmux;

#[cfg(test)]
mod tests {
    use super::*;

    /// Run by the test below, in a terminal.
    #[test]
    #[ignore = "panics in the midst of the live view; it needs a terminal of its own"]
    #[should_panic = "in the midst of it"]
    fn panics_in_the_midst_of_it() {
        let mut screen = Screen::open().expect("in the midst of it, without a terminal");
        let state = State::new(&[("127.0.0.1:9100".into(), "host".into())], TOP_KEYS_EVERY);
        screen.0.draw(|frame| render(frame, &state, true)).expect("it can be drawn on");
        // Long enough to be seen.
        std::thread::sleep(Duration::from_millis(500));
        panic!("in the midst of it");
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if !tmux::is_there() {
            return eprintln!("{}", tmux::MISSING);
        }
        let test = std::env::current_exe().expect("a test has a name");
        let name = "top::run::tests::panics_in_the_midst_of_it";
        let command = format!("{} --ignored --exact {name} --nocapture; cat", test.display());
        let mut tmux = tmux::Tmux::start(80, 24, &command);
        tmux.until("it draws", |screen| screen.starts_with("megaconn top"));
        tmux.until("it has ended", |screen| screen.contains("test result: ok"));
        assert!(tmux.screen().contains("in the midst of it"), "{}", tmux.screen());
        tmux.is_as_before();
    }
}
