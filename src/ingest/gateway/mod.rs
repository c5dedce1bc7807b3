//! The gateway keeps what each job pushed last, as a Pushgateway does, but durably and with history.
//!
//! 1. [`Grouping`] reads the grouping key from the path of a request.
//! 2. [`PushRequest`] carries the body; [`families`] turns it into [`group::Family`]s whose series bear the grouping
//!    labels.
//! 3. [`groups`] checks them against all other groups: one type for a family, one group for a series.
//! 4. [`apply`] writes one batch: a run for each value, the end of the runs that vanished, and the group's records of
//!    [`codec`] (`docs/formats/push-groups.md`); then it waits for the ticket.
//! 5. [`json`] shows the groups as `GET /api/v1/metrics` does.
//!
//! Invariant: pushes are applied one after the other, and the lock that makes them so is never held while waiting for
//! the disk.

mod apply;
mod codec;
mod families;
mod group;
mod grouping;
mod groups;
mod json;

#[cfg(test)]
mod tests;

pub use apply::{BodyFormat, PushRequest};
pub use grouping::{Grouping, GroupingError};

pub(super) use apply::Gateway;
