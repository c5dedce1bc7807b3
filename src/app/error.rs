//! Why the process does not start.

/// The text is for the person at the terminal: what is wrong and what to do.
#[derive(Debug)]
pub enum StartError {
    /// It would be unsafe, or is asked for wrongly. Trying again changes nothing: exit code 2.
    Refused(String),
    /// The machine does not give what is needed: exit code 1.
    Failed(anyhow::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Refused(message) => f.write_str(message),
            // With all causes in one line.
            StartError::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> StartError {
        StartError::Failed(error)
    }
}
