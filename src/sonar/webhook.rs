//! What SonarQube says when an analysis ends: signed, checked before it is read, and only a hint to look.

use crate::stdx::hex::hex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The block of SHA-256.
const BLOCK_BYTES: usize = 64;
/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "x-sonar-webhook-hmac-sha256";
/// A gate has some dozens of conditions.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// A secret is a line; SonarQube takes 200 characters.
pub const SECRET_BYTES_MIN: usize = 16;

/// What a webhook asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The history of this project is to be looked at.
    Project(String),
    /// Nothing is to be done, and why.
    Nothing(&'static str),
}

/// Whether `signature`, lower-case hexadecimal digits, is that of the raw body.
pub fn is_signed(secret: &[u8], body: &[u8], signature: &str) -> bool {
    self::signature(secret, body).as_bytes().ct_eq(signature.trim().as_bytes()).into()
}

/// As SonarQube sends it.
pub fn signature(secret: &[u8], body: &[u8]) -> String {
    hex(&hmac_sha256(secret, body))
}

/// RFC 2104.
fn hmac_sha256(secret: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; BLOCK_BYTES];
    match secret.len() > BLOCK_BYTES {
        true => block[..32].copy_from_slice(&Sha256::digest(secret)),
        false => block[..secret.len()].copy_from_slice(secret),
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

/// Reads a body whose signature is right. The error says what is wrong with it.
pub fn read(body: &[u8]) -> Result<Asked, String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        status: String,
        project: Project,
        branch: Option<Branch>,
    }
    #[derive(Deserialize)]
    struct Project {
        key: String,
    }
    #[derive(Deserialize)]
    struct Branch {
        #[serde(rename = "type", default)]
        kind: String,
    }
    let body: Body = serde_json::from_slice(body).map_err(|cause| format!("no webhook of SonarQube: {cause}"))?;
    if body.status != "SUCCESS" {
        return Ok(Asked::Nothing("the analysis failed"));
    }
    if body.branch.is_some_and(|branch| branch.kind == "PULL_REQUEST") {
        return Ok(Asked::Nothing("it is about a pull request"));
    }
    Ok(Asked::Project(body.project.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_signature_is_that_of_the_rfc() {
        assert_eq!(
            hex(&hmac_sha256(&[0x0b; 20], b"Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn good_bad_and_missing_signatures_are_told_apart_byte_by_byte() {
        let (secret, body) = (b"0123456789abcdef", b"{\"a\":1}\n");
        let signature = signature(secret, body);
        assert!(is_signed(secret, body, &signature));
        assert!(!is_signed(secret, b"{\"a\":1}", &signature), "the newline is part of the body");
        assert!(!is_signed(b"0123456789abcdeg", body, &signature));
        assert!(!is_signed(secret, body, ""));
        assert!(!is_signed(secret, body, &format!("sha256={signature}")));
        assert!(!is_signed(secret, body, &signature[1..]));
    }

    #[test]
    fn failed_tasks_and_pull_requests_ask_for_nothing() {
        let good = r#"{"serverUrl":"https://a","status":"SUCCESS","analysedAt":"2026-01-31T14:00:00+0000",
            "project":{"key":"org:a"},"branch":{"name":"main","type":"BRANCH","isMain":true}}"#;
        assert_eq!(read(good.as_bytes()), Ok(Asked::Project("org:a".to_owned())));
        let flipped = r#"{"status":"SUCCESS","project":{"key":"a"}}"#;
        assert_eq!(read(flipped.as_bytes()), Ok(Asked::Project("a".to_owned())));
        for (body, why) in [
            (r#"{"status":"FAILED","project":{"key":"a"}}"#, "failed"),
            (
                r#"{"status":"SUCCESS","project":{"key":"a"},"branch":{"name":"7","type":"PULL_REQUEST"}}"#,
                "pull request",
            ),
        ] {
            assert!(matches!(read(body.as_bytes()), Ok(Asked::Nothing(said)) if said.contains(why)), "{body}");
        }
        assert!(read(b"[]").is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>, secret: Vec<u8>) {
            let _ = read(&body);
            prop_assert!(!is_signed(&secret, &body, "0"));
        }
    }
}
