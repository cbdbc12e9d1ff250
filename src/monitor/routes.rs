//! Routes of a monitor.
use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use durable::clock::{Clock, SystemClock};
use serde_json::json;

use super::{Monitor, gate::Gate, page::page};
use crate::openmetrics;

const JSON: &str = "application/json";

/// What the handlers share.
#[derive(Clone)]
struct App {
    monitor: Arc<Monitor>,
    clock: SystemClock,
}

/// Returns the routes. Callers need the permission of `gate`, except for `/healthz` and the page.
pub fn router(monitor: Arc<Monitor>, clock: SystemClock, gate: Gate) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route_layer(from_fn_with_state(Arc::new(gate), guard));
    let open = page().route("/healthz", get(healthz));
    guarded
        .merge(open)
        .fallback(|| async {
            refused((
                StatusCode::NOT_FOUND,
                "no such path; see /, /metrics, /healthz, /readyz and /status",
            ))
        })
        .method_not_allowed_fallback(|| async { refused((StatusCode::METHOD_NOT_ALLOWED, "use GET")) })
        .with_state(App { monitor, clock })
}

async fn guard(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(reason) => refused(reason),
    }
}

async fn metrics(State(app): State<App>) -> Response {
    answer(
        StatusCode::OK,
        openmetrics::MEDIA_TYPE,
        app.monitor.metrics_text(app.clock.now()),
    )
}

async fn healthz(State(app): State<App>) -> Response {
    match app.monitor.stuck_for(app.clock.elapsed()) {
        None => answer(StatusCode::OK, JSON, json!({"status": "ok"}).to_string()),
        Some(age) => {
            let body = json!({"status": "stuck", "last_step_age_s": age.as_secs()});
            answer(StatusCode::SERVICE_UNAVAILABLE, JSON, body.to_string())
        }
    }
}

async fn readyz(State(app): State<App>) -> Response {
    let readiness = app.monitor.readiness(app.clock.now());
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::to_vec(&readiness).expect("problems serialize into memory");
    answer(status, JSON, body)
}

async fn status(State(app): State<App>) -> Response {
    answer(StatusCode::OK, JSON, app.monitor.status_body(app.clock.now()))
}

fn answer(status: StatusCode, kind: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

fn refused((status, error): (StatusCode, &'static str)) -> Response {
    let mut response = answer(status, JSON, json!({"error": error}).to_string());
    if status == StatusCode::UNAUTHORIZED {
        let realm = HeaderValue::from_static("Bearer realm=\"stargate-mirror\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
    }
    response
}
