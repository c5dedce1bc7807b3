//! What could be in `std`: no domain word lives here.

pub mod bytes;
pub mod clock;
pub mod new_file;
pub mod spelling;
pub mod throttle;
pub mod vfs;
