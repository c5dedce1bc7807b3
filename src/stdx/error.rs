//! Errors with causes.

/// What happened at the bottom of it: the outermost of an HTTP client repeats the address, the innermost says what went
/// wrong.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
