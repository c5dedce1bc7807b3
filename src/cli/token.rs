//! `observatory token new`.

use super::{arguments::NewToken, dispatch::Failure};
use crate::auth::{Digest, Scope, mint};

/// Prints a token, which is stored nowhere, and the lines that make it known.
pub fn new(arguments: &NewToken) -> Result<(), Failure> {
    let unknown = arguments.scopes.iter().find(|scope| Scope::parse(scope).is_none());
    if let Some(unknown) = unknown {
        return Err(Failure::wrong(format!("`{unknown}` is no scope; known: push, read, admin")));
    }
    let token = mint().map_err(|cause| Failure::failed(format!("the system gives no randomness: {cause}")))?;
    println!("token (shown once, keep it secret):\n\n  {token}\n");
    println!("lines for the config (observatory up --config observatory.yml):\n");
    println!("auth:\n  tokens:");
    println!("    - name: {}", serde_json::Value::from(arguments.name.as_str()));
    println!("      sha256: {}", Digest::of(&token));
    println!("      scopes: [{}]", arguments.scopes.join(", "));
    Ok(())
}
