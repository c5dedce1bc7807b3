//! From the table of routes to one service.

use super::{
    middleware::{
        guard::{Door, guard, method_not_allowed},
        outer::{clean_path, finish_body, headers, panicked, unknown},
        prefix::below,
    },
    routes::table,
    state::Api,
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, Method, Response},
    middleware::{from_fn, from_fn_with_state},
};
use std::{convert::Infallible, sync::Arc};
use tower::{
    Layer, Service, ServiceExt,
    util::{MapRequestLayer, option_layer},
};
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer, Predicate,
        predicate::{DefaultPredicate, NotForContentType, SizeAbove},
    },
};

/// Shorter answers gain nothing by compression.
const COMPRESSED_BYTES_MIN: u64 = 1024;

/// Answers what no route is for, with a page or a file of it: method, path as the client wrote it, headers.
pub type Pages = Arc<dyn Fn(&Method, &str, &HeaderMap) -> Option<Response<Body>> + Send + Sync>;

/// The whole API, and `pages` beside it, as a service from request to response.
pub fn service(
    api: Arc<Api>,
    pages: Pages,
) -> impl Service<Request, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let prefix = Some(Arc::<str>::from(api.config.place.prefix.as_str())).filter(|prefix| !prefix.is_empty());
    let mut router = Router::new();
    for route in table() {
        let door = Door { api: api.clone(), path: route.path, methods: route.methods, access: route.access };
        router = router.route(route.path, route.handler.layer(from_fn_with_state(door, guard)));
    }
    let compression = CompressionLayer::new()
        // The processor is worth more than the wire here: the least effort saves most of the bytes.
        .quality(CompressionLevel::Fastest)
        .compress_when(
            DefaultPredicate::new()
                .and(SizeAbove::new(COMPRESSED_BYTES_MIN))
                // Backups: packed already, and their length is said before.
                .and(NotForContentType::const_new("application/octet-stream")),
        );
    let router = router
        .fallback(move |request: Request| {
            let pages = pages.clone();
            async move { unknown(request, &pages) }
        })
        .method_not_allowed_fallback(async || method_not_allowed())
        .with_state(api)
        .layer(from_fn(finish_body))
        .layer(from_fn(headers))
        .layer(compression)
        .layer(CatchPanicLayer::custom(panicked));
    // Around the router, not layers in it: the path decides the route.
    let clean = MapRequestLayer::new(clean_path).layer(router).map_response(|response| response.map(Body::new));
    option_layer(prefix.map(|prefix| from_fn_with_state(prefix, below))).layer(clean)
}
