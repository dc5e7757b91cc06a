//! A table that fits the width: what matters least goes first, and values are cut only where nothing can go.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between columns.
const GAP: usize = 2;

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) align: Align,
    /// The room that a growing table keeps for values that are still to come.
    pub(crate) usual: usize,
    /// No wider than so where there is no room for all.
    pub(crate) most: usize,
    /// Where there is still no room the lowest goes first; `None` never goes.
    pub(crate) worth: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Which columns are shown, and how wide.
#[derive(Debug)]
pub(crate) struct Table {
    columns: &'static [Column],
    shown: Vec<Shown>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    index: usize,
    width: usize,
}

impl Table {
    /// A table for these rows, each with a cell a column, in `limit` terminal columns. One that `grows` keeps
    /// room for usual values.
    pub(crate) fn fit(
        columns: &'static [Column],
        rows: &[Vec<String>],
        grows: bool,
        limit: Option<usize>,
    ) -> Self {
        let widest = |index: usize| rows.iter().map(|row| row[index].width()).max().unwrap_or(0);
        let wants = |(index, column): (usize, &Column)| {
            let usual = if grows { column.usual } else { 0 };
            Shown { index, width: column.name.width().max(widest(index)).max(usual) }
        };
        let shown: Vec<Shown> = columns.iter().enumerate().map(wants).collect();
        let mut table = Self { columns, shown, limit };
        if let Some(limit) = limit.filter(|limit| total(&table.shown) > *limit) {
            for shown in &mut table.shown {
                shown.width = shown.width.min(columns[shown.index].most);
            }
            let gone = table.take_away(limit);
            table.put_back(gone, limit);
        }
        table.squeeze();
        table
    }

    /// Takes the columns that matter least, until the others fit. Returns them in this order.
    fn take_away(&mut self, limit: usize) -> Vec<Shown> {
        let mut gone = Vec::new();
        while total(&self.shown) > limit {
            let worths = self.shown.iter().map(|shown| self.columns[shown.index].worth);
            let least = worths.enumerate().filter_map(|(at, worth)| Some((worth?, at))).min();
            let Some((_, at)) = least else { break };
            gone.push(self.shown.remove(at));
        }
        gone
    }

    /// A narrow one may still fit where a wide one, which mattered more, had to go.
    fn put_back(&mut self, gone: Vec<Shown>, limit: usize) {
        for column in gone.into_iter().rev() {
            if total(&self.shown) + GAP + column.width <= limit {
                let at = self.shown.partition_point(|shown| shown.index < column.index);
                self.shown.insert(at, column);
            }
        }
    }

    /// Takes from the last column, then the one before, what is still too much.
    fn squeeze(&mut self) {
        let Some(limit) = self.limit else { return };
        let mut over = total(&self.shown).saturating_sub(limit);
        for shown in self.shown.iter_mut().rev() {
            let take = over.min(shown.width.saturating_sub(1));
            shown.width -= take;
            over -= take;
        }
    }

    pub(crate) fn header(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| column.name.to_owned()).collect();
        self.row(&names, |_, name| name.to_owned())
    }

    /// A row. `paint` gets a column's name and the text in it, and returns what is shown as wide.
    pub(crate) fn row(&self, cells: &[String], paint: impl Fn(&str, &str) -> String) -> String {
        let mut row = String::new();
        let mut end = 0;
        for (place, shown) in self.shown.iter().enumerate() {
            let text = self.text(place, cells);
            if text.is_empty() {
                continue;
            }
            let gap = if end > 0 { GAP } else { 0 };
            let spaces = self.begin(place, &text).saturating_sub(end).max(gap);
            row.push_str(&" ".repeat(spaces));
            row.push_str(&paint(self.columns[shown.index].name, &text));
            end += spaces + text.width();
        }
        row
    }

    /// A cell's text, cut only where it would run into what stands beside it, or out of the table.
    fn text(&self, place: usize, cells: &[String]) -> String {
        let shown = self.shown[place];
        let text = &cells[shown.index];
        let Some(limit) = self.limit else { return text.clone() };
        if self.columns[shown.index].align == Align::Right {
            return cut(text, shown.width);
        }
        let cell = |place: usize| cells[self.shown[place].index].as_str();
        let next = (place + 1..self.shown.len()).find(|place| !cell(*place).is_empty());
        let end = match next {
            Some(next) => self.begin(next, cell(next)).saturating_sub(GAP),
            None => limit,
        };
        cut(text, end.saturating_sub(self.begin(place, text)))
    }

    /// Where a text begins, counted from the row's beginning.
    fn begin(&self, place: usize, text: &str) -> usize {
        let shown = self.shown[place];
        let before = if place > 0 { total(&self.shown[..place]) + GAP } else { 0 };
        match self.columns[shown.index].align {
            Align::Left => before,
            Align::Right => before + shown.width.saturating_sub(text.width()),
        }
    }
}

fn total(shown: &[Shown]) -> usize {
    let widths: usize = shown.iter().map(|shown| shown.width).sum();
    widths + GAP * shown.len().saturating_sub(1)
}

/// The text in at most `width` terminal columns, with … where something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1; // For the … itself.
    for letter in text.chars() {
        used += letter.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(letter);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { name: "NAME", align: Align::Left, usual: 8, most: usize::MAX, worth: None },
        Column { name: "N", align: Align::Right, usual: 4, most: usize::MAX, worth: Some(1) },
        Column { name: "WHY", align: Align::Left, usual: 3, most: usize::MAX, worth: Some(2) },
    ];

    fn shown(width: Option<usize>, grows: bool) -> Vec<String> {
        let rows = [["alpha", "7", ""], ["be", "123", "because"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let table = Table::fit(&COLUMNS, &rows, grows, width);
        let mut lines = vec![table.header()];
        lines.extend(rows.iter().map(|row| table.row(row, |_, text| text.to_owned())));
        lines
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let expected = ["NAME     N  WHY", "alpha    7", "be     123  because"];
        assert_eq!(shown(None, false), expected);
        assert_eq!(shown(Some(19), false), expected);
        assert_eq!(shown(None, true)[0], "NAME         N  WHY");
    }

    #[test]
    fn what_matters_least_goes_first_and_then_values_are_cut() {
        assert_eq!(shown(Some(18), false), ["NAME   WHY", "alpha", "be     because"]);
        // Without WHY there is room for N again.
        assert_eq!(shown(Some(13), false), ["NAME     N", "alpha    7", "be     123"]);
        assert_eq!(shown(Some(9), false), ["NAME", "alpha", "be"]);
        assert_eq!(shown(Some(4), false), ["NAME", "alp…", "be"]);
        assert_eq!(shown(Some(1), false), ["…", "…", "…"]);
    }

    #[test]
    fn a_long_value_is_cut_before_a_column_goes_and_only_then() {
        const CAPPED: [Column; 2] = [
            Column { name: "A", align: Align::Left, usual: 0, most: 5, worth: Some(2) },
            Column { name: "B", align: Align::Left, usual: 0, most: usize::MAX, worth: Some(1) },
        ];
        let rows = [["a long name", "b"].map(str::to_owned).to_vec()];
        let row = |limit| {
            let table = Table::fit(&CAPPED, &rows, /*grows*/ false, limit);
            table.row(&rows[0], |_, text| text.to_owned())
        };
        assert_eq!(row(None), "a long name  b");
        assert_eq!(row(Some(14)), "a long name  b");
        assert_eq!(row(Some(13)), "a lo…  b");
        assert_eq!(row(Some(8)), "a lo…  b");
        assert_eq!(row(Some(7)), "a long…");
    }

    #[test]
    fn a_value_that_came_later_takes_the_room_that_is_free_beside_it() {
        let first = [["alpha", "7", ""].map(str::to_owned).to_vec()];
        let shown = |limit: Option<usize>, cells: [&str; 3]| {
            let table = Table::fit(&COLUMNS, &first, /*grows*/ true, limit);
            table.row(&cells.map(str::to_owned), |_, text| text.to_owned())
        };
        assert_eq!(shown(Some(24), ["a long name", "", "why"]), "a long name     why");
        assert_eq!(shown(Some(24), ["a long name", "7", "why not"]), "a long name  7  why not");
        assert_eq!(shown(Some(24), ["a long name", "7777", "why"]), "a long …  7777  why");
        assert_eq!(shown(Some(24), ["a", "77777", "because of it"]), "a         777…  because…");
        assert_eq!(shown(None, ["a long name", "7777", "why"]), "a long name  7777  why");
    }

    #[test]
    fn wide_letters_count_twice() {
        assert_eq!(cut("模型模型", 5), "模型…");
        assert_eq!(cut("模型", 4), "模型");
        assert_eq!(cut("模型", 3), "模…");
    }
}
