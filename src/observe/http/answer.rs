//! The answer to one request, made from the health and the metrics. No input or output.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::observe::health::Health;
use crate::observe::metrics::{self, Metrics};

const TEXT: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// Whether a request with this `Host` may be answered: the host is an address, `localhost`, or one of `allowed`.
///
/// A page of any site can make a browser send us requests, under a name of the site's own that resolves to this machine (DNS
/// rebinding). Such a page can't choose the hosts that are answered here.
pub(super) fn is_for_us(host: Option<&str>, allowed: &[String]) -> bool {
    // A request without `Host` comes from no browser: browsers always send it.
    let Some(host) = host else { return true };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let known = |other: &str| other.eq_ignore_ascii_case(name);
    name.parse::<IpAddr>().is_ok() || known("localhost") || allowed.iter().any(|other| known(other))
}

/// The answer to a request that names another host.
pub(super) fn misdirected() -> Answer {
    let text = "the request names a host that is not allowed here: add the name to allowed_hosts in [daemon]\n";
    response(StatusCode::MISDIRECTED_REQUEST, TEXT, text.into())
}

/// Returns the answer to a request.
pub(super) fn answer(method: &Method, path: &str, health: &Health, metrics: &Metrics) -> Answer {
    if !["/metrics", "/healthz", "/readyz"].contains(&path) {
        return response(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n".into());
    }
    if method != Method::GET && method != Method::HEAD {
        let mut answer = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/metrics" => match metrics.text() {
            Ok(text) => response(StatusCode::OK, metrics::FORMAT, text),
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        "/readyz" => readiness(&health.reasons()),
        _ => response(StatusCode::OK, TEXT, "alive\n".into()),
    }
}

/// 200 while uploads go on; else 503, with a line for each reason.
fn readiness(reasons: &[String]) -> Answer {
    if reasons.is_empty() {
        return response(StatusCode::OK, TEXT, "ready\n".into());
    }
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.join("\n") + "\n")
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::{Component, Condition};
    use http_body_util::BodyExt;
    use std::sync::Arc;

    async fn request(method: Method, path: &str, health: &Health) -> (u16, String) {
        let answer = answer(&method, path, health, &Metrics::new(health));
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readyz_has_a_line_for_each_reason_while_healthz_stays_alive() {
        let (health, condition) = (Health::default(), Condition::default());
        health.add(Component::Service, Arc::new(condition.clone()));
        health.add(Component::Journal, Arc::new(condition.clone()));
        assert_eq!(request(Method::GET, "/readyz", &health).await, (200, "ready\n".into()));
        condition.raise("down");
        let expected = (503, "the service: down\nthe journal: down\n".into());
        assert_eq!(request(Method::GET, "/readyz", &health).await, expected);
        assert_eq!(request(Method::GET, "/healthz", &health).await, (200, "alive\n".into()));
        condition.clear();
        assert_eq!(request(Method::GET, "/readyz", &health).await.0, 200);
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_text_and_say_so() {
        let health = Health::default();
        let answer = answer(&Method::GET, "/metrics", &health, &Metrics::new(&health));
        assert_eq!(answer.headers()[CONTENT_TYPE], metrics::FORMAT);
        let (status, text) = request(Method::GET, "/metrics", &health).await;
        assert!(status == 200 && text.contains("astran_backup_ready 1\n") && text.ends_with("# EOF\n"), "{text}");
    }

    #[tokio::test]
    async fn other_paths_are_404_and_other_methods_405() {
        let health = Health::default();
        for path in ["/", "/metrics/", "/metrics.txt", "//metrics", "/../metrics", "/readyz/x"] {
            assert_eq!(request(Method::GET, path, &health).await.0, 404, "{path}");
        }
        for path in ["/metrics", "/healthz", "/readyz"] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                assert_eq!(request(method, path, &health).await.0, 405, "{path}");
            }
            assert_eq!(request(Method::HEAD, path, &health).await.0, 200, "{path}");
        }
    }
}
