//! Ways to find targets.

use super::config::Group;

/// Finds targets. Whoever learns of a change has the manager apply its config again, which touches nothing else.
pub trait Discovery: Send + Sync {
    /// The groups as known now.
    fn groups(&self) -> Vec<Group>;
}

/// Targets that are written down.
#[derive(Debug)]
pub struct Fixed<'a>(pub &'a [Group]);

impl Discovery for Fixed<'_> {
    fn groups(&self) -> Vec<Group> {
        self.0.to_vec()
    }
}
