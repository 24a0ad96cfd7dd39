//! The API's calls, as strict as the contract.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::address::{self, Route};
use super::answer::{self, Body, Cut};
use super::faults::Call;
use super::options::TokenCheck;
use super::upload::{self, Broken};
use super::vault::{self, Entry, Incoming as Upload, Place, Refused};
use super::{State, misbehave};

/// Why a call is not carried out.
enum Problem {
    Answer(StatusCode, String),
    Token(&'static str),
    Method(&'static str),
    /// The client is gone, so no answer can be sent.
    Gone,
}

impl Problem {
    fn bad(message: impl Into<String>) -> Self {
        Self::Answer(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Missing(_) => StatusCode::NOT_FOUND,
            Refused::NoFolder(_) | Refused::Folder(_) => StatusCode::BAD_REQUEST,
            Refused::Taken(_) => StatusCode::CONFLICT,
            Refused::Name(..) => StatusCode::UNPROCESSABLE_ENTITY,
            Refused::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::Answer(status, refused.to_string())
    }
}

impl From<Broken> for Problem {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Short => Self::Gone,
            Broken::Store(_) => Self::Answer(StatusCode::INTERNAL_SERVER_ERROR, broken.to_string()),
        }
    }
}

/// Answers a request to `/api/v2.1`.
pub(super) async fn answer(
    state: &State,
    route: &Route<'_>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    let (parts, mut body) = request.into_parts();
    let call = call_of(route, &parts);
    state.stats.call(call);
    let fault = state.faults.next(call, || described(route, &parts));
    if let Some(fault) = &fault
        && let Some(answer) = misbehave::before(state, fault, Some(&mut body)).await?
    {
        return Ok(answer);
    }
    let response = match carry_out(state, route, &parts, &mut body).await {
        Ok(response) => response,
        Err(Problem::Gone) => return Err(Cut),
        Err(problem) => {
            // A client that waits for `100 Continue` has not sent the body, and need not send it.
            if !parts.headers.contains_key(EXPECT) {
                answer::drain(&mut body).await;
            }
            refused(state, problem)
        }
    };
    match &fault {
        Some(fault) => misbehave::after(fault, response).await,
        None => Ok(response),
    }
}

fn call_of(route: &Route, parts: &Parts) -> Call {
    match route {
        Route::Me => Call::Me,
        Route::Children { .. } if parts.method == Method::POST => Call::Upload,
        Route::Children { .. } => Call::Children,
        _ if wants_metadata(&parts.headers) => Call::Filesystem,
        _ => Call::Content,
    }
}

/// The text in which the `name` of a rule is searched.
fn described(route: &Route, parts: &Parts) -> String {
    match route {
        Route::Children { .. } if parts.method == Method::POST => {
            address::query(parts.uri.query(), ["name", "isMajor"]).map(|[name, _]| name).unwrap_or_default()
        }
        Route::Children { id } => (*id).to_owned(),
        Route::Filesystem { path } => address::vault_path(path).map(|path| path.to_string()).unwrap_or_default(),
        _ => String::new(),
    }
}

async fn carry_out(
    state: &State,
    route: &Route<'_>,
    parts: &Parts,
    body: &mut Incoming,
) -> Result<Response<Body>, Problem> {
    check_token(state, &parts.headers).await?;
    let query = parts.uri.query();
    match (route, &parts.method) {
        (Route::Me, &Method::GET) => me(state, query),
        (Route::Children { id }, &Method::GET) => children(state, id, query).await,
        (Route::Children { id }, &Method::POST) => upload(state, id, parts, body).await,
        (Route::Filesystem { path }, &Method::GET) => filesystem(state, path, query, &parts.headers).await,
        (Route::Children { .. }, _) => Err(Problem::Method("GET, POST")),
        _ => Err(Problem::Method("GET")),
    }
}

async fn check_token(state: &State, headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(AUTHORIZATION).ok_or(Problem::Token("there is no bearer token"))?;
    let token = value.to_str().ok().and_then(|text| text.split_once(' '));
    match token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && state.authority.admits(token).await => Ok(()),
        _ => Err(Problem::Token("the token is not valid, or not any more")),
    }
}

fn wants_metadata(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.as_bytes().windows(16).any(|part| part == b"application/json"))
}

fn me(state: &State, query: Option<&str>) -> Result<Response<Body>, Problem> {
    let [] = address::query(query, []).map_err(Problem::bad)?;
    let root = Place::first(crate::vault::RemotePath::default()).id();
    let name = &state.options.username;
    let user =
        json!({"ID": "user-1", "username": name, "email": name, "member": {"ID": "member-1", "rootDocumentId": root}});
    Ok(answer::json(StatusCode::OK, &user))
}

async fn children(state: &State, id: &str, query: Option<&str>) -> Result<Response<Body>, Problem> {
    let [] = address::query(query, []).map_err(Problem::bad)?;
    let folder = place(id)?;
    let entries = in_vault(state, move |vault| vault.children(&folder)).await?;
    Ok(answer::json(StatusCode::OK, &entries.iter().map(document).collect::<Vec<_>>()))
}

/// A file without `Accept: application/json` is answered with its content. A folder has none: the service answers its metadata whatever
/// `Accept` says, and the vendor's published client relies on that.
async fn filesystem(
    state: &State,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    let (place, with_children) = looked_up(path, query)?;
    let entry = state.vault.find(&place)?;
    if entry.folder || wants_metadata(headers) {
        return metadata(state, place, entry, with_children).await;
    }
    content(state, &place)
}

async fn metadata(
    state: &State,
    place: Place,
    mut entry: Entry,
    with_children: bool,
) -> Result<Response<Body>, Problem> {
    if state.options.checksums && !entry.folder && entry.sha256.is_none() {
        entry.sha256 = Some(in_vault(state, move |vault| vault.sha256(&place)).await?);
    }
    let mut children = None;
    if with_children && entry.folder {
        let place = entry.place.clone();
        children = Some(in_vault(state, move |vault| vault.children(&place)).await?);
    }
    let mut answer = document(&entry);
    answer.children = children.as_ref().map(|entries| entries.iter().map(document).collect());
    Ok(answer::json(StatusCode::OK, &answer))
}

fn content(state: &State, place: &Place) -> Result<Response<Body>, Problem> {
    let (file, length) = state.vault.content(place)?;
    let mut response = Response::new(Body::of_file(file, length));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

fn looked_up(path: &str, query: Option<&str>) -> Result<(Place, bool), Problem> {
    let [children] = address::query(query, ["children"]).map_err(Problem::bad)?;
    let with_children = address::truth("children", &children).map_err(Problem::bad)?;
    Ok((Place::first(address::vault_path(path).map_err(Problem::bad)?), with_children))
}

async fn upload(state: &State, id: &str, parts: &Parts, body: &mut Incoming) -> Result<Response<Body>, Problem> {
    let arrived = SystemTime::now();
    let [name, is_major] = address::query(parts.uri.query(), ["name", "isMajor"]).map_err(Problem::bad)?;
    let is_major = address::truth("isMajor", &is_major).map_err(Problem::bad)?;
    let length = length(state, &parts.headers)?;
    let folder = place(id)?;
    state.vault.may_store(&folder, &name)?;

    let counted = state.stats.upload();
    let whole = upload::receive(&state.vault, body, length, state.options.checksums).await?;
    if state.options.token_check == TokenCheck::AtStartAndEnd {
        check_token(state, &parts.headers).await?;
    }
    let upload = Upload { folder: &folder.path, name: &name, is_major, sha256: whole.sha256 };
    let entry = state.vault.store(&upload, whole.content)?;
    drop(counted);

    let response = answer::json(StatusCode::OK, &document(&entry));
    state.stats.stored(entry, unix_nanoseconds(arrived), state.options.remembered);
    Ok(response)
}

fn length(state: &State, headers: &HeaderMap) -> Result<u64, Problem> {
    let needed = || Problem::Answer(StatusCode::LENGTH_REQUIRED, "an upload needs a Content-Length".to_owned());
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let length: u64 = length.ok_or_else(needed)?;
    match state.options.max_size {
        Some(most) if length > most => {
            Err(Problem::Answer(StatusCode::PAYLOAD_TOO_LARGE, format!("a document can have {most} bytes at most")))
        }
        _ => Ok(length),
    }
}

fn place(id: &str) -> Result<Place, Problem> {
    let id = address::segment(id).map_err(Problem::bad)?;
    Place::of_id(&id).ok_or_else(|| Refused::Missing(format!("id {id:?}")).into())
}

/// Runs work that may take long on a thread for blocking work, so that it does not hold up other requests.
async fn in_vault<T: Send + 'static>(
    state: &State,
    work: impl FnOnce(&vault::Vault) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Problem> {
    let vault = Arc::clone(&state.vault);
    let done = tokio::task::spawn_blocking(move || work(&vault)).await;
    done.unwrap_or_else(|lost| Err(Refused::Store(std::io::Error::other(lost)))).map_err(Problem::from)
}

fn refused(state: &State, problem: Problem) -> Response<Body> {
    match problem {
        Problem::Answer(status, message) => answer::error(status, &message),
        Problem::Token(message) => {
            state.stats.unauthorized.fetch_add(1, Relaxed);
            let mut response = answer::error(StatusCode::UNAUTHORIZED, message);
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        Problem::Method(allowed) => {
            let mut response = answer::error(StatusCode::METHOD_NOT_ALLOWED, "no such call");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            response
        }
        Problem::Gone => answer::empty(StatusCode::BAD_REQUEST),
    }
}

/// A document in an answer of the API.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "ID")]
    id: String,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(rename = "parentId", skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Vec<Document<'a>>>,
}

fn document(entry: &Entry) -> Document<'_> {
    let is_file = !entry.folder;
    Document {
        id: entry.place.id(),
        name: entry.place.path.segments().last().map_or("", String::as_str),
        kind: if is_file { "file" } else { "folder" },
        size: is_file.then_some(entry.size),
        sha256: entry.sha256.map(|sum| crate::hex(&sum)),
        version: is_file.then(|| entry.version.to_string()),
        parent_id: vault::parent(&entry.place.path).map(|folder| Place::first(folder).id()),
        children: None,
    }
}

fn unix_nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
