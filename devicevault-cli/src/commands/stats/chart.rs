//! A small chart for the terminal: a bar for each step.

use devicevault_core::statistics::Amount;

use crate::ui::human;

/// Eighths of a block.
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
/// The longest bar.
const LONGEST: usize = 50;

/// A line for each step, from the first in which anything came.
pub(super) fn lines(steps: &[(&str, Amount)], width: usize) -> Vec<String> {
    let Some(first) = steps.iter().position(|(_, a)| a.copies > 0) else { return Vec::new() };
    let steps = steps.get(first..).unwrap_or_default();
    let most = steps.iter().map(|(_, a)| a.content_bytes).max().unwrap_or_default();
    // The day, the bar, the size and the number of copies.
    let room = width.saturating_sub(10 + 1 + 1 + 10 + 1 + 14).clamp(8, LONGEST);
    let line = |(begins, amount): &(&str, Amount)| {
        let bar = bar(amount.content_bytes, most, room);
        format!("{begins} {bar:room$} {:>10}  {} copies", human::size(amount.content_bytes), amount.copies)
    };
    steps.iter().map(line).collect()
}

/// A bar of at most so many cells; whatever is not nothing shows.
fn bar(value: u64, most: u64, cells: usize) -> String {
    if value == 0 {
        return String::new();
    }
    let eighths = u128::from(value) * cells as u128 * 8 / u128::from(most.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).clamp(1, cells * 8);
    let mut bar = "█".repeat(eighths / 8);
    if eighths % 8 > 0 {
        bar.extend(EIGHTHS.get(eighths % 8));
    }
    bar
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chart_begins_where_anything_came() {
        let of = |copies, content_bytes| Amount { copies, content_bytes };
        let steps = [("2026-11-19", of(0, 0)), ("2026-11-20", of(1, 1)), ("2026-11-21", of(3, 1000))];
        let lines = lines(&steps, 80);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("2026-11-20 ▏") && lines[1].contains("████"), "{lines:?}");
        assert!(super::lines(&steps[..1], 80).is_empty());
    }

    proptest! {
        #[test]
        fn no_bar_is_longer_than_its_room(value: u64, more: u64, cells in 1_usize..100) {
            let most = value.saturating_add(more);
            let bar = bar(value, most, cells);
            prop_assert!(bar.chars().count() <= cells);
            prop_assert_eq!(bar.is_empty(), value == 0);
        }
    }
}
