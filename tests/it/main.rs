//! The whole program, from outside: every test here starts the real binary and talks to it as its users do.
//!
//! - [`protocol`] plays the HTTP exchanges of `tests/protocol/**/*.http`; a new case is a paragraph there.
//! - [`promql`] plays the scripts of `tests/promql/*.test`.
//! - [`push`], [`write`], [`api`], [`grafana`], [`auth`], [`lifecycle`]: what a paragraph cannot say.
//! - [`mailbox`]: messages, in our own queue and over Redis, with the real library at the other end.
//! - [`chain`]: from SonarCloud and a workflow to a panel of Grafana.
//! - [`clients`]: programs of others, unchanged, against us.
//! - [`backup`]: backups and restores, killed in between.
//! - [`command_line`]: the subcommands that are no server.
//! - [`compat`]: data directories of other versions.
//! - [`query`]: queries under limits, cancelled, explained.
//! - [`hosts`]: the host we run on, beside node_exporter.
//! - [`scrape`]: targets, good and hostile, scraped for real.
//! - [`scrape_secure`]: targets behind TLS, passwords, tokens and certificates.
//! - [`sonar`]: a first sync against a stand-in for SonarCloud, killed on the way, and what comes after it.
//! - [`storage`]: what the operator sees of the store and does to it, and the limits of disk, memory and series.
//! - [`web`]: behind proxies that keep the path and those that cut it off.
//! - [`bad_input`]: what strangers send; each a clear error, and the server healthy after it.

#![allow(clippy::unwrap_used, reason = "in a test, the place it stopped says what failed")]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test binary uses its part of what they share")]
mod support;

mod api;
mod auth;
mod backup;
mod bad_input;
mod chain;
mod clients;
mod command_line;
mod compat;
mod grafana;
mod hosts;
mod lifecycle;
mod mailbox;
mod promql;
mod protocol;
mod push;
mod query;
mod scrape;
mod scrape_secure;
mod sonar;
mod storage;
mod web;
mod write;
