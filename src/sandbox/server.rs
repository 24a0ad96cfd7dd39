//! The listener. It serves each connection in HTTP/1.1, or in HTTP/2 where the client begins with that.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::address::{self, Route};
use super::answer::{self, Body, Cut};
use super::{State, api, control, realm};

/// How long running requests may take once the sandbox is stopped.
const GRACE: Duration = Duration::from_millis(200);

/// Accepts connections until the stop signal, or until its sender is dropped.
pub(super) async fn run(state: Arc<State>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let http = Arc::new(protocol());
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    state.stats.connections.fetch_add(1, Relaxed);
                    connections.spawn(serve(Arc::clone(&state), Arc::clone(&http), stream, stop.clone()));
                }
                // Mostly the process has no descriptors left. That is over when a connection ends.
                Err(error) => {
                    tracing::warn!("the sandbox can't take a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the handle was dropped, which is a stop too.
    drop(stop.wait_for(|stop| *stop).await);
}

fn protocol() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().pipeline_flush(true);
    http.http2()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .max_concurrent_streams(1000);
    http
}

async fn serve(
    state: Arc<State>,
    http: Arc<Builder<TokioExecutor>>,
    stream: TcpStream,
    mut stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("a connection to the sandbox ended at once: {error}");
        return;
    }
    let cut = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let (state, cut) = (Arc::clone(&state), Arc::clone(&cut));
        async move {
            // In HTTP/2 the error alone would end only the stream, not the connection.
            answer(&state, request).await.inspect_err(|_| cut.notify_one())
        }
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cut.notified() => return,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection to the sandbox ended: {error}");
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let _counted = state.stats.request();
    let uri = request.uri().clone();
    let Some(path) = uri.path().strip_prefix(state.options.prefix.as_str()) else { return Ok(nothing()) };
    match address::route(path) {
        Route::Realm { realm, endpoint } => realm::answer(state, realm, endpoint, request).await,
        Route::Control { .. } if !state.options.controls => Ok(nothing()),
        Route::Control { name } => control::answer(state, name, request).await,
        Route::Nothing => Ok(nothing()),
        route => api::answer(state, &route, request).await,
    }
}

fn nothing() -> Response<Body> {
    answer::error(StatusCode::NOT_FOUND, "no such call")
}
