//! Random numbers for pauses that are to differ: nothing secret. Where the machine has no randomness, all are in the
//! middle, which is no harm.

/// Any number.
pub fn number() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX / 2)
}

/// Between 0 and 1.
pub fn part() -> f64 {
    number() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_between_nothing_and_everything() {
        assert!((0..1000).all(|_| (0.0..=1.0).contains(&part())));
    }
}
