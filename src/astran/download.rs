//! The download of a document: read piece by piece, and given up where it comes too slowly.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::HeaderValue;
use tokio::time::{Instant, timeout_at};

use super::client_config::Timeouts;
use super::connection::{Connection, Wanted, shown};
use super::transport::{self, Limits};
use super::unreachable::{describe, whole_chain};
use crate::budget;
use crate::vault::{Download, Kind, RemotePath, VaultError};

const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

impl Connection {
    /// Opens the content of the document at a path.
    pub(super) async fn download(&self, path: &RemotePath) -> Result<ContentStream, VaultError> {
        let url = self.addresses.filesystem(path)?;
        let what = format!("the download of {}", shown(path));
        let call = self.call(&what, &url);
        let response = self.get(&call, ANYTHING, Wanted::Content).await?;
        if response.status().is_success() {
            return Ok(ContentStream::new(what, response, &self.timeouts));
        }
        let answer = transport::read(response, Limits::small(&self.timeouts)).await.map_err(|e| call.failed(&e))?;
        Err(call.refused(&answer, SystemTime::now()))
    }
}

/// The content of a document as it comes.
#[derive(Debug)]
pub struct ContentStream {
    /// The download, for messages.
    what: String,
    response: Response,
    /// The announced length.
    length: Option<u64>,
    received: u64,
    idle: Duration,
    rate: MinimumRate,
}

impl ContentStream {
    fn new(what: String, response: Response, timeouts: &Timeouts) -> Self {
        let rate = MinimumRate::new(timeouts.download_window);
        Self { what, length: response.content_length(), response, received: 0, idle: timeouts.idle, rate }
    }

    fn broken(&self, why: &str) -> VaultError {
        VaultError::new(Kind::Unavailable, format!("{} broke off after {} bytes: {why}", self.what, self.received))
    }

    fn end(&self) -> Result<Option<Bytes>, VaultError> {
        match self.length {
            Some(length) if length != self.received => Err(self.broken(&format!("{length} were announced"))),
            _ => Ok(None),
        }
    }
}

impl Download for ContentStream {
    fn length(&self) -> Option<u64> {
        self.length
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, VaultError> {
        let idle_end = Instant::now() + self.idle;
        loop {
            let start = Instant::now();
            let next = timeout_at(idle_end.min(start + self.rate.window_left()), self.response.chunk()).await;
            self.rate.waited += start.elapsed();
            match next {
                Ok(Ok(Some(chunk))) => {
                    let length = chunk.len() as u64;
                    self.received += length;
                    self.rate.received += length;
                    return Ok(Some(chunk));
                }
                Ok(Ok(None)) => return self.end(),
                Ok(Err(error)) => {
                    tracing::debug!(error = whole_chain(&error), "the download broke off");
                    return Err(self.broken(&describe(&error)));
                }
                Err(_) if Instant::now() >= idle_end => {
                    return Err(self.broken(&format!("nothing came for {} s", self.idle.as_secs())));
                }
                Err(_) if self.rate.next_window() => {}
                Err(_) => {
                    let (rate, window) = (budget::DOWNLOAD_RATE, self.rate.window.as_secs());
                    return Err(self.broken(&format!("less than {rate} bytes/s came for {window} s")));
                }
            }
        }
    }
}

/// Whether a download is fast enough. Only the time that is spent waiting for the service counts: the reader of the content may take
/// as long as it likes.
#[derive(Debug)]
struct MinimumRate {
    window: Duration,
    /// How long the current window has waited for the service.
    waited: Duration,
    /// What came in the current window, in bytes.
    received: u64,
}

impl MinimumRate {
    fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, received: 0 }
    }

    fn window_left(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Begins the next window. Returns whether enough came in the one that ends.
    fn next_window(&mut self) -> bool {
        let enough = u128::from(self.received) * 1000 >= u128::from(budget::DOWNLOAD_RATE) * self.window.as_millis();
        (self.waited, self.received) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};
    use tokio::time::{Sleep, sleep};

    /// So many pieces of a size, each after a pause.
    struct Pieces {
        left: u32,
        size: usize,
        pause: Duration,
        next: Pin<Box<Sleep>>,
    }

    impl futures_core::Stream for Pieces {
        type Item = std::io::Result<Frame<Bytes>>;
        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            ready!(self.next.as_mut().poll(cx));
            self.left -= 1;
            self.next = Box::pin(sleep(self.pause));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; self.size])))))
        }
    }

    fn download(left: u32, size: usize, pause: u64) -> ContentStream {
        let pause = Duration::from_secs(pause);
        let pieces = Pieces { left, size, pause, next: Box::pin(sleep(pause)) };
        let response = hyper::Response::new(reqwest::Body::wrap(StreamBody::new(pieces)));
        ContentStream::new("the download of /a".into(), response.into(), &Timeouts::default())
    }

    async fn read(download: &mut ContentStream, reader: Duration) -> Result<u64, VaultError> {
        while download.chunk().await?.is_some() {
            sleep(reader).await;
        }
        Ok(download.received)
    }

    /// Regression: a download of one byte every 29 s was read for ever, and a verification by content waited for it.
    #[tokio::test(start_paused = true)]
    async fn a_download_slower_than_the_minimum_rate_is_given_up_after_a_minute() {
        for (size, pause) in [(1, 29), (1023, 1)] {
            let start = Instant::now();
            let error = read(&mut download(1_000_000, size, pause), Duration::ZERO).await.unwrap_err();
            assert_eq!(error.kind, Kind::Unavailable);
            assert_eq!(start.elapsed().as_secs(), 60, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_download_that_keeps_the_minimum_rate_may_take_hours() {
        let pieces = 10_000;
        assert_eq!(read(&mut download(pieces, 2048, 1), Duration::ZERO).await.unwrap(), 2048 * u64::from(pieces));
        assert_eq!(read(&mut download(500, 50_000, 25), Duration::ZERO).await.unwrap(), 50_000 * 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_document_may_come_slowly_and_a_reader_may_take_its_time() {
        assert_eq!(read(&mut download(2, 1, 29), Duration::ZERO).await.unwrap(), 2);
        assert_eq!(read(&mut download(100, 1, 0), Duration::from_secs(3600)).await.unwrap(), 100);
    }
}
