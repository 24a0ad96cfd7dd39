//! Carries out a fault, before the call and after it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::State;
use super::answer::{self, Body, Cut, drain};
use super::faults::{Fault, Field, Garbage};
use super::realm::Realm;

const PAGE: &str = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>";

/// Carries out what a fault does before the call. With an answer the request ends here, and the call is not carried out.
pub(super) async fn before(
    state: &State,
    fault: &Fault,
    body: Option<&mut Incoming>,
) -> Result<Option<Response<Body>>, Cut> {
    state.stats.faults.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let answer = match fault {
        Fault::CutBefore { bytes } => return cut_within(body, *bytes).await,
        Fault::Status { carried_out: false, .. }
        | Fault::Garbage { carried_out: false, .. }
        | Fault::Redirect { .. } => replaced(fault, Body::Whole(Bytes::new())),
        Fault::Stall { ms } => {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
            None
        }
        _ => {
            apply_to_realm(state, fault);
            None
        }
    };
    if let (Some(_), Some(body)) = (&answer, body) {
        drain(body).await;
    }
    Ok(answer)
}

/// Carries out what a fault does after the call.
pub(super) async fn after(fault: &Fault, response: Response<Body>) -> Result<Response<Body>, Cut> {
    match fault {
        Fault::CutAfter => return Err(Cut),
        Fault::Delay { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
        Fault::Drip { bytes, every_ms } => {
            let every = Duration::from_millis(*every_ms);
            return Ok(response.map(|body| body.dripping(*bytes, every)));
        }
        Fault::Wrong { field: Field::Content } => return Ok(response.map(Body::spoilt)),
        Fault::Wrong { field } => return Ok(falsified(response, *field)),
        Fault::Status { carried_out: true, .. } | Fault::Garbage { carried_out: true, .. } => {
            let (parts, body) = response.into_parts();
            return Ok(replaced(fault, body).unwrap_or_else(|| Response::from_parts(parts, Body::Whole(Bytes::new()))));
        }
        _ => {}
    }
    Ok(response)
}

/// Applies a fault to the realm. Returns `false` for a fault that is none of the realm's.
pub(super) fn apply_to_realm(state: &State, fault: &Fault) -> bool {
    let authority = &state.authority;
    match fault {
        Fault::Expire => authority.expire_access(),
        Fault::Revoke => authority.revoke_sessions(),
        Fault::ExpireAll => {
            authority.expire_access();
            authority.revoke_sessions();
        }
        Fault::DisableUser => authority.with_own(Realm::disable_user),
        Fault::RequireAction => authority.with_own(Realm::require_action),
        Fault::ChangePassword { password } => authority.with_own(|realm| realm.change_password(password)),
        Fault::Lock { ms } => {
            let until = Instant::now() + Duration::from_millis(*ms);
            authority.with_own(|realm| realm.lock_user(until));
        }
        _ => return false,
    }
    true
}

async fn cut_within(body: Option<&mut Incoming>, bytes: u64) -> Result<Option<Response<Body>>, Cut> {
    let mut read = 0;
    if let Some(body) = body {
        while read < bytes {
            let Some(Ok(frame)) = body.frame().await else { break };
            read += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
    }
    Err(Cut)
}

/// Returns the answer that a fault gives instead of the good one.
fn replaced(fault: &Fault, good: Body) -> Option<Response<Body>> {
    match fault {
        Fault::Status { status, retry_after, body, content_type, .. } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut answer = match body {
                Some(body) => answer::text(status, content_type.as_deref().unwrap_or("application/json"), body.clone()),
                None => answer::error(status, "the sandbox was told to answer so"),
            };
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
            }
            Some(answer)
        }
        Fault::Redirect { to } => {
            let mut answer = answer::empty(StatusCode::TEMPORARY_REDIRECT);
            insert_text(&mut answer, LOCATION, to);
            Some(answer)
        }
        Fault::Garbage { body, .. } => Some(match body {
            Garbage::Html => answer::text(StatusCode::OK, "text/html; charset=utf-8", PAGE),
            Garbage::Empty => answer::text(StatusCode::OK, "application/json", ""),
            Garbage::Truncated => answer::text(StatusCode::OK, "application/json", truncated(good)),
        }),
        _ => None,
    }
}

fn insert_text(answer: &mut Response<Body>, header: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        answer.headers_mut().insert(header, value);
    }
}

fn truncated(good: Body) -> Bytes {
    match good {
        Body::Whole(bytes) if bytes.len() > 1 => bytes.slice(..bytes.len() / 2),
        _ => Bytes::from_static(br#"{"ID": "Lw", "na"#),
    }
}

/// Makes one field of a JSON answer false, in each member of an array too.
fn falsified(response: Response<Body>, field: Field) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let Body::Whole(bytes) = body else { return Response::from_parts(parts, body) };
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::Whole(bytes));
    };
    falsify(&mut value, field);
    parts.headers.remove(hyper::header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::Whole(value.to_string().into()))
}

fn falsify(value: &mut Value, field: Field) {
    match value {
        Value::Array(members) => members.iter_mut().for_each(|member| falsify(member, field)),
        Value::Object(document) => {
            match field {
                Field::Size => {
                    document.insert("size".into(), json!(1 + document.get("size").and_then(Value::as_u64).unwrap_or(0)))
                }
                Field::Name => document.insert("name".into(), json!("another name")),
                Field::Sha256 => document.insert("sha256".into(), json!("0".repeat(64))),
                Field::Id => document.remove("ID"),
                Field::Content => None,
            };
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_is_false_and_the_others_are_not() {
        let good = json!({"ID": "x", "name": "a", "size": 3, "sha256": "ab"});
        for (field, key) in [(Field::Size, "size"), (Field::Name, "name"), (Field::Sha256, "sha256"), (Field::Id, "ID")]
        {
            let mut array = json!([good]);
            falsify(&mut array, field);
            for other in ["ID", "name", "size", "sha256"] {
                assert_eq!(array[0].get(other) == good.get(other), other != key, "{other} with {key} false");
            }
        }
    }
}
