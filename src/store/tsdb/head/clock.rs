//! Clocks: the timestamps that all series of one source share within a window.
//!
//! A clock only grows. A series is a first tick and a count of ticks on its clock, minus its gaps; so a scrape of 500
//! series stores its timestamp once.

/// Ascending milliseconds since the start of the window.
#[derive(Debug, Default)]
pub struct Clock {
    pub ticks: Vec<u32>,
}

impl Clock {
    pub fn last(&self) -> Option<u32> {
        self.ticks.last().copied()
    }

    /// The tick at exactly this offset, looked for from tick `from` on.
    pub fn find(&self, from: usize, offset: u32) -> Option<usize> {
        let ticks = self.ticks.get(from..)?;
        ticks.binary_search(&offset).ok().map(|at| from + at)
    }
}

/// Which ticks of `first..first + ticks` a series has no sample at: ascending runs of ticks, relative to `first`.
pub type Gaps = Vec<(u32, u32)>;

/// Calls `visit(from, to)` for every unbroken stretch of `0..ticks` outside the gaps.
pub fn stretches(ticks: u32, gaps: &[(u32, u32)], mut visit: impl FnMut(u32, u32)) {
    let mut from = 0;
    for &(gap, length) in gaps {
        if gap > from {
            visit(from, gap.min(ticks));
        }
        from = gap.saturating_add(length);
    }
    if from < ticks {
        visit(from, ticks);
    }
}
