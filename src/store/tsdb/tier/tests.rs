//! Tiers built, read and damaged.
