//! SonarQube and SonarCloud: the history of code quality beside the metrics.

mod catalogue;
mod date;
mod history;
mod naming;
mod page;
mod state;
