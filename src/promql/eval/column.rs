//! Columns: the values of one series over all steps of a query.

use crate::model::Histogram;
use std::sync::Arc;

/// One bit a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    pub fn new(len: usize) -> Bits {
        Bits { words: vec![0; len.div_ceil(64)], len }
    }

    /// All bits off; the memory stays.
    pub fn reset(&mut self, len: usize) {
        self.words.clear();
        self.words.resize(len.div_ceil(64), 0);
        self.len = len;
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn set(&mut self, at: usize) {
        self.words[at >> 6] |= 1 << (at & 63);
    }

    #[inline]
    pub fn clear(&mut self, at: usize) {
        self.words[at >> 6] &= !(1 << (at & 63));
    }

    #[inline]
    pub fn get(&self, at: usize) -> bool {
        self.words[at >> 6] >> (at & 63) & 1 == 1
    }

    pub fn set_all(&mut self) {
        self.words.fill(u64::MAX);
        self.trim();
    }

    /// Bits beyond the end are always off, so that words can be counted and compared.
    fn trim(&mut self) {
        if !self.len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (self.len & 63)) - 1;
        }
    }

    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_full(&self) -> bool {
        self.count() == self.len
    }

    pub fn any(&self) -> bool {
        self.words.iter().any(|word| *word != 0)
    }

    pub fn or(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    pub fn and(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    pub fn and_not(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    pub fn intersects(&self, other: &Bits) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    pub fn invert(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trim();
    }

    pub fn copy_from(&mut self, other: &Bits) {
        self.words.clear();
        self.words.extend_from_slice(&other.words);
        self.len = other.len;
    }

    /// The steps whose bit is on, rising.
    pub fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    index * 64 + bit
                })
            })
        })
    }

    /// Calls `dense` with ranges of steps that are all on and `sparse` with single ones, in order.
    #[inline]
    pub fn each_run<S>(
        &self,
        state: &mut S,
        mut dense: impl FnMut(&mut S, std::ops::Range<usize>),
        mut sparse: impl FnMut(&mut S, usize),
    ) {
        let mut index = 0;
        while index < self.words.len() {
            let first = index;
            while index < self.words.len() && self.words[index] == u64::MAX {
                index += 1;
            }
            if index > first {
                dense(state, first * 64..index * 64);
                continue;
            }
            let mut rest = self.words[index];
            while rest != 0 {
                sparse(state, index * 64 + rest.trailing_zeros() as usize);
                rest &= rest - 1;
            }
            index += 1;
        }
    }

    pub fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }
}

/// The values of one series: `values[i]` counts where `present` has bit `i`. Native histograms are rare, so they are
/// a list of steps, rising, never one that has a float.
#[derive(Debug, Clone, Default)]
pub struct Column {
    pub values: Vec<f64>,
    pub present: Bits,
    pub histograms: Vec<(u32, Arc<Histogram>)>,
}

impl Column {
    pub fn new(steps: usize) -> Column {
        Column { values: vec![0.0; steps], present: Bits::new(steps), histograms: Vec::new() }
    }

    /// No value at any step; what `values` holds is left as it is.
    pub fn reset(&mut self, steps: usize) {
        self.values.resize(steps, 0.0);
        self.present.reset(steps);
        self.histograms.clear();
    }

    pub fn steps(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.present.set(step);
    }

    /// Steps have to come in rising order.
    pub fn set_histogram(&mut self, step: usize, histogram: Arc<Histogram>) {
        self.histograms.push((step as u32, histogram));
    }

    #[inline]
    pub fn get(&self, step: usize) -> Option<f64> {
        self.present.get(step).then(|| self.values[step])
    }

    pub fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        if self.histograms.is_empty() {
            return None;
        }
        let at = self.histograms.binary_search_by_key(&(step as u32), |(s, _)| *s).ok()?;
        Some(&self.histograms[at].1)
    }

    pub fn has(&self, step: usize) -> bool {
        self.present.get(step) || self.histogram(step).is_some()
    }

    /// Steps with a float or a histogram, added to `bits`.
    pub fn presence_into(&self, bits: &mut Bits) {
        bits.or(&self.present);
        self.histograms.iter().for_each(|(step, _)| bits.set(*step as usize));
    }

    pub fn is_empty(&self) -> bool {
        self.histograms.is_empty() && !self.present.any()
    }

    pub fn samples(&self) -> usize {
        self.present.count() + self.histograms.len()
    }

    pub fn bytes(&self) -> usize {
        self.values.capacity() * 8 + self.present.bytes() + self.histograms.capacity() * 16
    }

    pub fn copy_from(&mut self, other: &Column) {
        self.values.clear();
        self.values.extend_from_slice(&other.values);
        self.present.copy_from(&other.present);
        self.histograms.clear();
        self.histograms.extend_from_slice(&other.histograms);
    }

    /// Keeps the steps whose bit is on in `mask`.
    pub fn keep(&mut self, mask: &Bits) {
        self.present.and(mask);
        self.histograms.retain(|(step, _)| mask.get(*step as usize));
    }

    /// Drops the steps whose bit is on in `mask`.
    pub fn drop_steps(&mut self, mask: &Bits) {
        self.present.and_not(mask);
        self.histograms.retain(|(step, _)| !mask.get(*step as usize));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_end_stay_off() {
        let mut bits = Bits::new(70);
        bits.set_all();
        assert_eq!((bits.count(), bits.is_full()), (70, true));
        bits.clear(69);
        bits.invert();
        assert_eq!(bits.ones().collect::<Vec<_>>(), [69]);
    }

    #[test]
    fn runs_cover_every_bit_once_and_in_order() {
        let mut bits = Bits::new(200);
        (64..192).for_each(|at| bits.set(at));
        bits.set(3);
        bits.set(195);
        let mut seen = Vec::new();
        bits.each_run(&mut seen, |seen, range| seen.extend(range), |seen, at| seen.push(at));
        assert_eq!(seen, bits.ones().collect::<Vec<_>>());
        assert_eq!(seen.len(), 130);
    }

    #[test]
    fn a_column_tells_floats_from_histograms() {
        let mut column = Column::new(3);
        column.set(0, 1.5);
        column.set_histogram(2, Arc::new(Histogram::default()));
        assert_eq!((column.get(0), column.get(1), column.has(2), column.samples()), (Some(1.5), None, true, 2));
        let mut mask = Bits::new(3);
        mask.set(2);
        column.drop_steps(&mask);
        assert_eq!((column.has(2), column.has(0)), (false, true));
    }
}
