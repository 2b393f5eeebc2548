//! The live view as text: what is known goes in, lines come out. Nothing is kept between two frames.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::base::side::Side;
use crate::base::units::grouped;
use crate::top::form::{below, bytes, count, none_or, part, rate, shortened};
use crate::top::help;
use crate::top::rows::{self, Row};
use crate::top::spark;
use crate::top::state::{Live, Moment, Sort, State};

/// From this width on there are more columns.
const WIDE: usize = 112;

/// And from this one on it is said what the queues are.
const VERY_WIDE: usize = 145;

/// Lines that the table has at least, as far as there are any.
const TABLE_LINES_LEAST: usize = 4;

/// Lines of host counters that are kept free, where the table is long.
const COUNTER_LINES_LEAST: usize = 4;

/// Draws one frame, in colours or without.
pub fn render(frame: &mut Frame<'_>, state: &State, has_colours: bool) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let screen = Screen { state, live: state.shown(), width, has_colours };
    let lines = if state.shows_help { help::lines(width) } else { screen.lines(height) };
    let body = Rect { height: area.height.saturating_sub(1), ..area };
    frame.render_widget(Paragraph::new(lines), body);
    let foot = Rect { y: area.bottom().saturating_sub(1), height: 1.min(area.height), ..area };
    frame.render_widget(Paragraph::new(screen.keys()), foot);
}

struct Screen<'a> {
    state: &'a State,
    live: &'a Live,
    width: usize,
    has_colours: bool,
}

impl Screen<'_> {
    /// Everything above the last line, which has the keys.
    fn lines(&self, height: usize) -> Vec<Line<'static>> {
        let height = height.saturating_sub(1);
        let mut lines = self.title();
        let columns = self.columns();
        lines.push(self.headings(&columns));
        let table = self.table(&columns);
        let run = self.state.steered.iter().flat_map(|run| run.lines(self.width));
        let below = [run.map(Line::raw).collect(), self.sides(), self.sparks()].concat();
        let counters = self.counters();

        // The table has what the rest leaves, and the rest what the table leaves.
        let left = height.saturating_sub(lines.len());
        let wanted = below.len() + counters.len().min(COUNTER_LINES_LEAST);
        let for_table = left.saturating_sub(wanted).max(TABLE_LINES_LEAST).min(left);
        lines.extend(self.scrolled(table, for_table));
        lines.extend(below);
        lines.extend(counters);
        lines.truncate(height);
        lines
    }

    fn title(&self) -> Vec<Line<'static>> {
        let every = self.live.every.as_secs_f64();
        let mut right = format!("by {}, every {every} s", self.state.sort.name());
        if self.state.is_paused() {
            right += "  PAUSED";
        }
        let targets = &self.live.targets;
        let mut left = "megaconn top".to_owned();
        if let [only] = targets.as_slice() {
            left += &format!("  {}", only.address);
        }
        let room = self.width.saturating_sub(left.chars().count());
        let mut title = vec![self.strong(format!("{left}{right:>room$}"))];
        if targets.len() > 1 {
            let named = targets.iter().enumerate().map(|(n, t)| format!("{} {}", n + 1, t.address));
            let named: Vec<String> = named.collect();
            title.push(Line::raw(shortened(&named.join("   "), self.width)));
        }
        title
    }

    // ---- the table --------------------------------------------------------------------------

    fn columns(&self) -> Vec<&'static Column> {
        let has_many = self.live.targets.len() > 1;
        let is_shown = |column: &&Column| match column.shown {
            Shown::Always => true,
            Shown::Wide => self.width >= WIDE,
            Shown::VeryWide => self.width >= VERY_WIDE,
            Shown::ManyTargets => has_many,
        };
        COLUMNS.iter().filter(is_shown).collect()
    }

    fn headings(&self, columns: &[&Column]) -> Line<'static> {
        let style = Style::new().add_modifier(Modifier::UNDERLINED);
        let cells = columns.iter().map(|column| {
            let is_sorted = column.sort == Some(self.state.sort);
            let style = if is_sorted { style.add_modifier(Modifier::BOLD) } else { style };
            Span::styled(column.padded(column.heading) + " ", style)
        });
        Line::from(cells.collect::<Vec<_>>())
    }

    /// Totals of each side, above its cores, then the addresses that do not answer.
    fn table(&self, columns: &[&Column]) -> Vec<Line<'static>> {
        let sorted = self.state.sorted();
        let text = |row: &Row| {
            let cells: Vec<String> =
                columns.iter().map(|column| column.padded(&(column.cell)(row))).collect();
            cells.join(" ")
        };
        let mut lines = Vec::new();
        for side in Side::BOTH {
            if let Some(total) = rows::total(side, &sorted) {
                lines.push(self.strong(text(&total)));
            }
            lines.extend(sorted.iter().filter(|r| r.side == side).map(|r| Line::raw(text(r))));
        }
        let targets = self.live.targets.iter().enumerate();
        lines.extend(targets.filter_map(|(number, target)| {
            let (since, why) = target.gone.as_ref()?;
            let seconds = self.live.now.saturating_sub(*since).as_secs();
            let what = match &target.seen {
                Some(seen) => {
                    let had = seen.view.figures.get("connections");
                    let had = had.map_or(String::new(), |n| format!(", had {}", grouped(*n)));
                    format!("{:<6} {} gone for {seconds} s{had}", seen.view.side.name(), number + 1)
                }
                None => format!("{:<6} {} not seen for {seconds} s", "?", number + 1),
            };
            let text = shortened(&format!("{what}: {why}"), self.width);
            Some(Line::styled(text, self.colour(Color::Red)))
        }));
        let waited_for = self.live.targets.iter().all(|t| t.seen.is_none() && t.gone.is_none());
        if waited_for {
            lines.push(Line::raw("waiting for the first look"));
        }
        lines
    }

    /// As many lines of the table as there is room for, from where it was scrolled to.
    fn scrolled(&self, table: Vec<Line<'static>>, room: usize) -> Vec<Line<'static>> {
        let all = table.len();
        if all <= room {
            return table;
        }
        let room = room.saturating_sub(1);
        let first = self.state.scroll.min(all - room);
        let mut lines: Vec<_> = table.into_iter().skip(first).take(room).collect();
        let text =
            format!("{} to {} of {all} rows, arrows for the others", first + 1, first + room);
        lines.push(Line::styled(text, Style::new().add_modifier(Modifier::DIM)));
        lines
    }

    // ---- below it ---------------------------------------------------------------------------

    /// What a side has as a whole: memory, files, what failed and what was lost.
    fn sides(&self) -> Vec<Line<'static>> {
        let mut lines = vec![Line::default()];
        for side in Side::BOTH {
            let views: Vec<_> = self.live.views(side).collect();
            if views.is_empty() {
                continue;
            }
            let sum = |name: &str| -> Option<u64> {
                views.iter().map(|view| view.figures.get(name).copied()).sum()
            };
            let resident = sum("process_resident_bytes");
            let each = resident.zip(sum("connections")).and_then(|(b, n)| b.checked_div(n));
            let each = each.map_or(String::new(), |each| format!(", {} each", bytes(each as f64)));
            let failed = listed(views.iter().flat_map(|view| &view.failed));
            let lost = listed(views.iter().flat_map(|view| &view.lost));
            let text = format!(
                "{:<6} memory {}{each}   files {}   failed {failed}   lost {lost}",
                side.name(),
                none_or(resident, |n| bytes(n as f64)),
                none_or(sum("process_open_files"), grouped),
            );
            lines.push(Line::raw(shortened(&text, self.width)));
        }
        lines
    }

    /// The last minutes, once any address has answered.
    fn sparks(&self) -> Vec<Line<'static>> {
        if self.live.targets.iter().all(|target| target.seen.is_none()) {
            return Vec::new();
        }
        let side = self.live.main_side().name();
        let last = self.live.history.back().copied().unwrap_or_default();
        let line = |name: &str, pick: fn(&Moment) -> Option<f64>, last: String| {
            let label = format!("{side} {name}");
            let room = self.width.saturating_sub(LABEL + NUMBER + 2);
            let bars = spark::bars(self.live, pick, room);
            Line::from(vec![
                Span::raw(format!("{label:<LABEL$} ")),
                Span::styled(format!("{bars:>room$}"), self.colour(Color::Cyan)),
                Span::raw(format!(" {last:>NUMBER$}")),
            ])
        };
        let connections = none_or(last.connections, grouped);
        vec![
            line("connections", |m| m.connections.map(|n| n as f64), connections),
            line("new/s", |m| m.new_per_s, none_or(last.new_per_s, rate)),
            line("msg/s", |m| m.messages_per_s, none_or(last.messages_per_s, rate)),
        ]
    }

    /// Counters of the hosts that rose, in as many columns as there is room for.
    fn counters(&self) -> Vec<Line<'static>> {
        let moved = self.live.moved();
        if moved.is_empty() {
            return Vec::new();
        }
        let heading = "host counters that rose, a second (! tells of something that went wrong)";
        let mut lines = vec![Line::default(), Line::raw(shortened(heading, self.width))];
        let columns = ((self.width + 1) / (COUNTER + 1)).max(1);
        for group in moved.chunks(columns) {
            let cell = |counter: &crate::top::state::Moved| {
                let mark = if counter.is_bad { '!' } else { ' ' };
                let name = shortened(&counter.name, COUNTER - 10);
                let text = format!("{mark} {name:<0$}{1:>8} ", COUNTER - 10, rate(counter.per_s));
                let colour = if counter.is_bad { Color::Yellow } else { Color::Reset };
                Span::styled(text, self.colour(colour))
            };
            lines.push(Line::from(group.iter().map(cell).collect::<Vec<_>>()));
        }
        lines
    }

    fn keys(&self) -> Line<'static> {
        let pause = if self.state.is_paused() { "p go on" } else { "p pause" };
        let keys = if self.state.shows_help {
            "? back   q back".to_owned()
        } else {
            // The way out first: a narrow window shows what comes first.
            format!("q quit   ? help   s sort   {pause}   arrows scroll")
        };
        Line::styled(keys, Style::new().add_modifier(Modifier::DIM))
    }

    fn strong(&self, text: String) -> Line<'static> {
        Line::styled(text, self.colour(Color::Green).add_modifier(Modifier::BOLD))
    }

    fn colour(&self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }
}

/// Width of a line's label, and of its number.
const LABEL: usize = 18;
const NUMBER: usize = 10;

/// Width of a counter of a host: its mark, its name, its rate.
const COUNTER: usize = 39;

/// Counts by name, the largest first, with their sum.
fn listed<'a>(counts: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    let mut counts: Vec<_> = counts.filter(|(_, n)| **n > 0).collect();
    counts.sort_by(|a, b| b.1.cmp(a.1));
    let sum = counts.iter().fold(0_u64, |sum, (_, n)| sum.saturating_add(**n));
    match counts.first() {
        Some((name, _)) => format!("{} ({name})", grouped(sum)),
        None => "0".to_owned(),
    }
}

/// When a column is shown.
enum Shown {
    Always,
    Wide,
    VeryWide,
    ManyTargets,
}

/// A column of the table.
struct Column {
    heading: &'static str,
    width: usize,
    is_left: bool,
    shown: Shown,
    sort: Option<Sort>,
    cell: fn(&Row) -> String,
}

impl Column {
    const fn new(heading: &'static str, width: usize, cell: fn(&Row) -> String) -> Column {
        Column { heading, width, is_left: false, shown: Shown::Always, sort: None, cell }
    }

    const fn left(self) -> Column {
        Column { is_left: true, ..self }
    }

    const fn wide(self) -> Column {
        Column { shown: Shown::Wide, ..self }
    }

    const fn by(self, sort: Sort) -> Column {
        Column { sort: Some(sort), ..self }
    }

    fn padded(&self, text: &str) -> String {
        let width = self.width;
        if self.is_left { format!("{text:<width$}") } else { format!("{text:>width$}") }
    }
}

const COLUMNS: [Column; 17] = [
    Column::new("side", 6, |row| row.side.name().to_owned()).left(),
    Column {
        shown: Shown::ManyTargets,
        ..Column::new("at", 2, |row| row.target.map_or(String::new(), |n| (n + 1).to_string()))
    },
    Column::new("core", 4, |row| row.core.map_or("all".into(), |(core, _)| core.to_string()))
        .by(Sort::Core),
    Column::new("cpu", 4, |row| row.core.map_or(String::new(), |(_, cpu)| cpu.to_string())).wide(),
    Column::new("connections", 11, |row| none_or(row.connections, grouped)).by(Sort::Connections),
    Column::new("new/s", 6, |row| none_or(row.new_per_s, rate)).by(Sort::New),
    Column::new("msg/s", 6, |row| none_or(row.messages_per_s, rate)).by(Sort::Messages),
    Column::new("B/s", 6, |row| none_or(row.bytes_per_s, rate)),
    Column::new("p50<", 6, |row| latency(row, 0.5)),
    Column::new("p99<", 6, |row| latency(row, 0.99)),
    Column::new("of", 7, |row| row.latency.as_ref().map_or(String::new(), |l| l.of.to_owned()))
        .left()
        .wide(),
    Column::new("busy", 5, |row| none_or(row.busy, part)).by(Sort::Busy),
    Column::new("wait", 5, |row| none_or(row.waited, part)).wide(),
    Column::new("CPU", 5, |row| none_or(row.cpu_busy, part)).wide(),
    Column::new("queue", 6, |row| count(row.queues.iter().map(|(_, n)| *n as f64).sum()))
        .by(Sort::Queue),
    Column::new("seg", 4, |row| none_or(row.segments, grouped)),
    Column {
        shown: Shown::VeryWide,
        ..Column::new("what waits", 34, |row| {
            let parts = row.queues.iter().filter(|(_, n)| *n > 0);
            let parts = parts.map(|(what, n)| format!("{} {what}", count(*n as f64)));
            parts.collect::<Vec<_>>().join(", ")
        })
        .left()
    },
];

fn latency(row: &Row, part: f64) -> String {
    row.latency.as_ref().and_then(|l| l.buckets.below_us(part)).map_or("-".into(), below)
}
