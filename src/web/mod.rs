//! The page that people see: what is built from `web/`, embedded, and how browsers get it.
//!
//! 1. [`assets`] holds the files of `assets/ui`, each with its type, its fingerprint and a compressed form.
//! 2. [`serve`] answers a request that no route of the API wanted: a file, the page itself where an address is one of
//!    its own, or nothing.
//!
//! Invariant: the page is never given in place of a file, and it may run, load and show only what comes from here.

mod assets;
mod serve;

pub use serve::Site;
