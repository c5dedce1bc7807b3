//! Texts of strangers, fit for a terminal.

/// Without what would steer the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_replaced() {
        assert_eq!(plain("a\u{1b}[2Jb\nö"), "a\u{fffd}[2Jb\u{fffd}ö");
    }
}
