//! Between those that control a run and its controller: orders wait here until the controller looks, and
//! the state that it last told is read here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use megaconn::base::constants::{CONTROL_CHANGES_MAX, CONTROL_WAITING_MAX};
use megaconn::observe::control::listen::{self, Remote};
use megaconn::observe::control::place::Place;
use megaconn::observe::control::socket_file::SocketFile;
use megaconn::observe::control::{Change, Order, POSTS, SCHEMA, STATE, State, orders};
use megaconn::observe::http::serve;
use megaconn::observe::http::site::{Answer, Site};
use serde_json::json;

use crate::run::refusal::Refusal;
use crate::run::stage::Stage;

/// What a run is told, and tells, while it goes on.
#[derive(Clone)]
pub(crate) struct Control {
    shared: Arc<Mutex<Shared>>,
    place: Place,
    /// It goes with the run.
    _file: Option<Arc<SocketFile>>,
}

/// What can be told of a run, and what it can be told, beside the bounds in its state.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Why the number of connections cannot be set.
    pub(crate) fixed_connections: Option<&'static str>,
    /// Why the message rate cannot be set.
    pub(crate) fixed_messages: Option<&'static str>,
    /// Why connections cannot be asked for proof that they live.
    pub(crate) no_sweep: Option<&'static str>,
}

struct Shared {
    state: State,
    stage: Stage,
    bounds: Bounds,
    waiting: VecDeque<(u64, Order)>,
}

impl Control {
    /// Listens at `place`, and answers there until the process ends.
    pub(crate) fn offer(
        place: &Place,
        may_be_remote: bool,
        most: (u64, &str),
        bounds: Bounds,
    ) -> Result<Control, Refusal> {
        let remote = if may_be_remote { Remote::May } else { Remote::MayBy("--control-remote") };
        let listen::Control { listener, place, file } = listen::listen("--control", place, remote)?;
        let state = State {
            schema: SCHEMA.to_owned(),
            phase: "starting".to_owned(),
            most_connections: most.0,
            most_by: most.1.to_owned(),
            ..State::default()
        };
        let shared = Arc::new(Mutex::new(Shared {
            state,
            stage: Stage::Between,
            bounds,
            waiting: VecDeque::new(),
        }));
        let (told, taken) = (Arc::clone(&shared), Arc::clone(&shared));
        let site = Site {
            path: STATE,
            content_type: "application/json",
            text: move || serde_json::to_string(&lock(&told).state).unwrap_or_default() + "\n",
            posts: &POSTS,
            post: move |path: &str, body: &[u8]| match orders(path, body).expect("it is of POSTS") {
                Ok(orders) => lock(&taken).take(&orders),
                Err(why) => Answer::refused("400 Bad Request", &why),
            },
        };
        serve(vec![listener], site, "control").map_err(Refusal::NoThread)?;
        Ok(Control { shared, place, _file: file.map(Arc::new) })
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The first order that waits and `is_wanted`, with its number.
    pub(crate) fn take(&self, is_wanted: impl Fn(Order) -> bool) -> Option<(u64, Order)> {
        let waiting = &mut lock(&self.shared).waiting;
        let at = waiting.iter().position(|(_, order)| is_wanted(*order))?;
        waiting.remove(at)
    }

    /// An order took effect.
    pub(crate) fn has_effect(&self, number: u64, seconds: f64) {
        let mut shared = lock(&self.shared);
        let change = shared.state.changes.iter_mut().find(|change| change.number == number);
        if let Some(change) = change {
            change.at_seconds = Some(seconds);
        }
    }

    /// Tells where the run is, and its state, which `change` brings up to date.
    pub(crate) fn tell(&self, stage: Stage, change: impl FnOnce(&mut State)) {
        let mut shared = lock(&self.shared);
        shared.stage = stage;
        change(&mut shared.state);
    }

    /// Every change that was taken.
    pub(crate) fn changes(&self) -> Vec<Change> {
        lock(&self.shared).state.changes.clone()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Each change of it is whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Takes all of `orders`, or none.
    fn take(&mut self, orders: &[Order]) -> Answer {
        if let Some(why) = orders.iter().find_map(|order| self.why_not(*order)) {
            return Answer::refused("409 Conflict", &why);
        }
        let room = self.waiting.len() + orders.len() <= CONTROL_WAITING_MAX
            && self.state.changes.len() + orders.len() <= CONTROL_CHANGES_MAX;
        if !room {
            let why = "as many changes as a run takes; fix: wait, or fewer changes";
            return Answer::refused("503 Service Unavailable", why);
        }
        let mut numbers = Vec::new();
        for order in orders {
            let number = self.state.changes.len() as u64 + 1;
            let what = order.to_string();
            self.state.changes.push(Change { number, what, at_seconds: None });
            self.waiting.push_back((number, *order));
            numbers.push(number);
        }
        Answer { status: "202 Accepted", text: json!({ "changes": numbers }).to_string() + "\n" }
    }

    /// Why an order cannot be carried out.
    fn why_not(&self, order: Order) -> Option<String> {
        let State { most_connections, most_by, .. } = &self.state;
        if self.stage.is_end() {
            return Some("the run is ending; fix: start another one".to_owned());
        }
        let fixed = |why: Option<&str>| why.map(str::to_owned);
        match order {
            Order::Connections(count) => fixed(self.bounds.fixed_connections).or_else(|| {
                if *most_connections == 0 {
                    return Some(
                        "a run of --churn alone holds none; fix: --connections".to_owned(),
                    );
                }
                (count > *most_connections).then(|| {
                    format!(
                        "connections {count} is more than this run can hold, {most_connections} \
                         ({most_by}); fix: {most_connections} or less, or see megaconn doctor"
                    )
                })
            }),
            Order::MessageRate(_) => fixed(self.bounds.fixed_messages),
            Order::Sweep => fixed(self.bounds.no_sweep),
            Order::Rate(_) | Order::Pause | Order::Resume | Order::Stop => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        let state = State { most_connections: 1_000, most_by: "memory".into(), ..State::default() };
        let bounds =
            Bounds { fixed_connections: None, fixed_messages: None, no_sweep: Some("no answers") };
        Shared { state, stage: Stage::Plateau, bounds, waiting: VecDeque::new() }
    }

    #[test]
    fn orders_are_taken_whole_or_not_at_all() {
        let mut shared = shared();
        let two = [Order::Connections(1_000), Order::Rate(None)];
        let taken = Answer { status: "202 Accepted", text: "{\"changes\":[1,2]}\n".into() };
        assert_eq!(shared.take(&two), taken);
        let beyond = shared.take(&[Order::Rate(Some(1.0)), Order::Connections(1_001)]);
        assert_eq!(beyond.status, "409 Conflict");
        assert!(beyond.text.contains("1000 (memory); fix: "), "{}", beyond.text);
        assert_eq!(shared.take(&[Order::Sweep]).text, "{\"error\":\"no answers\"}\n");
        assert_eq!((shared.waiting.len(), shared.state.changes.len()), (2, 2));
    }

    #[test]
    fn what_waits_is_bounded_and_a_run_that_ends_takes_nothing() {
        let mut shared = shared();
        for _ in 0..CONTROL_WAITING_MAX {
            assert_eq!(shared.take(&[Order::Pause]).status, "202 Accepted");
        }
        assert_eq!(shared.take(&[Order::Pause]).status, "503 Service Unavailable");
        shared.stage = Stage::Ending;
        assert!(shared.take(&[Order::Stop]).text.contains("the run is ending"));
    }
}
