//! What could be in `std`: no domain word lives here.

pub mod bytes;
pub mod clock;
pub mod size;
pub mod vfs;
