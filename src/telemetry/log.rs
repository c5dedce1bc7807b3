//! The log: one line an event on standard error.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The filter that `OBSERVATORY_LOG` replaces, in the syntax of `tracing` (`info,beast_observatory::store=debug`).
const FILTER_DEFAULT: &str = "info";

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Starts the log with `filter` (the default where it is `None`). A filter that does not parse is an error, and so is
/// a second start.
pub fn start(format: Format, filter: Option<&str>) -> Result<(), String> {
    let text = filter.filter(|text| !text.is_empty()).unwrap_or(FILTER_DEFAULT);
    let filter = EnvFilter::try_new(text).map_err(|cause| {
        format!("OBSERVATORY_LOG `{text}` is no filter: {cause}; write for example `info` or `debug`")
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Text => {
            // Colour only where a person looks.
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(ansi)).try_init()
        }
        Format::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
    started.map_err(|cause| format!("the log was started before: {cause}"))
}
