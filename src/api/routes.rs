//! The one table of routes: path, methods, who may. What does not stand here does not exist, and nothing stands here
//! without saying who may.

use super::{federate, health, own_metrics, push, state::Api, v1, write};
use crate::auth::Scope;
use axum::{
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};
use std::sync::Arc;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: says nothing about the data.
    Open,
    Needs(Scope),
    /// Whoever knows a secret of this route alone, which its handler checks.
    Signed,
}

const READ: Access = Access::Needs(Scope::Read);
const PUSH: Access = Access::Needs(Scope::Push);
const ADMIN: Access = Access::Needs(Scope::Admin);

/// One row.
pub struct Route {
    pub path: &'static str,
    pub methods: &'static [Method],
    pub access: Access,
    pub handler: MethodRouter<Arc<Api>>,
}

const GET: &[Method] = &[Method::GET];
const GET_HEAD: &[Method] = &[Method::GET, Method::HEAD];
const GET_POST: &[Method] = &[Method::GET, Method::POST];
const POST: &[Method] = &[Method::POST];
const DELETE: &[Method] = &[Method::DELETE];
const PUT_POST: &[Method] = &[Method::PUT, Method::POST];

/// Names handlers with their methods, so that the row says each of them once.
macro_rules! row {
    ($path:literal, $methods:expr, $access:expr, $handler:path) => {
        Route { path: $path, methods: $methods, access: $access, handler: on(filter($methods), $handler) }
    };
}

/// Every route.
#[rustfmt::skip]
pub fn table() -> Vec<Route> {
    vec![
        row!("/-/healthy", GET_HEAD, Access::Open, health::healthy),
        row!("/-/ready", GET_HEAD, Access::Open, health::ready),
        row!("/-/reload", PUT_POST, ADMIN, health::reload),
        row!("/-/reload", GET, ADMIN, health::reload_by_get),
        row!("/version", GET, READ, v1::status::version),
        row!("/metrics", GET, READ, own_metrics::exposition),
        row!("/federate", GET, READ, federate::federate),
        row!("/metrics/job/{*labels}", PUT_POST, PUSH, push::push),
        row!("/metrics/job/{*labels}", DELETE, PUSH, push::delete),
        row!("/metrics/job@base64/{*labels}", PUT_POST, PUSH, push::push),
        row!("/metrics/job@base64/{*labels}", DELETE, PUSH, push::delete),
        row!("/api/v1/write", POST, PUSH, write::write),
        row!("/api/v1/query", GET_POST, READ, v1::query::instant),
        row!("/api/v1/query_range", GET_POST, READ, v1::query::range),
        row!("/api/v1/explain", GET_POST, READ, v1::explain::explanation),
        row!("/api/v1/query_exemplars", GET_POST, READ, v1::query::exemplars),
        row!("/api/v1/format_query", GET_POST, READ, v1::query::format),
        row!("/api/v1/parse_query", GET_POST, READ, v1::query::syntax),
        row!("/api/v1/series", GET_POST, READ, v1::series::series),
        row!("/api/v1/labels", GET_POST, READ, v1::series::names),
        row!("/api/v1/label/{name}/values", GET, READ, v1::series::values),
        row!("/api/v1/metadata", GET, READ, v1::metadata::metadata),
        row!("/api/v1/targets", GET, READ, v1::targets::targets),
        row!("/api/v1/targets/metadata", GET, READ, v1::targets::metadata),
        row!("/api/v1/scrape_pools", GET, READ, v1::targets::pools),
        row!("/api/v1/rules", GET, READ, v1::rules::rules),
        row!("/api/v1/alerts", GET, READ, v1::rules::alerts),
        row!("/api/v1/alertmanagers", GET, READ, v1::rules::alertmanagers),
        row!("/api/v1/jobs", GET, READ, v1::jobs::list),
        row!("/api/v1/jobs/{id}", GET, READ, v1::jobs::get),
        row!("/api/v1/jobs/{id}", DELETE, ADMIN, v1::jobs::cancel),
        row!("/api/v1/jobs/{id}/cancel", POST, ADMIN, v1::jobs::cancel),
        row!("/api/v1/mailbox", GET, READ, v1::mailbox::overview),
        row!("/api/v1/mailbox/dead/{letter}", GET, READ, v1::mailbox::letter),
        row!("/api/v1/mailbox/replay", POST, ADMIN, v1::mailbox::replay),
        row!("/api/v1/mailbox/drop", POST, ADMIN, v1::mailbox::discard),
        row!("/api/v1/mailbox/send", POST, ADMIN, v1::mailbox::send),
        row!("/api/v1/admin/backup", POST, ADMIN, v1::admin::backup),
        row!("/api/v1/admin/tsdb/snapshot", PUT_POST, ADMIN, v1::admin::snapshot),
        row!("/api/v1/admin/tsdb/delete_series", PUT_POST, ADMIN, v1::deletion::delete_series),
        row!("/api/v1/admin/tsdb/clean_tombstones", PUT_POST, ADMIN, v1::deletion::clean_tombstones),
        row!("/api/v1/admin/storage/delete", POST, ADMIN, v1::deletion::delete),
        row!("/api/v1/admin/storage/delete_plan", POST, ADMIN, v1::deletion::plan),
        row!("/api/v1/admin/storage/plan", POST, ADMIN, v1::plan::plan),
        row!("/api/v1/events", GET, READ, v1::events::events),
        row!("/api/v1/metrics", GET, READ, push::groups),
        row!("/api/v1/features", GET, READ, v1::status::features),
        row!("/api/v1/status", GET, READ, push::status),
        row!("/api/v1/status/buildinfo", GET, READ, v1::status::build),
        row!("/api/v1/status/runtimeinfo", GET, READ, v1::status::runtime),
        row!("/api/v1/status/tsdb", GET, READ, v1::status::tsdb),
        row!("/api/v1/status/tsdb/blocks", GET, READ, v1::storage::blocks),
        row!("/api/v1/status/storage", GET, READ, v1::storage::storage),
        row!("/api/v1/admin/storage/compact", POST, ADMIN, v1::storage::compact),
        row!("/api/v1/status/config", GET, READ, v1::status::config),
        row!("/api/v1/status/flags", GET, READ, v1::status::flags),
        row!("/api/v1/sonar/status", GET, READ, v1::sonar::status),
        row!("/api/v1/sonar/projects", GET, READ, v1::sonar::projects),
        row!("/api/v1/sonar/events", GET, READ, v1::sonar::events),
        row!("/api/v1/sonar/sync", POST, ADMIN, v1::sonar::sync),
        row!("/api/v1/sonar/webhook", POST, Access::Signed, v1::sonar::webhook),
        row!("/api/v1/status/walreplay", GET, READ, v1::status::replay),
    ]
}

fn filter(methods: &[Method]) -> MethodFilter {
    let one = |method: &Method| MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    let mut methods = methods.iter().map(one);
    let first = methods.next().unwrap_or(MethodFilter::GET);
    // A GET filter answers HEAD as well, so asking for both is asking for one of them twice.
    methods.fold(first, MethodFilter::or)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_changes_something_is_open_or_a_read() {
        for route in table() {
            let reads = route.methods.iter().all(|method| [Method::GET, Method::HEAD].contains(method));
            let by_form = route.methods == GET_POST && route.access == READ;
            let guarded = [PUSH, ADMIN, Access::Signed].contains(&route.access);
            assert!(reads || by_form || guarded, "{} {:?}", route.path, route.methods);
        }
    }
}
