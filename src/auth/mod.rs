//! Who may do what: tokens and scopes. Knows no HTTP: it is handed the text somebody presented.
//!
//! 1. [`mint`] makes a token; the config keeps its [`Digest`] or the file it stands in.
//! 2. A [`Keyring`] holds the known tokens and tells whose a presented one is, in constant time.
//! 3. [`Scopes`] say what a token may do: push, read, or everything.
//!
//! Invariant: a token's text is never kept, only its SHA-256. Tokens hold 256 random bits, so a slow password hash
//! would add nothing but a lever to keep the processor busy from outside.

mod keyring;
mod token;

pub use keyring::{Key, Keyring};
pub use token::{Digest, Scope, Scopes, TOKEN_BYTES_MIN, mint};
