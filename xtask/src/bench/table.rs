//! The table of `cargo xtask bench`, as Markdown: medians, and for the kernels how many times native they are.

use super::Row;
use std::fmt::Write;

/// Kernels whose times are compared with native ones as a geometric mean: the line's name and the rows.
const MEANS: [(&str, &[&str]); 2] = [
    ("integer kernels, geometric mean", &["sieve", "crc", "heap-sort", "list-chase", "recursion"]),
    ("floating-point and SIMD kernels, geometric mean", &["matrix", "sse-double", "avx2-int"]),
];

struct Line {
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    digits: usize,
    cells: Vec<Cell>,
}

#[derive(Default)]
struct Cell {
    values: Vec<f64>,
    failed: bool,
}

impl Cell {
    fn median(&self) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| middle(&sorted))
    }
}

/// Rows by columns.
pub(super) struct Table {
    titles: Vec<String>,
    lines: Vec<Line>,
}

impl Table {
    pub(super) fn new(titles: Vec<String>) -> Self {
        Self { titles, lines: Vec::new() }
    }

    pub(super) fn row(&mut self, row: &Row) {
        let cells = self.titles.iter().map(|_| Cell::default()).collect();
        self.lines.push(Line { name: row.name, what: row.what, unit: row.unit, digits: row.digits, cells });
    }

    fn cell(&mut self, name: &str, column: usize) -> Option<&mut Cell> {
        self.lines.iter_mut().find(|line| line.name == name)?.cells.get_mut(column)
    }

    /// One measurement; of rows that were not asked for, nothing is kept.
    pub(super) fn add(&mut self, name: &str, column: usize, value: f64) {
        if let Some(cell) = self.cell(name, column) {
            cell.values.push(value);
        }
    }

    pub(super) fn fail(&mut self, name: &str, column: usize) {
        if let Some(cell) = self.cell(name, column) {
            cell.failed = true;
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.lines.iter().flat_map(|line| &line.cells).any(|cell| cell.failed)
    }

    fn value(&self, name: &str, column: usize) -> Option<f64> {
        self.lines.iter().find(|line| line.name == name)?.cells.get(column)?.median()
    }

    /// The geometric mean of the rows' values over those of the last column.
    fn mean(&self, rows: &[&str], column: usize) -> Option<f64> {
        let native = self.titles.len().checked_sub(1)?;
        let logs: Option<Vec<f64>> =
            rows.iter().map(|row| Some((self.value(row, column)? / self.value(row, native)?).ln())).collect();
        let logs = logs?;
        Some((logs.iter().sum::<f64>() / logs.len() as f64).exp())
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![vec!["work".to_owned(), "unit".to_owned()]];
        lines[0].extend(self.titles.iter().cloned());
        for line in &self.lines {
            let mut cells = vec![line.what.to_owned(), line.unit.to_owned()];
            cells.extend(line.cells.iter().map(|cell| match cell.median() {
                _ if cell.failed => "failed".to_owned(),
                Some(value) => format!("{value:.*}", line.digits),
                None => "-".to_owned(),
            }));
            lines.push(cells);
        }
        for (what, rows) in MEANS {
            let means: Vec<Option<f64>> = (0..self.titles.len()).map(|column| self.mean(rows, column)).collect();
            if means.iter().any(Option::is_some) {
                let mut cells = vec![what.to_owned(), "x native".to_owned()];
                cells.extend(means.iter().map(|mean| mean.map_or("-".to_owned(), |mean| format!("{mean:.2}"))));
                lines.push(cells);
            }
        }
        let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(String::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.titles.len() + 2).map(width).collect();
        let mut text = String::new();
        for (at, line) in lines.iter().enumerate() {
            let cells: Vec<String> = line
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(n, (cell, width))| if n < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
                .collect();
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {} |", cells.join(" | "));
            if at == 0 {
                let rules: Vec<String> = widths
                    .iter()
                    .enumerate()
                    .map(|(n, width)| if n < 2 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) })
                    .collect();
                let _ = writeln!(text, "| {} |", rules.join(" | "));
            }
        }
        text
    }
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted {
        [] => f64::NAN,
        _ if sorted.len() % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(middle(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(middle(&[1.0, 2.0]), 1.5);
    }

    #[test]
    fn a_table_with_a_mean_and_a_failure() {
        let mut table = Table::new(vec!["a".to_owned(), "native".to_owned()]);
        for name in ["matrix", "sse-double", "avx2-int"] {
            table.row(&Row { name, what: name, unit: "us", digits: 1 });
            table.add(name, 1, 2.0);
        }
        for (name, value) in
            [("matrix", 4.0), ("matrix", 5.0), ("matrix", 3.0), ("sse-double", 2.0), ("avx2-int", 16.0)]
        {
            table.add(name, 0, value);
        }
        assert!(!table.failed());
        let text = table.text();
        assert!(
            text.contains("| matrix                                          | us       |  4.0 |    2.0 |"),
            "{text}"
        );
        assert!(text.lines().last().unwrap().contains("| x native | 2.52 |   1.00 |"), "{text}");
        table.fail("matrix", 0);
        assert!(table.failed() && table.text().contains("failed"));
    }
}
