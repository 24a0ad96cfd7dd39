//! The content of an upload while it is sent: exactly as long as announced, and watched for a standstill.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client_config::Timeouts;
use super::transport::TransportError;
use crate::vault::{Content, ContentBody};

/// How far an upload is; the body writes it, the call reads it.
#[derive(Debug)]
pub(super) struct Progress {
    length: u64,
    start: Instant,
    /// Milliseconds after `start` at which the last chunk was pulled.
    last: AtomicU64,
    left: AtomicU64,
    /// Why the content broke off. Kept here because not every version of HTTP returns the body's error.
    failure: Mutex<Option<BodyError>>,
    ended: Notify,
}

/// Why content broke off before its announced end. The file is at fault, not the service: the caller may open it anew.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum BodyError {
    #[error("it grew while it was read")]
    Grew,
    #[error("it got shorter while it was read")]
    Shrank,
    #[error("{0}")]
    Read(#[source] Arc<std::io::Error>),
}

impl Progress {
    fn new(length: u64) -> Self {
        Self {
            length,
            start: Instant::now(),
            last: AtomicU64::new(0),
            left: AtomicU64::new(length),
            failure: Mutex::new(None),
            ended: Notify::new(),
        }
    }

    /// Whether all of the content was handed to the connection, so that the service may have it.
    pub(super) fn all_sent(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    /// Why the content could not be read to its end.
    pub(super) fn failure(&self) -> Option<BodyError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn advance(&self, bytes: u64) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Release);
        if self.left.fetch_sub(bytes, Ordering::AcqRel) == bytes {
            self.ended.notify_one();
        }
    }

    fn fail(&self, why: BodyError) -> std::io::Error {
        let error = std::io::Error::other(why.clone());
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        error
    }

    fn deadline(&self, timeouts: &Timeouts) -> Instant {
        let allowed = if self.all_sent() {
            timeouts.upload_answer + answer_allowance(self.length, timeouts)
        } else {
            timeouts.upload_idle
        };
        self.start + Duration::from_millis(self.last.load(Ordering::Acquire)) + allowed
    }

    /// Returns once the upload has stood still for too long: no chunk was pulled, or no answer came after the last.
    pub(super) async fn stalled(&self, timeouts: &Timeouts) -> TransportError {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.deadline(timeouts)) => {}
                () = self.ended.notified() => {}
            }
            if Instant::now() >= self.deadline(timeouts) {
                return if self.all_sent() {
                    TransportError::NoAnswerToUpload
                } else {
                    TransportError::UploadStalled(timeouts.upload_idle)
                };
            }
        }
    }
}

/// The extra time for the answer to a large upload: a store that hashes or scans the content takes longer for more of it.
fn answer_allowance(length: u64, timeouts: &Timeouts) -> Duration {
    let units = u32::try_from(length / (64 << 20)).unwrap_or(u32::MAX);
    timeouts.upload_answer_per_64_mib.saturating_mul(units)
}

/// A body that is exactly as long as announced. If the content is shorter or longer, an error ends the request: a file that shrank or
/// grew while it was read must not look complete to the store.
pub(super) struct ExactBody {
    inner: ContentBody,
    progress: Arc<Progress>,
}

impl ExactBody {
    /// The body, and its progress.
    pub(super) fn new(content: Content) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::new(content.length));
        (Self { inner: content.body, progress: Arc::clone(&progress) }, progress)
    }

    fn take(&self, chunk: &Bytes) -> Result<(), std::io::Error> {
        let (got, left) = (chunk.len() as u64, self.progress.left.load(Ordering::Acquire));
        if got > left {
            return Err(self.progress.fail(BodyError::Grew));
        }
        self.progress.advance(got);
        Ok(())
    }
}

impl Body for ExactBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
            return Poll::Ready(match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    // An empty chunk is no progress, and would end a chunked body.
                    Ok(chunk) if chunk.is_empty() => continue,
                    Ok(chunk) => Some(self.take(&chunk).map(|()| Frame::data(chunk))),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => Some(Err(self.progress.fail(BodyError::Read(Arc::new(error))))),
                None if self.progress.all_sent() => None,
                None => Some(Err(self.progress.fail(BodyError::Shrank))),
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.progress.all_sent()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.progress.left.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full, StreamBody};

    fn content(length: u64, bytes: &'static [u8]) -> Content {
        Content { length, body: Full::new(Bytes::from_static(bytes)).map_err(|e| match e {}).boxed() }
    }

    #[tokio::test]
    async fn the_length_is_exact() {
        let (body, progress) = ExactBody::new(content(3, b"abc"));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert!(progress.all_sent() && progress.failure().is_none());
        for length in [4, 2] {
            let (body, progress) = ExactBody::new(content(length, b"abc"));
            assert!(body.collect().await.is_err());
            let expected = match progress.failure() {
                Some(BodyError::Shrank) => length == 4,
                Some(BodyError::Grew) => length == 2,
                _ => false,
            };
            assert!(expected && !progress.all_sent(), "{length}");
        }
        assert!(ExactBody::new(content(0, b"")).0.is_end_stream());
    }

    /// Never yields.
    struct Stuck;

    impl futures_core::Stream for Stuck {
        type Item = Result<Frame<Bytes>, std::io::Error>;
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stands_still_is_noticed() {
        let timeouts = Timeouts::default();
        let (_body, progress) = ExactBody::new(Content { length: 1, body: StreamBody::new(Stuck).boxed() });
        let start = Instant::now();
        assert!(matches!(progress.stalled(&timeouts).await, TransportError::UploadStalled(_)));
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_upload_is_left_alone_and_its_answer_may_take_longer() {
        let timeouts = Timeouts { upload_answer: Duration::from_secs(7), ..Timeouts::default() };
        let progress = Arc::new(Progress::new(3 * (64 << 20)));
        let start = Instant::now();
        let watcher = tokio::spawn({
            let (progress, timeouts) = (Arc::clone(&progress), timeouts.clone());
            async move { progress.stalled(&timeouts).await }
        });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            assert!(!watcher.is_finished());
            progress.advance(64 << 20);
        }
        assert!(matches!(watcher.await.unwrap(), TransportError::NoAnswerToUpload));
        assert_eq!(start.elapsed().as_secs(), 150 + 7 + 3);
    }
}
