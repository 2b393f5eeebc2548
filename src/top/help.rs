//! What the columns and the keys of the live view mean: one screen.

use ratatui::text::Line;

use crate::top::form::shortened;

const HELP: &str = "\
A row is a core, or all of a side; each figure is of the time between two looks.

connections  open now; of a client, the held ones
new/s        accepted or connected, short connections among them
msg/s        messages received or verified, and pushes
B/s          bytes received and sent
p50< p99<    half of them, or 99 of 100, took less than this: of messages, else
             of short connections, connects, or pushes by how late they began;
             a wide window says of which
busy         time that the core's thread ran; at 100% the core is full
wait         time that it could have run, and others did
CPU          time that its CPU was busy, with whatever
queue        server: connections that wait for a buffer, or do not read
             client: connects, messages and closes without an answer yet
seg          segments: one ring and one table of sockets each
each         resident memory by connections; the kernel's is not in it

Of all of a side, busy, wait and CPU are the mean of its cores, the others sums.

s sort by core, connections, new/s, msg/s, busy, queue      p pause and go on
arrows, page up and down, home, end: more rows              q or Ctrl-C quit
--allow-control: + - connections by a tenth, ] [ messages twice or half, r pause";

/// The screen.
#[must_use]
pub fn lines(width: usize) -> Vec<Line<'static>> {
    HELP.lines().map(|line| Line::raw(shortened(line, width))).collect()
}
