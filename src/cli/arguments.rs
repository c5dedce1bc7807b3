//! What may be written on the command line.

use crate::telemetry::{build, log};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Metrics, pushes and PromQL for a team with one host, in one process.
///
/// `observatory up` is all it takes: it listens on 127.0.0.1:9090, keeps its data in ./observatory-data, takes pushes
/// as a Pushgateway, remote writes as a Prometheus, and answers Grafana.
#[derive(Debug, Parser)]
#[command(name = "observatory", version = build::VERSION_AND_COMMIT, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server until Ctrl-C or SIGTERM.
    Up(Up),
    /// Check a config file, or show the config in force.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make tokens for those who push and read.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Ask a question in PromQL.
    Query(Query),
    /// Show what is stored where, what goes next and what is damaged; or merge blocks now.
    Storage(Storage),
    /// Delete series, or a time range of them, for good.
    Delete(Delete),
    /// Sync the history of code quality from SonarQube now, or show how its syncs stand.
    #[command(subcommand)]
    Sonar(SonarCommand),
    /// Write everything into one file, while the server runs.
    Backup(Backup),
    /// Make a data directory of a backup, or check one.
    Restore(Restore),
    /// Look into the mailbox: what waits, and what could not be handled.
    Mailbox(Mailbox),
}

/// Data, push groups, jobs, and the config without its secrets. Token files are not in it: keep those yourself.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write; nothing may have the name yet.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub place: StorePlace,
}

/// Where the store is.
#[derive(Debug, Args)]
pub struct StorePlace {
    #[command(flatten)]
    pub server: ServerPlace,
    /// In place of a server, the data directory itself, which no server may have open.
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// The series, such as '{job="demo"}' or 'up{instance=~"old-.*"}'; each of several is deleted.
    #[arg(value_name = "SELECTOR", required = true)]
    pub selectors: Vec<String>,
    /// From when on: Unix seconds or RFC 3339. [default: everything]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// Until when, inclusive. [default: until now; a push group that is kept goes on behind it]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Only say what would go.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub place: StorePlace,
}

#[derive(Debug, Args)]
pub struct Mailbox {
    #[command(subcommand)]
    pub command: Option<MailboxCommand>,
    #[command(flatten)]
    pub place: ServerPlace,
}

#[derive(Debug, Subcommand)]
pub enum MailboxCommand {
    /// How much waits, and what became of the last messages; what is done without a subcommand.
    List,
    /// The messages that could not be handled, and why.
    Dead,
    /// One of those, with its payload.
    Show {
        /// As `dead` lists it.
        #[arg(value_name = "LETTER")]
        letter: String,
    },
    /// Have dead letters handled again.
    Replay(WhichLetter),
    /// Let go of dead letters.
    Drop(WhichLetter),
    /// Put a message in.
    Send(SendMessage),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct WhichLetter {
    /// As `dead` lists it.
    #[arg(value_name = "LETTER")]
    pub letter: Option<String>,
    /// All of them.
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct SendMessage {
    /// Who handles it, such as METRICS_UPDATE.
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// The payload; - reads it from standard input.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub json: String,
    /// A message with an id that was handled is not handled again. [default: a random one]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// The agent whose mailbox it goes to, over Redis. [default: this server's own]
    #[arg(long, value_name = "AGENT")]
    pub recipient: Option<String>,
    /// Who sends it. [default: observatory-api]
    #[arg(long, value_name = "NAME")]
    pub sender: Option<String>,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The directory to make: it must be missing or empty.
    #[arg(long, value_name = "DIRECTORY", required_unless_present = "verify", conflicts_with = "verify")]
    pub data_dir: Option<PathBuf>,
    /// Only check that every byte is what was backed up.
    #[arg(long)]
    pub verify: bool,
}

#[derive(Debug, Args)]
pub struct Query {
    /// The expression, such as 'sum by (job) (up)'.
    #[arg(value_name = "EXPRESSION")]
    pub expression: String,
    #[command(flatten)]
    pub place: StorePlace,
    /// When to evaluate, or where the range ends: Unix seconds or RFC 3339. [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub time: Option<String>,
    /// Evaluate over this long before the time, such as 6h.
    #[arg(long, value_name = "DURATION")]
    pub range: Option<String>,
    /// Between evaluations of a range, such as 1m. [default: a 250th of the range]
    #[arg(long, value_name = "DURATION", requires = "range")]
    pub step: Option<String>,
    /// How the answer is written. [default: table]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub format: Option<QueryFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueryFormat {
    /// Aligned columns.
    Table,
    /// As the HTTP API answers.
    Json,
    /// One line a point, a column for each label.
    Csv,
    /// Drawn in the terminal.
    Chart,
}

#[derive(Debug, Args)]
pub struct Up {
    /// Address and port to listen on; :9090 is every address of this machine. [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS:PORT", env = "OBSERVATORY_LISTEN")]
    pub listen: Option<String>,
    /// Directory for the data; created where it is missing. [default: ./observatory-data]
    #[arg(long, value_name = "DIRECTORY", env = "OBSERVATORY_DATA")]
    pub data: Option<PathBuf>,
    /// Config file: observatory.yml, or a prometheus.yml as it is. Nothing needs one.
    #[arg(long, value_name = "FILE", env = "OBSERVATORY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address that people use where a proxy is in front, such as https://example.com/observatory. Its path is also
    /// where everything is on our own port, unless --web.route-prefix says otherwise.
    #[arg(long = "web.external-url", value_name = "URL", env = "OBSERVATORY_EXTERNAL_URL")]
    pub external_url: Option<String>,
    /// Path below which everything is on our own port; / for a proxy that cuts the path off. [default: the path of
    /// --web.external-url]
    #[arg(long = "web.route-prefix", value_name = "PATH", env = "OBSERVATORY_ROUTE_PREFIX")]
    pub route_prefix: Option<String>,
    /// Keep samples so long, as in Prometheus; goes before `storage.retention` of the config. [default: 30d]
    #[arg(long = "storage.tsdb.retention.time", value_name = "DURATION")]
    pub retention_time: Option<String>,
    /// Keep blocks and log within so many bytes, as in Prometheus; goes before `storage.max_bytes`. [default: no limit]
    #[arg(long = "storage.tsdb.retention.size", value_name = "SIZE")]
    pub retention_size: Option<String>,
    /// Answer Prometheus' admin paths, such as /api/v1/admin/tsdb/snapshot, to tokens of the scope admin.
    #[arg(long = "web.enable-admin-api")]
    pub enable_admin_api: bool,
    /// Listen where other machines can reach it although no token is configured: anybody can then write and read.
    #[arg(long)]
    pub insecure_public_http: bool,
    #[command(flatten)]
    pub log: LogArguments,
}

#[derive(Debug, Args)]
pub struct LogArguments {
    /// How the log on standard error looks; what it holds is set by OBSERVATORY_LOG (info, debug, ...).
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", env = "OBSERVATORY_LOG_FORMAT")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LogFormat> for log::Format {
    fn from(format: LogFormat) -> log::Format {
        match format {
            LogFormat::Text => log::Format::Text,
            LogFormat::Json => log::Format::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every mistake of a file, each with its line; exit code 2 if there is one.
    Check(ConfigFile),
    /// Print the config in force, defaults filled in and secrets left out.
    Show(ConfigFile),
}

#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The file.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// The file, as `observatory up` takes it.
    #[arg(long, value_name = "FILE", env = "OBSERVATORY_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print a new token and the lines for the config that make it known.
    New(NewToken),
}

#[derive(Debug, Args)]
pub struct NewToken {
    /// Who will use it, for the log.
    #[arg(long, default_value = "ci")]
    pub name: String,
    /// What it is good for: push, read, admin; more than one with commas.
    #[arg(long, value_delimiter = ',', default_value = "push")]
    pub scopes: Vec<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Storage {
    #[command(subcommand)]
    pub command: Option<StorageCommand>,
    #[command(flatten)]
    pub place: ConfiguredPlace,
    /// Entries of each list: the largest metrics, labels and so on.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub top: usize,
    /// Print JSON, as `/api/v1/status/storage` answers it.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Write what is in memory to blocks, merge all that can be merged, and wait for it.
    Compact(ConfiguredPlace),
    /// Show what retention, tiers and policies of a config would keep and delete of what is there, before a server runs with it.
    Plan(StoragePlan),
}

#[derive(Debug, Args)]
pub struct StoragePlan {
    /// The config to plan with; needed with --data-dir. [default: what the server runs with]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub store: StorePlace,
    /// Print JSON, as `/api/v1/admin/storage/plan` answers it.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ConfiguredPlace {
    #[command(flatten)]
    pub store: StorePlace,
    /// With --data-dir: the config of its server, to say what goes next. This command drops nothing itself.
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum SonarCommand {
    /// Sync now, as a job of the server, and wait for it.
    Sync(SonarSync),
    /// Show projects, what is stored of them, and what is wrong.
    Status(SonarStatus),
}

#[derive(Debug, Args)]
pub struct SonarSync {
    /// Read the history from this day on again, such as 2026-01-31. [default: what is new]
    #[arg(long, value_name = "DATE")]
    pub since: Option<String>,
    /// Only the project with this key.
    #[arg(long, value_name = "KEY")]
    pub project: Option<String>,
    #[command(flatten)]
    pub place: ServerPlace,
}

#[derive(Debug, Args)]
pub struct SonarStatus {
    /// Print JSON, as `/api/v1/sonar/status` and `/api/v1/sonar/projects` answer it.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: ServerPlace,
}

/// Which server. Global, so that it may stand before a subcommand and behind it.
#[derive(Debug, Args)]
pub struct ServerPlace {
    /// A running server, with its path prefix if it has one.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:9090", env = "OBSERVATORY_URL")]
    pub url: String,
    /// File that holds a token for it: of scope read to ask and look, admin for everything else.
    #[arg(long, global = true, value_name = "FILE", env = "OBSERVATORY_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_server_may_be_named_before_a_subcommand_and_behind_it() {
        let parsed = |line: &str| Arguments::try_parse_from(line.split(' ')).unwrap().command;
        for line in ["observatory mailbox --url http://a dead", "observatory mailbox dead --url http://a"] {
            assert!(matches!(parsed(line), Command::Mailbox(mailbox) if mailbox.place.url == "http://a"), "{line}");
        }
        let Command::Storage(storage) = parsed("observatory storage compact --url http://a") else { panic!() };
        let Some(StorageCommand::Compact(place)) = storage.command else { panic!() };
        assert_eq!(place.store.server.url, "http://a");
    }
}
