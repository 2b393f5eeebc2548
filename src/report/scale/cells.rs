//! The runs of a scaling run that are of one kind, together: the spread of each figure, and the law
//! through a rate.

use std::collections::BTreeMap;

use crate::report::scale::csv::Row;
use crate::report::scale::figures::FIGURES;
use crate::report::scale::law::Law;

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

/// All runs by kind: by connections, then by whether both ends share CPUs, then by cores.
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

/// The law through a rate of the runs with `connections`, which all share CPUs or all do not; or how
/// many numbers of cores there are, when they are too few.
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
