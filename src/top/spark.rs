//! The last minutes as a line of bars.

use crate::base::constants::TOP_SPARK_TIME;
use crate::top::state::{Live, Moment};

/// From an eighth of the most to all of it.
const LEVELS: [(f64, char); 8] = [
    (1.0, '▁'),
    (2.0, '▂'),
    (3.0, '▃'),
    (4.0, '▄'),
    (5.0, '▅'),
    (6.0, '▆'),
    (7.0, '▇'),
    (8.0, '█'),
];

/// Bars of `room` characters at most, the newest at the right. Each is the most of its time; a blank is
/// nothing, or nothing known.
#[must_use]
pub fn bars(live: &Live, pick: fn(&Moment) -> Option<f64>, room: usize) -> String {
    let each = per_bar(live, room);
    let oldest = live.ticks - live.history.len() as u64;
    let mut heights: Vec<(u64, f64)> = Vec::new();
    for (tick, moment) in (oldest..).zip(&live.history) {
        // Bars begin at the same ticks in every frame, so that they do not dance.
        let (bar, amount) = (tick / each, pick(moment).unwrap_or(0.0));
        match heights.last_mut() {
            Some((last, most)) if *last == bar => *most = most.max(amount),
            _ => heights.push((bar, amount)),
        }
    }
    let shown = &heights[heights.len().saturating_sub(room)..];
    let most = shown.iter().fold(0.0_f64, |most, (_, amount)| most.max(*amount));
    let bar = |(_, amount): &(u64, f64)| {
        let level = LEVELS.iter().rev().find(|(level, _)| *amount * 8.0 >= most * (level - 0.5));
        let lowest = (*amount > 0.0).then_some(LEVELS[0].1);
        level.filter(|_| *amount > 0.0).map(|(_, bar)| *bar).or(lowest).unwrap_or(' ')
    };
    shown.iter().map(bar).collect()
}

/// Ticks that one bar stands for, so that all of them show the last minutes.
fn per_bar(live: &Live, room: usize) -> u64 {
    let ticks = TOP_SPARK_TIME.as_millis().div_ceil(live.every.as_millis().max(1));
    let each = ticks.div_ceil(room.max(1) as u128);
    u64::try_from(each).unwrap_or(u64::MAX).max(1)
}
