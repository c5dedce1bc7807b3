//! The parser: text to tree, pure.
//!
//! 1. `lexer` cuts the text into the tokens of `token`; inside braces and brackets it knows fewer words.
//! 2. `grammar` climbs operator precedence over them; `selector` reads braces and modifiers, `duration` what
//!    stands in brackets and after `offset`, `literal` numbers and strings.
//! 3. `check` looks at the types of the finished tree.
//! 4. `print` and [`pretty()`] write a tree as text again.
//!
//! Errors say what Prometheus says, at the place Prometheus says it ([`ParseError`]).
//!
//! Invariant: no tree is deeper than [`DEPTH_MAX`], so whoever walks, prints or drops one may recurse.

mod check;
mod duration;
mod error;
mod grammar;
mod lexer;
mod literal;
mod pretty;
mod print;
mod selector;
#[cfg(test)]
mod tests;
mod token;

pub use error::ParseError;
pub use grammar::{DEPTH_MAX, ParseOptions, TEXT_BYTES_MAX, parse};
pub use literal::quote;
pub use pretty::pretty;
pub use selector::parse_selector;
