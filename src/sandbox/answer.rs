//! Answers and their bodies.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

/// The size in bytes of one read of a document from the disk.
const PIECE: usize = 256 * 1024;

/// The connection must be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
pub(super) struct Cut;

/// The body of an answer. Its length is always known beforehand.
pub(super) enum Body {
    Whole(Bytes),
    Pieces { source: mpsc::Receiver<io::Result<Bytes>>, left: u64, spoil: bool },
}

impl Body {
    /// The content of a file, which is read while it is sent.
    pub(super) fn of_file(file: File, length: u64) -> Self {
        let (sender, source) = mpsc::channel(2);
        tokio::spawn(read_file(file, sender));
        Self::Pieces { source, left: length, spoil: false }
    }

    /// Returns a body of the same bytes that sends a few at a time.
    pub(super) fn dripping(self, bytes: usize, every: Duration) -> Self {
        let left = self.length();
        let (sender, source) = mpsc::channel(1);
        tokio::spawn(drip(self, bytes.max(1), every, sender));
        Self::Pieces { source, left, spoil: false }
    }

    /// Returns a body of the same length with another first byte.
    pub(super) fn spoilt(self) -> Self {
        match self {
            Self::Whole(bytes) => Self::Whole(spoil(&bytes)),
            Self::Pieces { source, left, .. } => Self::Pieces { source, left, spoil: true },
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pieces { left, .. } => *left,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces { source, left, spoil: spoils } => source.poll_recv(cx).map(|piece| {
                let mut piece = piece?;
                if let Ok(bytes) = &mut piece {
                    *left = left.saturating_sub(bytes.len() as u64);
                    if std::mem::take(spoils) {
                        *bytes = spoil(bytes);
                    }
                }
                Some(piece.map(Frame::data))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}

fn spoil(bytes: &[u8]) -> Bytes {
    let mut other = BytesMut::from(bytes);
    if let Some(first) = other.first_mut() {
        *first ^= 1;
    }
    other.freeze()
}

async fn read_file(mut file: File, sender: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::with_capacity(PIECE);
            (&mut file).take(PIECE as u64).read_to_end(&mut piece).map(|_| (file, piece))
        });
        let (piece, rest) = match read.await.unwrap_or_else(|lost| Err(io::Error::other(lost))) {
            Ok((_, piece)) if piece.is_empty() => return,
            Ok((rest, piece)) => (Ok(Bytes::from(piece)), Some(rest)),
            Err(error) => (Err(error), None),
        };
        let gone = sender.send(piece).await.is_err();
        match rest {
            Some(rest) if !gone => file = rest,
            _ => return,
        }
    }
}

async fn drip(mut body: Body, bytes: usize, every: Duration, sender: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(Ok(frame)) = body.frame().await {
        let mut data = frame.into_data().unwrap_or_default();
        while !data.is_empty() {
            tokio::time::sleep(every).await;
            let piece = data.split_to(bytes.min(data.len()));
            if sender.send(Ok(piece)).await.is_err() {
                return;
            }
        }
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    text(status, "", "")
}

/// An answer with this body; an empty content type sets none.
pub(super) fn text(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Whole(body.into()));
    *response.status_mut() = status;
    if let (false, Ok(value)) = (content_type.is_empty(), HeaderValue::from_str(content_type)) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = Response::new(Body::Whole(body.into()));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

/// `{"error": …}`.
pub(super) fn error(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "error": message }))
}

/// Reads and drops the rest of a body up to a limit, as servers do: a client that still sends would not read its answer.
pub(super) async fn drain(body: &mut Incoming) {
    let mut left: usize = 2 * 1024 * 1024;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
