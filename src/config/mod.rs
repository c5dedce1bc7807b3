//! Configuration is two types: what was written, and what it means.
//!
//! 1. [`tree`] reads YAML and remembers the line of everything.
//! 2. [`check`] holds it against [`schema`], the table of all keys, Prometheus' among them: unknown keys are mistakes,
//!    known ones that do nothing yet are warnings.
//! 3. [`raw`] takes what we use; [`resolve()`] fills in defaults, types and judges it into a [`Config`], [`scrape`] its
//!    jobs, [`web`] where people find it, [`backup`] what is kept elsewhere, [`tiers`] what is kept when samples go,
//!    [`mailbox`] what waits, [`sonar`] whose code quality is followed.
//! 4. [`overrides`] puts the command line before the file, and tells what a reload cannot change.
//! 5. [`load()`] does all of that and gives back every mistake at once ([`problem`]); [`show`] prints what is in force,
//!    [`redact`] what was written.
//!
//! Invariant: secrets are read, hashed and dropped; nothing here prints one.

mod backup;
mod check;
mod load;
mod mailbox;
mod overrides;
mod policies;
mod problem;
mod raw;
mod redact;
mod resolve;
mod schema;
mod scrape;
mod show;
mod sonar;
mod tiers;
mod tree;
mod web;

pub use backup::Backup;
pub use check::parse_size;
pub use load::{Loaded, Refused, load, load_text};
pub use mailbox::MailboxConfig;
pub use overrides::{Overrides, restart_keys};
pub use policies::Policy;
pub use problem::{Problem, Problems};
pub use resolve::{Config, Feature, Hosts, Limits, Token, parse_listen, parse_retention};
pub use scrape::ScrapeJobs;
pub use tiers::Tier;
pub use web::{External, Web, parse_external_url, parse_route_prefix};
