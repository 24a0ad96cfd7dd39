//! The content of an upload on its way: exactly as long as announced, watched for standing still.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Timeouts;
use crate::vault::{Content, ContentBody};

/// What is known of an upload under way; shared by the body, which tells, and the call, which watches.
#[derive(Debug)]
pub(super) struct Progress {
    length: u64,
    start: Instant,
    /// Milliseconds after `start` at which the last chunk was pulled.
    last: AtomicU64,
    left: AtomicU64,
    /// Why the content broke off. Kept here because not every version of HTTP hands the body's error back.
    failure: Mutex<Option<String>>,
    ended: Notify,
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
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn advance(&self, bytes: u64) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Release);
        if self.left.fetch_sub(bytes, Ordering::AcqRel) == bytes {
            self.ended.notify_one();
        }
    }

    fn fail(&self, why: String) -> std::io::Error {
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
    pub(super) async fn stalled(&self, timeouts: &Timeouts) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.deadline(timeouts)) => {}
                () = self.ended.notified() => {}
            }
            if Instant::now() >= self.deadline(timeouts) {
                return;
            }
        }
    }
}

/// A store that hashes or scans what it got takes longer over more of it.
fn answer_allowance(length: u64, timeouts: &Timeouts) -> Duration {
    let units = u32::try_from(length / (64 << 20)).unwrap_or(u32::MAX);
    timeouts.upload_answer_per_64_mib.saturating_mul(units)
}

/// A body that is exactly as long as its content said it would be: shorter or longer is an error that breaks the request
/// off, since a file that shrank or grew meanwhile must not look complete to the store.
pub(super) struct Exact {
    inner: ContentBody,
    progress: Arc<Progress>,
}

impl Exact {
    /// The body and what it tells of itself.
    pub(super) fn new(content: Content) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::new(content.length));
        (Self { inner: content.body, progress: Arc::clone(&progress) }, progress)
    }

    fn take(&self, chunk: &Bytes) -> Result<(), std::io::Error> {
        let (got, left) = (chunk.len() as u64, self.progress.left.load(Ordering::Acquire));
        if got > left {
            return Err(self.progress.fail("it grew while it was read".to_owned()));
        }
        self.progress.advance(got);
        Ok(())
    }
}

impl Body for Exact {
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
                    // An empty chunk is no progress, and ends a chunked body.
                    Ok(chunk) if chunk.is_empty() => continue,
                    Ok(chunk) => Some(self.take(&chunk).map(|()| Frame::data(chunk))),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => Some(Err(self.progress.fail(error.to_string()))),
                None if self.progress.all_sent() => None,
                None => Some(Err(self.progress.fail("it got shorter while it was read".to_owned()))),
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
        let (body, progress) = Exact::new(content(3, b"abc"));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert!(progress.all_sent() && progress.failure().is_none());
        for (length, why) in [(4, "shorter"), (2, "grew")] {
            let (body, progress) = Exact::new(content(length, b"abc"));
            assert!(body.collect().await.is_err());
            assert!(!progress.all_sent() && progress.failure().unwrap().contains(why));
        }
        assert!(Exact::new(content(0, b"")).0.is_end_stream());
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
    async fn standing_still_is_noticed() {
        let timeouts = Timeouts::default();
        let (_body, progress) = Exact::new(Content { length: 1, body: StreamBody::new(Stuck).boxed() });
        let start = Instant::now();
        progress.stalled(&timeouts).await;
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
        watcher.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 150 + 7 + 3);
    }
}
