//! What every request passes on its way in, from the outside in.
//!
//! 1. [`outer`]: a panic becomes an answer, answers are compressed, paths are cleaned, headers for browsers added,
//!    and what is left of a body is taken.
//! 2. [`prefix`]: where everything is below one path, that path is taken off.
//! 3. [`guard`]: for each row of the route table its methods, the origin of writes, and who is asking.
//! 4. [`manners`]: how often they may, and under which of our names.

pub mod guard;
pub mod manners;
pub mod outer;
pub mod prefix;
