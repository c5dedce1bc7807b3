//! Two stores that must agree: every write goes to both, every answer is compared.

use super::{
    Appendable, Hints, Outcome, Queryable, SeriesId, SeriesSet, StateStore, StoreError, StoreStatus, Tree, WriteBatch,
};
use crate::model::{Labels, Matcher, Samples, TimeRange};
use parking_lot::Mutex;
use std::sync::Arc;

/// Answers with what `left` says, after checking that `right` says the same.
pub struct Mirror<A, B> {
    pub left: A,
    pub right: B,
    ids: Mutex<Vec<Labels>>,
}

impl<A: Appendable, B: Appendable> Mirror<A, B> {
    pub fn new(left: A, right: B) -> Mirror<A, B> {
        Mirror { left, right, ids: Mutex::default() }
    }

    /// Goes on with another left side, such as one that was closed and opened again.
    pub fn replace_left<C>(self, with: impl FnOnce(A) -> C) -> Mirror<C, B> {
        Mirror { left: with(self.left), right: self.right, ids: self.ids }
    }

    fn translate(&self, batch: &WriteBatch, id_of: impl Fn(&Labels) -> Result<SeriesId, StoreError>) -> WriteBatch {
        let ids = self.ids.lock();
        let id = |series: SeriesId| id_of(&ids[series.0 as usize]).unwrap();
        let mut batch = batch.clone();
        batch.series.iter_mut().for_each(|series| *series = id(*series));
        batch.histograms.iter_mut().for_each(|(series, _, _)| *series = id(*series));
        for change in &mut batch.runs {
            *change.series_mut() = id(change.series());
        }
        batch
    }
}

impl<A: Appendable, B: Appendable> Appendable for Mirror<A, B> {
    fn series_id(&self, labels: &Labels) -> Result<SeriesId, StoreError> {
        let mut ids = self.ids.lock();
        let known = ids.iter().position(|known| known == labels).unwrap_or_else(|| {
            ids.push(labels.clone());
            ids.len() - 1
        });
        Ok(SeriesId(known as u64))
    }

    fn append(&self, batch: &WriteBatch) -> Result<Outcome, StoreError> {
        let left = self.left.append(&self.translate(batch, |labels| self.left.series_id(labels)))?;
        let right = self.right.append(&self.translate(batch, |labels| self.right.series_id(labels)))?;
        assert_eq!(format!("{:?}", left.refused), format!("{:?}", right.refused), "of {batch:?}");
        Ok(left)
    }
}

/// Labels and samples of a whole set, without series that have none.
fn content(set: &dyn SeriesSet) -> Vec<(Labels, Samples)> {
    let read = |index| {
        let mut samples = Samples::default();
        set.read(index, &mut samples).unwrap();
        (set.labels(index).clone(), samples)
    };
    (0..set.len()).map(read).filter(|(_, samples)| !samples.is_empty()).collect()
}

impl<A: Queryable, B: Queryable> Queryable for Mirror<A, B> {
    fn select(&self, range: TimeRange, matchers: &[Matcher], hints: &Hints) -> Result<Arc<dyn SeriesSet>, StoreError> {
        let left = self.left.select(range, matchers, hints)?;
        let right = self.right.select(range, matchers, hints)?;
        // As text, because NaNs are equal there; bits are compared by the tests of the value column.
        assert_eq!(format!("{:?}", content(&*left)), format!("{:?}", content(&*right)), "{matchers:?} in {range:?}");
        Ok(left)
    }

    fn label_names(&self, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError> {
        let left = self.left.label_names(range, matchers)?;
        assert_eq!(left, self.right.label_names(range, matchers)?);
        Ok(left)
    }

    fn label_values(&self, name: &str, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError> {
        let left = self.left.label_values(name, range, matchers)?;
        assert_eq!(left, self.right.label_values(name, range, matchers)?);
        Ok(left)
    }

    fn status(&self, limit: usize) -> Result<StoreStatus, StoreError> {
        self.left.status(limit)
    }
}

impl<A: StateStore, B: StateStore> StateStore for Mirror<A, B> {
    fn state(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        let left = self.left.state(tree, key);
        assert_eq!(left, self.right.state(tree, key));
        left
    }

    fn state_scan(&self, tree: Tree, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let left = self.left.state_scan(tree, prefix);
        assert_eq!(left, self.right.state_scan(tree, prefix));
        left
    }
}
