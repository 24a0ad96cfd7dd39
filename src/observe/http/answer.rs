//! What a request asks for, and the answers. No input or output.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Method, Response, StatusCode};

use crate::observe::metrics::{Format, Look, Metrics};

const TEXT: &str = "text/plain; charset=utf-8";

pub(super) type Answer = Response<Full<Bytes>>;

/// Whether a request with this `Host` may be answered: the host is an address, `localhost`, or one of `allowed`.
///
/// A page of any site can make a browser send us requests, under a name of the site's own that resolves to this machine (DNS
/// rebinding). Such a page can't choose the hosts that are answered here.
pub(super) fn is_for_us(host: Option<&str>, allowed: &[String]) -> bool {
    // A request without `Host` comes from no browser: browsers always send it.
    let Some(host) = host else { return true };
    let name = name_of(host);
    let known = |other: &str| other.eq_ignore_ascii_case(name);
    name.parse::<IpAddr>().is_ok() || known("localhost") || allowed.iter().any(|other| known(other))
}

/// The name or address in a `Host`, without the port.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// The answer to a request that names another host.
pub(super) fn misdirected() -> Answer {
    let text = "the request names a host that is not allowed here: add the name to allowed_hosts in [daemon]\n";
    response(StatusCode::MISDIRECTED_REQUEST, TEXT, text)
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Page,
    Status,
    Metrics,
    Readiness,
    Liveness,
    /// Something that is not here.
    Other,
    /// To change something.
    Change,
}

/// Returns what a request asks for.
pub(super) fn asked(method: &Method, path: &str) -> Asked {
    let asked = match path {
        "/" => Asked::Page,
        "/status.json" => Asked::Status,
        "/metrics" => Asked::Metrics,
        "/readyz" => Asked::Readiness,
        "/healthz" => Asked::Liveness,
        _ => return Asked::Other,
    };
    if method == Method::GET || method == Method::HEAD { asked } else { Asked::Change }
}

/// There is no such path.
pub(super) fn not_found() -> Answer {
    response(StatusCode::NOT_FOUND, TEXT, "there are /, /status.json, /metrics, /healthz and /readyz\n")
}

/// Nothing can be changed here.
pub(super) fn wrong_method() -> Answer {
    let mut answer = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

/// Whether a request comes from this machine and not through a proxy, as far as its headers tell. The listener's own address is on loopback.
pub(super) fn is_direct(headers: &HeaderMap) -> bool {
    let forwarded = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];
    let host = headers.get(HOST).map_or("localhost", |host| host.to_str().unwrap_or("?"));
    let name = name_of(host);
    let on_loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) || name.eq_ignore_ascii_case("localhost");
    on_loopback && !forwarded.iter().any(|name| headers.contains_key(*name))
}

/// The metrics.
pub(super) fn metrics(metrics: &Metrics, look: Option<Look>, format: Format) -> Answer {
    match metrics.text(look, format) {
        Ok(text) => response(StatusCode::OK, format.content_type(), text),
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

/// The status; 503 where it could not be made in time.
pub(super) fn status(text: Option<Bytes>) -> Answer {
    let mut answer = match text {
        Some(text) => response(StatusCode::OK, "application/json", text),
        None => {
            response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the file system of a watched folder does not answer\n")
        }
    };
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The process lives.
pub(super) fn liveness() -> Answer {
    response(StatusCode::OK, TEXT, "alive\n")
}

/// 200 while uploads go on; else 503, with a line for each reason. The notes tell of trouble that holds up nothing.
pub(super) fn readiness(reasons: &[String], notes: &[String]) -> Answer {
    let (status, first) = match reasons {
        [] => (StatusCode::OK, ["ready".to_owned()].to_vec()),
        some => (StatusCode::SERVICE_UNAVAILABLE, some.to_vec()),
    };
    response(status, TEXT, [&first, notes].concat().join("\n") + "\n")
}

pub(super) fn response(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::{Component, Condition, Health};
    use http_body_util::BodyExt;
    use std::sync::Arc;

    async fn read(answer: Answer) -> (u16, String) {
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readyz_has_a_line_for_each_reason_while_healthz_stays_alive() {
        let (health, condition) = (Health::default(), Condition::default());
        health.add(Component::Service, Arc::new(condition.clone()));
        health.add(Component::Journal, Arc::new(condition.clone()));
        assert_eq!(read(readiness(&health.reasons(), &[])).await, (200, "ready\n".into()));
        condition.raise("down");
        let since = |at: usize| crate::measure::utc(health.check_all()[at].since.unwrap());
        let (service, journal) = (since(0), since(1));
        let expected = (503, format!("the service: down (since {service})\nthe journal: down (since {journal})\n"));
        assert_eq!(read(readiness(&health.reasons(), &[])).await, expected);
        assert_eq!(read(liveness()).await, (200, "alive\n".into()));
        condition.clear();
        assert_eq!(read(readiness(&health.reasons(), &[])).await.0, 200);
    }

    #[test]
    fn other_paths_are_404_and_other_methods_405() {
        for path in ["/metrics/", "/metrics.txt", "//metrics", "/../metrics", "/readyz/x", "/index.html", "", "//"] {
            assert_eq!(asked(&Method::GET, path), Asked::Other, "{path}");
        }
        for path in ["/", "/status.json", "/metrics", "/healthz", "/readyz"] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                assert_eq!(asked(&method, path), Asked::Change, "{path}");
            }
            let known = asked(&Method::GET, path);
            assert!(known == asked(&Method::HEAD, path) && known != Asked::Other && known != Asked::Change, "{path}");
        }
        assert_eq!((not_found().status().as_u16(), wrong_method().status().as_u16()), (404, 405));
    }

    #[test]
    fn a_request_is_direct_only_without_a_trace_of_a_proxy_and_under_a_name_of_this_machine() {
        for (name, value, direct) in [
            ("host", "localhost:9464", true),
            ("host", "127.0.0.1", true),
            ("host", "[::1]:9464", true),
            ("host", "monitor.example", false),
            ("host", "192.0.2.1:9464", false),
            ("x-forwarded-for", "192.0.2.7", false),
            ("forwarded", "for=192.0.2.7", false),
            ("via", "1.1 proxy", false),
            ("x-real-ip", "192.0.2.7", false),
            ("accept", "text/html", true),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]);
            assert_eq!(is_direct(&headers), direct, "{name}: {value}");
        }
    }
}
