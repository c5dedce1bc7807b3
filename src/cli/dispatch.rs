//! From arguments to a subcommand, from what went wrong to an exit code.

use super::{
    arguments::{Arguments, Command, ConfigCommand, TokenCommand},
    backup, config, delete, mailbox, query, restore, sonar, storage, token, up,
};
use clap::Parser;
use std::process::ExitCode;

/// What a subcommand ends with when it does not succeed.
#[derive(Debug)]
pub struct Failure {
    /// 1: the machine did not give what is needed. 2: what was asked for is wrong.
    pub code: u8,
    /// For the person at the terminal; printed as it is.
    pub message: String,
}

impl Failure {
    pub fn wrong(message: impl Into<String>) -> Failure {
        Failure { code: 2, message: message.into() }
    }

    pub fn failed(message: impl Into<String>) -> Failure {
        Failure { code: 1, message: message.into() }
    }
}

/// Runs the command line of this process to its end.
pub fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Up(arguments) => up::up(arguments),
        Command::Config(ConfigCommand::Check(file)) => config::check(file),
        Command::Config(ConfigCommand::Show(file)) => config::show(file),
        Command::Query(arguments) => query::query(&arguments),
        Command::Storage(arguments) => storage::storage(arguments),
        Command::Delete(arguments) => delete::delete(&arguments),
        Command::Sonar(command) => sonar::sonar(&command),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Mailbox(arguments) => mailbox::mailbox(&arguments),
        Command::Restore(arguments) => restore::restore(&arguments),
        Command::Token(TokenCommand::New(arguments)) => token::new(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("observatory: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}
