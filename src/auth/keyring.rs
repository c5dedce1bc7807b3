//! The known tokens.

use super::{Digest, Scopes};

/// A known token.
#[derive(Debug, Clone)]
pub struct Key {
    /// For logs and error messages; unique.
    pub name: String,
    pub digest: Digest,
    pub scopes: Scopes,
}

/// All known tokens. An empty one means that nobody is asked for any.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    pub fn new(keys: Vec<Key>) -> Keyring {
        Keyring { keys }
    }

    /// Whether nobody needs a token.
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose token was presented; `None` where it is nobody's. Every key is compared whatever was found before, so
    /// the time taken tells nothing.
    pub fn find(&self, presented: &str) -> Option<&Key> {
        let digest = Digest::of(presented);
        let mut found = None;
        for key in &self.keys {
            if key.digest.matches(&digest) {
                found = Some(key);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Scope, *};

    #[test]
    fn a_token_finds_its_key_and_nothing_else_does() {
        let key = |name: &str, token: &str| Key {
            name: name.to_owned(),
            digest: Digest::of(token),
            scopes: [Scope::Push].into_iter().collect(),
        };
        let keyring = Keyring::new(vec![key("ci", "first-token"), key("grafana", "second-token")]);
        assert_eq!(keyring.find("second-token").map(|key| key.name.as_str()), Some("grafana"));
        for wrong in ["", "first-toke", "first-token ", "FIRST-TOKEN"] {
            assert!(keyring.find(wrong).is_none(), "{wrong:?}");
        }
        assert!(!keyring.is_open() && Keyring::default().is_open());
    }
}
