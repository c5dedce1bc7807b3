//! Long work: imports, backfills, exports. Each is a job with an id, progress, cancel, and resume after a restart.
//!
//! 1. A room registers the kinds of work it can take up again ([`Jobs::register`]); interrupted jobs of that kind go on
//!    at once, from their last checkpoint.
//! 2. [`Jobs::start`] writes the job to the store and runs its work on a thread of its own.
//! 3. The work reports through its [`JobHandle`]: progress, a message, and checkpoints, which it may also put into the
//!    very batch that holds what they speak of; and it ends soon after [`JobHandle::is_cancelled`].
//! 4. [`Jobs::subscribe`] tells every change, for the page and the command line; the last hundred jobs stay listed.
//!
//! Invariant: a job that was started is never silently gone: after a crash it runs again or says `interrupted`.

mod compaction;
mod handle;
mod job;
mod manager;

pub use handle::JobHandle;
pub use job::{Job, JobId, JobState, Progress};
pub use manager::{Jobs, JobsError, Work, WorkError};
