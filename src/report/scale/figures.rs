//! What a scaling run measures: each figure with its column, its axis, and what it would be if nothing
//! stood in the way of anything; and the runs of one kind together, with their spread.

use std::collections::BTreeMap;

use crate::base::format;
use crate::report::scale::csv::Row;
use crate::report::scale::law::Law;

/// A figure of a run.
pub(crate) struct Figure {
    /// In `scale.csv`.
    pub(crate) column: &'static str,
    pub(crate) name: &'static str,
    /// On an axis.
    pub(crate) unit: &'static str,
    /// How to read its charts; one without is in the table alone.
    pub(crate) caption: Option<&'static str>,
    pub(crate) text: fn(f64) -> String,
    /// With so many times the cores: as many times as much, the same, or nothing that is known.
    pub(crate) by_cores: Ideal,
    /// With more connections.
    pub(crate) by_connections: Ideal,
}

/// What a figure would be where nothing is lost to anything.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ideal {
    Times,
    Same,
    None,
}

/// All of them, in the order of the page.
pub(crate) const FIGURES: [Figure; 9] = [
    Figure {
        column: "connect_per_s",
        name: "Connect rate",
        unit: "connects/s",
        caption: Some("Connections a second, from the first connect to the last answer."),
        text: format::per_second,
        by_cores: Ideal::Times,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "messages_per_s",
        name: "Messages",
        unit: "messages/s",
        caption: Some(
            "Messages echoed and verified a second, each connection's next one when its last is \
             verified, 1,024 at once on each core of the client.",
        ),
        text: format::per_second,
        by_cores: Ideal::Times,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "server_cpu_us_per_message",
        name: "Server CPU for a message",
        unit: "us",
        caption: Some(
            "CPU time of the server's core threads, the kernel's work in them with it, for each \
             message. On loopback some of TCP's work for a receiver is done in its sender.",
        ),
        text: cpu_us,
        by_cores: Ideal::Same,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "client_cpu_us_per_message",
        name: "Client CPU for a message",
        unit: "us",
        caption: None,
        text: cpu_us,
        by_cores: Ideal::Same,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "p50_us",
        name: "Message latency p50",
        unit: "us",
        caption: None,
        text: format::microseconds,
        by_cores: Ideal::Same,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "p99_us",
        name: "Message latency p99",
        unit: "us",
        caption: Some(
            "From sending a message to having verified its echo, with 1,024 at once on each core: most \
             of it is the wait for the others. At full load it says how even the service is, not how \
             fast.",
        ),
        text: format::microseconds,
        by_cores: Ideal::Same,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "kernel_bytes_per_connection",
        name: "Kernel memory of a connection",
        unit: "bytes",
        caption: Some(
            "Growth of the kernel's memory while they were opened, divided by them; both sockets. What \
             others did meanwhile is in it, and weighs on small runs.",
        ),
        text: format::bytes,
        by_cores: Ideal::Same,
        by_connections: Ideal::None,
    },
    Figure {
        column: "server_bytes_per_connection",
        name: "Server's memory of a connection",
        unit: "bytes",
        caption: Some(
            "Growth of the server's resident memory, divided by the connections: what each core has \
             once, buffers first, is divided with it.",
        ),
        text: format::bytes,
        by_cores: Ideal::None,
        by_connections: Ideal::None,
    },
    Figure {
        column: "client_bytes_per_connection",
        name: "Client's memory of a connection",
        unit: "bytes",
        caption: None,
        text: format::bytes,
        by_cores: Ideal::None,
        by_connections: Ideal::None,
    },
];

fn cpu_us(us: f64) -> String {
    format!("{us:.2} us")
}

/// Runs of the same cores and connections.
pub(crate) struct Cell {
    pub(crate) connections: u32,
    pub(crate) is_shared: bool,
    pub(crate) cores: u32,
    pub(crate) runs: usize,
    /// In the order of [`FIGURES`]: of each run, the least first.
    pub(crate) figures: [Vec<f64>; FIGURES.len()],
}

impl Cell {
    /// Of a figure: least, median and most.
    pub(crate) fn spread(&self, figure: usize) -> Option<[f64; 3]> {
        let values = &self.figures[figure];
        let last = values.len().checked_sub(1)?;
        let median = f64::midpoint(values[last / 2], values[last.div_ceil(2)]);
        Some([values[0], median, values[last]])
    }
}

/// All runs by what they were of: connections first, those that share CPUs apart, then cores.
pub(crate) fn cells(rows: &[Row]) -> Vec<Cell> {
    let mut cells = BTreeMap::new();
    for row in rows {
        let key = (row.connections, row.is_shared, row.cores);
        let cell = cells.entry(key).or_insert_with(|| Cell {
            connections: row.connections,
            is_shared: row.is_shared,
            cores: row.cores,
            runs: 0,
            figures: Default::default(),
        });
        cell.runs += 1;
        cell.figures.iter_mut().zip(row.figures).for_each(|(all, figure)| all.extend(figure));
    }
    let sorted = |mut cell: Cell| {
        cell.figures.iter_mut().for_each(|values| values.sort_by(f64::total_cmp));
        cell
    };
    cells.into_values().map(sorted).collect()
}

/// The law through a rate of the runs with so many connections that share CPUs, or do not; or the
/// numbers of cores that there are of them.
pub(crate) fn law(
    cells: &[Cell],
    figure: usize,
    connections: u32,
    is_shared: bool,
) -> Result<Law, usize> {
    let of = || {
        let is_of =
            move |cell: &&Cell| (cell.connections, cell.is_shared) == (connections, is_shared);
        cells.iter().filter(is_of).filter(move |cell| !cell.figures[figure].is_empty())
    };
    let each = |cell: &Cell| {
        cell.figures[figure].iter().map(|x| (f64::from(cell.cores), *x)).collect::<Vec<_>>()
    };
    let points: Vec<(f64, f64)> = of().flat_map(each).collect();
    Law::fit(&points).ok_or(of().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cores: u32, connections: u32, repeat: u32, rate: Option<f64>) -> Row {
        let mut figures = [None; FIGURES.len()];
        figures[0] = rate;
        Row {
            cores,
            connections,
            repeat,
            is_shared: cores > 4,
            figures,
            established: None,
            lost: None,
            verdict: "met".into(),
            commit: String::new(),
        }
    }

    #[test]
    fn runs_of_one_kind_stand_together() {
        let rates = [Some(5.0), None, Some(1.0), Some(2.0), Some(4.0)];
        let rows: Vec<Row> =
            (1..).zip(rates).map(|(repeat, rate)| row(2, 1_000, repeat, rate)).collect();
        let cells = cells(&rows);
        assert_eq!((cells.len(), cells[0].runs), (1, 5));
        assert_eq!(cells[0].spread(0), Some([1.0, 3.0, 5.0]));
        assert_eq!(cells[0].spread(1), None);
    }

    #[test]
    fn runs_that_share_cores_are_no_part_of_the_law() {
        let rate = |cores: u32| f64::from(cores) / (1.0 + 0.1 * f64::from(cores - 1));
        let rows: Vec<Row> =
            [1, 2, 4, 8].map(|cores| row(cores, 1_000, 1, Some(rate(cores)))).to_vec();
        let found = law(&cells(&rows), 0, 1_000, false).unwrap();
        assert_eq!((found.counts, found.cores_most), (3, 4.0));
        assert_eq!(law(&cells(&rows), 0, 1_000, true).unwrap_err(), 1);
        assert_eq!(law(&cells(&rows), 0, 999, false).unwrap_err(), 0);
        assert_eq!(law(&cells(&rows), 1, 1_000, false).unwrap_err(), 0, "nothing was measured");
    }
}
