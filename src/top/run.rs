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
use crate::observe::metrics::fetch;
use crate::observe::snapshot::Snapshot;
use crate::runtime::signals::{Signals, Stop};
use crate::top::render::render;
use crate::top::state::{Key, State};

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
    /// One of the threads that look.
    #[error("no thread for {0}: {1}; fix: a higher `ulimit -u`, or sysctl kernel.threads-max")]
    NoThread(SocketAddr, io::Error),
}

/// Shows the processes behind `addresses`, with a look in each interval `every`, until the user quits
/// or a signal stops it.
///
/// # Errors
/// Without a terminal, or when it fails.
pub fn run(
    addresses: &[SocketAddr],
    every: Duration,
    has_colours: bool,
) -> Result<Option<Stop>, TopError> {
    for (name, is_one) in [("stdin", stdin().is_terminal()), ("stdout", stdout().is_terminal())] {
        if !is_one {
            return Err(TopError::NoTerminal(name));
        }
    }
    let signals = Signals::install().map_err(TopError::Signals)?;
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
    let mut screen = Screen::open().map_err(TopError::Terminal)?;
    show(&mut screen, &mut state, &signals, &news, began, has_colours).map_err(TopError::Terminal)
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
    signals: &Signals,
    news: &Receiver<News>,
    began: Instant,
    has_colours: bool,
) -> io::Result<Option<Stop>> {
    let every = state.shown().every;
    let (mut tick_at, mut is_new) = (began + every, true);
    loop {
        for News { target, at, seen } in news.try_iter() {
            state.looked(target, at - began, seen);
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
        if is_new
            && let Some(key) = key(&event::read()?)
            && !state.press(key)
        {
            return Ok(None);
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
