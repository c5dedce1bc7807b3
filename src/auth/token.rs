//! Tokens as text, their digests, and what they are good for.

use crate::stdx::hex::hex;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// A secret somebody chose must be at least this long: SHA-256 is quick, so a short one could be guessed offline.
pub const TOKEN_BYTES_MIN: usize = 8;

/// Digits that name a token in logs and leak nothing of the secret after them.
const ID_DIGITS: usize = 8;
const SECRET_BYTES: usize = 32;

/// Makes a token `obs_<8 digits that name it>_<32 random bytes as base64url>`.
pub fn mint() -> Result<String, getrandom::Error> {
    let mut id = [0u8; ID_DIGITS / 2];
    let mut secret = [0u8; SECRET_BYTES];
    getrandom::fill(&mut id)?;
    getrandom::fill(&mut secret)?;
    Ok(format!("obs_{}_{}", hex(&id), URL_SAFE_NO_PAD.encode(secret)))
}

/// The SHA-256 of a token.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of the token's text.
    pub fn of(token: &str) -> Digest {
        Digest(Sha256::digest(token.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Digest> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
        }
        Some(Digest(bytes))
    }

    /// Compares without telling by the time taken where they differ.
    pub fn matches(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Not its digits: what is printed for debugging ends up in logs.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// One thing a token may be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Writing samples: pushes and remote write.
    Push,
    /// Asking: queries, labels, status.
    Read,
    /// Everything, the other scopes among it.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 3] = [Scope::Push, Scope::Read, Scope::Admin];

    /// As written in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Push => "push",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether something that needs `scope` is allowed; `admin` allows everything.
    pub fn allow(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8 | 1 << Scope::Admin as u8) != 0
    }

    /// The scopes as written, without those that follow from `admin`.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & (1 << *scope as u8) != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Scopes {
        Scopes(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_token_has_a_name_and_a_secret_and_is_never_the_same() {
        let token = mint().unwrap();
        let parts: Vec<&str> = token.splitn(3, '_').collect();
        assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("obs", 8, 43));
        assert_ne!(token, mint().unwrap());
    }

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Digest::of("abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(Digest::from_hex(&digest.to_string()).unwrap().matches(&digest));
        assert!(!Digest::of("abd").matches(&digest));
        for wrong in ["", "ba78", &"g".repeat(64), &"é".repeat(32)] {
            assert!(Digest::from_hex(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn admin_implies_every_scope_and_push_none_else() {
        let push: Scopes = [Scope::Push].into_iter().collect();
        assert!(push.allow(Scope::Push) && !push.allow(Scope::Read) && !push.allow(Scope::Admin));
        let admin: Scopes = [Scope::Admin].into_iter().collect();
        assert!(Scope::ALL.into_iter().all(|scope| admin.allow(scope)));
        assert!(!Scopes::default().allow(Scope::Read));
    }
}
