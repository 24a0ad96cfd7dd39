//! The answer to a request. Pure, but for what it asks of others.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::observe::health::Health;
use crate::observe::metrics::{self, Metrics};

const TEXT: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// Whether a request may be answered that names this host. A page of any site can have a browser ask us under a name of its own
/// that leads to this machine; by an address, `localhost`, or a name that is configured it can't.
pub(super) fn is_for_us(host: Option<&str>, allowed: &[String]) -> bool {
    // Browsers always name one.
    let Some(host) = host else { return true };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let known = |other: &str| other.eq_ignore_ascii_case(name);
    name.parse::<IpAddr>().is_ok() || known("localhost") || allowed.iter().any(|other| known(other))
}

/// What a request for another host gets.
pub(super) fn not_for_us() -> Answer {
    let text =
        "this address is asked for under a name that it does not know: add the name to allowed_hosts in [daemon]\n";
    said(StatusCode::MISDIRECTED_REQUEST, TEXT, text.into())
}

/// Answers a request.
pub(super) fn answer(method: &Method, path: &str, health: &Health, metrics: &Metrics) -> Answer {
    if !["/metrics", "/healthz", "/readyz"].contains(&path) {
        return said(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n".into());
    }
    if method != Method::GET && method != Method::HEAD {
        let mut answer = said(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/metrics" => match metrics.text() {
            Ok(text) => said(StatusCode::OK, metrics::FORMAT, text),
            Err(error) => said(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        "/readyz" => readiness(&health.reasons()),
        _ => said(StatusCode::OK, TEXT, "alive\n".into()),
    }
}

/// A line for each reason why uploads don't go on.
fn readiness(reasons: &[String]) -> Answer {
    if reasons.is_empty() {
        return said(StatusCode::OK, TEXT, "ready\n".into());
    }
    said(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.join("\n") + "\n")
}

fn said(status: StatusCode, format: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::{Component, Condition};
    use http_body_util::BodyExt;
    use std::sync::Arc;

    async fn asked(method: Method, path: &str, health: &Health) -> (u16, String) {
        let answer = answer(&method, path, health, &Metrics::new(health));
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_has_a_line_for_each_reason_and_life_goes_on() {
        let (health, note) = (Health::default(), Condition::default());
        health.add(Component::Service, Arc::new(note.clone()));
        health.add(Component::Journal, Arc::new(note.clone()));
        assert_eq!(asked(Method::GET, "/readyz", &health).await, (200, "ready\n".into()));
        note.raise("down");
        let told = (503, "the service: down\nthe journal: down\n".into());
        assert_eq!(asked(Method::GET, "/readyz", &health).await, told);
        assert_eq!(asked(Method::GET, "/healthz", &health).await, (200, "alive\n".into()));
        note.clear();
        assert_eq!(asked(Method::GET, "/readyz", &health).await.0, 200);
    }

    #[tokio::test]
    async fn metrics_are_in_the_format_that_their_type_says() {
        let health = Health::default();
        let answer = answer(&Method::GET, "/metrics", &health, &Metrics::new(&health));
        assert_eq!(answer.headers()[CONTENT_TYPE], metrics::FORMAT);
        let (status, text) = asked(Method::GET, "/metrics", &health).await;
        assert!(status == 200 && text.contains("astran_backup_ready 1\n") && text.ends_with("# EOF\n"), "{text}");
    }

    #[tokio::test]
    async fn other_paths_are_404_and_other_methods_405() {
        let health = Health::default();
        for path in ["/", "/metrics/", "/metrics.txt", "//metrics", "/../metrics", "/readyz/x"] {
            assert_eq!(asked(Method::GET, path, &health).await.0, 404, "{path}");
        }
        for path in ["/metrics", "/healthz", "/readyz"] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                assert_eq!(asked(method, path, &health).await.0, 405, "{path}");
            }
            assert_eq!(asked(Method::HEAD, path, &health).await.0, 200, "{path}");
        }
    }
}
