//! Files that hold one secret: a token or a password on a line.

use std::{fs::File, io::Read, path::Path};

/// A secret is a line.
const BYTES_MAX: u64 = 64 << 10;

/// The line of a file, without the space around it. The error says what is wrong with the file, and nothing of the secret.
pub fn read_line(path: &Path) -> Result<String, String> {
    let place = path.display();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|cause| format!("cannot read {place}: {cause}"))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("{place} is too long for a token"));
    }
    let line = text.trim();
    // An empty one would go out as a wrong one, and what has a line end within it fits into no header.
    if line.is_empty() || line.contains(char::is_control) {
        return Err(format!("{place} holds no token: one line is expected"));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_everything_else_is_told_without_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_line(&file)
        };
        assert_eq!(read(" hunter2 \r\n"), Ok("hunter2".to_owned()));
        let long = "hunter2".repeat(10_000);
        for (text, told) in [("", "no token"), (" \n", "no token"), ("hunter2\nb", "no token"), (&long, "too long")] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told) && !error.contains("hunter2"), "{error}");
        }
        let error = read_line(&directory.path().join("missing")).unwrap_err();
        assert!(error.contains("cannot read") && error.contains("missing"), "{error}");
    }
}
