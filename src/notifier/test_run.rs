//! The trial messages of `notify --test`.

use std::time::SystemTime;

use tokio::task::JoinSet;

use super::delivery::{self, Parcel, Signal, Way};
use super::host;
use super::message::Message;
use crate::astran::ClientError;
use crate::config::Config;

/// What became of a trial message.
#[derive(Debug)]
pub(crate) struct TestResult {
    /// The way, as `url https://hooks.example`.
    pub(crate) way: String,
    /// What is wrong; `None` where the message was taken.
    pub(crate) wrong: Option<String>,
}

/// Sends a trial message by each configured way, side by side.
pub(crate) async fn test(config: &Config) -> Result<Vec<TestResult>, ClientError> {
    let (notify, ca_file) = (config.notify.clone(), config.service.ca_file.clone());
    let reading = tokio::task::spawn_blocking(move || delivery::ways(&notify, ca_file.as_deref()));
    let ways = reading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let mut trials = JoinSet::new();
    for (number, way) in ways.into_iter().enumerate() {
        trials.spawn(async move { (number, trial(&way).await) });
    }
    let mut results = trials.join_all().await;
    results.sort_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

async fn trial(way: &Way) -> TestResult {
    let (host, message) = (host(), Message::test());
    let parcel = match way {
        Way::Command(_) | Way::Url(_) => Parcel::Message(message, SystemTime::now()),
        // A sign of life would hide a trouble that the check shows.
        Way::Ping(_) => Parcel::Signal(Signal::Log, message.text(&host, false)),
    };
    let wrong = way.send(&parcel, &host).await.err();
    TestResult { way: way.to_string(), wrong }
}
