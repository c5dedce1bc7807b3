//! Every tree, by the name it has on disk. `docs/formats/state.md` lists keys and values.

use crate::store::Tree;

/// All trees of small state.
pub const TREES: [Tree; 3] = [Tree::PushGroups, Tree::Jobs, Tree::Cursors];

/// What the store keeps about itself.
pub const META: &str = "meta";

/// Key in [`META`]: the log position that all trees reach to, a little-endian u64.
pub const META_POSITION: &[u8] = b"position";

/// The tree's name on disk. Never changed, never given to another tree.
pub const fn name(tree: Tree) -> &'static str {
    match tree {
        Tree::PushGroups => "push_groups",
        Tree::Jobs => "jobs",
        Tree::Cursors => "cursors",
    }
}
