//! The handle others hold.

use super::{
    IngestConfig, IngestStats, cache::SeriesCache, gateway::Gateway, metadata::MetadataTable,
    remote_write::ScratchPool, tokens::TokenSeries,
};
use crate::{
    model::Labels,
    stdx::clock::Clock,
    store::{SeriesId, Store, StoreError},
};
use std::sync::Arc;

/// The door for samples; cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    pub(super) shared: Arc<Shared>,
}

/// What all clones share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: IngestConfig,
    pub(super) stats: IngestStats,
    pub(super) metadata: Arc<MetadataTable>,
    pub(super) cache: SeriesCache,
    pub(super) tokens: TokenSeries,
    pub(super) scratch: ScratchPool,
    pub(super) gateway: Gateway,
}

impl Shared {
    /// The id of a label set for who came with `token`.
    pub(super) fn series_id(&self, token: Option<&str>, labels: &Labels) -> Result<SeriesId, StoreError> {
        self.tokens.resolve(&*self.store, self.clock.now_ms(), token, labels)
    }

    /// Counts samples of a new series that was refused.
    pub(super) fn count_refused_series(&self, error: &StoreError, samples: u64) {
        match error {
            StoreError::MemoryShort => &self.stats.refused_memory_short,
            _ => &self.stats.refused_series_limit,
        }
        .add(samples);
    }
}

impl Ingest {
    /// Opens the door to `store` and reads back its push groups; damaged ones are counted and left out.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, config: IngestConfig) -> Ingest {
        let stats = IngestStats::default();
        let metadata = Arc::new(MetadataTable::new(config.metadata_families_max));
        let gateway = Gateway::load(&*store, &metadata, &stats);
        let cache = SeriesCache::new(config.cached_series_max);
        let scratch = ScratchPool::default();
        let tokens = TokenSeries::new(config.series_per_token_max);
        Ingest { shared: Arc::new(Shared { store, clock, config, stats, metadata, cache, tokens, scratch, gateway }) }
    }

    /// What went through since the start.
    pub fn stats(&self) -> &IngestStats {
        &self.shared.stats
    }

    /// What is known of metric families.
    pub fn metadata(&self) -> &MetadataTable {
        &self.shared.metadata
    }

    /// The same, for those who outlive a borrow.
    pub fn shared_metadata(&self) -> Arc<MetadataTable> {
        self.shared.metadata.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::{BodyFormat, Grouping, PushRequest},
        stdx::clock::ManualClock,
        store::memory::Memory,
    };

    fn is_send<T: Send>(value: T) -> T {
        value
    }

    #[test]
    fn pushes_of_many_threads_are_all_kept() {
        let clock = Arc::new(ManualClock::new(1));
        let ingest = Ingest::new(Arc::new(Memory::new(clock.clone())), clock, IngestConfig::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let ingest = ingest.clone();
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    for round in 0..50 {
                        let grouping = Grouping::from_path(&format!("job/t{thread}/round/{round}")).unwrap();
                        let format = BodyFormat::Text;
                        let push = PushRequest { grouping: grouping.clone(), replace: true, body: b"a 1", format };
                        runtime.block_on(is_send(ingest.push(push))).unwrap();
                        runtime.block_on(is_send(ingest.remote_write(&[]))).unwrap();
                        if round % 2 == 1 {
                            runtime.block_on(is_send(ingest.delete(&grouping))).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(ingest.push_groups(), 100);
        assert_eq!(ingest.stats().pushes_ok.get(), 200);
    }
}
