//! `/sandbox/…`: faults and statistics over HTTP, for tests that run in another process.

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::ORIGIN;
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;

use super::answer::{self, Body, Cut};
use super::faults::Rule;
use super::{State, address};

/// One rule or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Rules {
    Several(Vec<serde_json::Value>),
    One(serde_json::Value),
}

/// Answers a request to `/sandbox/{name}`.
pub(super) async fn answer(state: &State, name: &str, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    if request.headers().contains_key(ORIGIN) {
        // Only this machine can reach the sandbox, but a browser on this machine may show any web page.
        return Ok(answer::error(StatusCode::FORBIDDEN, "not from a web page"));
    }
    let query = request.uri().query().map(str::to_owned);
    Ok(match (name, request.method()) {
        ("stats", &Method::GET) => answer::json(StatusCode::OK, &state.stats.counts()),
        ("uploads", &Method::GET) => uploads(state, query.as_deref()),
        ("faults", &Method::POST) => match read_rules(request.into_body()).await? {
            Ok(rules) => {
                for rule in rules {
                    state.add_fault(rule);
                }
                answer::empty(StatusCode::NO_CONTENT)
            }
            Err(message) => answer::error(StatusCode::BAD_REQUEST, &message),
        },
        ("faults", &Method::DELETE) => {
            state.clear_faults();
            answer::empty(StatusCode::NO_CONTENT)
        }
        ("stats" | "uploads" | "faults", _) => answer::error(StatusCode::METHOD_NOT_ALLOWED, "no such call"),
        _ => answer::error(StatusCode::NOT_FOUND, "no such call"),
    })
}

/// The uploads whose number is greater than that of `?after=N`.
fn uploads(state: &State, query: Option<&str>) -> Response<Body> {
    let after = match query {
        None => Ok(0),
        Some(_) => address::query(query, ["after"])
            .and_then(|[after]| after.parse().map_err(|_| format!("{after:?} is no number"))),
    };
    match after {
        Ok(after) => answer::json(StatusCode::OK, &state.stats.uploads_after(after)),
        Err(message) => answer::error(StatusCode::BAD_REQUEST, &message),
    }
}

async fn read_rules(body: Incoming) -> Result<Result<Vec<Rule>, String>, Cut> {
    let body = Limited::new(body, 1024 * 1024).collect().await.map_err(|_| Cut)?.to_bytes();
    Ok(parse_rules(&body))
}

/// Parses in two steps, so that the error names the wrong key instead of saying that neither form fits.
fn parse_rules(json: &[u8]) -> Result<Vec<Rule>, String> {
    let rules = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let values = match rules {
        Rules::Several(values) => values,
        Rules::One(value) => vec![value],
    };
    values.into_iter().map(|value| Rule::deserialize(value).map_err(|error| error.to_string())).collect()
}
