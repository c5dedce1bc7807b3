//! What could be in `std`: no domain word lives here.

pub mod bytes;
pub mod cancel;
pub mod clock;
pub mod error;
pub mod hex;
pub mod new_file;
pub mod random;
pub mod secret_file;
pub mod size;
pub mod spelling;
pub mod throttle;
pub mod vfs;
