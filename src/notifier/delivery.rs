//! The ways to tell: a command, an address that takes JSON, and a check of healthchecks.io. Each has a queue and a task of its own, so that
//! one that hangs keeps no other waiting, and never an upload.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use url::Url;

use super::command;
use super::message::Message;
use crate::astran::ClientError;
use crate::astran::webhook::Webhook;
use crate::budget;
use crate::config::{Notify, SecretUrl};

/// What a check of healthchecks.io is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Start,
    Success,
    Fail,
    /// Shown in the check's log, and changes nothing else.
    Log,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(super) enum Parcel {
    Message(Message, SystemTime),
    /// A signal with its text for people, which names no local file unless the configuration allows that.
    Signal(Signal, String),
}

/// A way to tell.
#[derive(Debug, Clone)]
pub(super) enum Way {
    Command(Vec<String>),
    Url(Address),
    Ping(Address),
}

/// An address, with the client for it.
#[derive(Debug, Clone)]
pub(super) struct Address {
    url: SecretUrl,
    webhook: Webhook,
    names: bool,
}

/// The configured ways. Blocks for some milliseconds, to read certificates.
pub(super) fn ways(config: &Notify, ca_file: Option<&Path>) -> Result<Vec<Way>, ClientError> {
    let address = |url: &SecretUrl| {
        let webhook = Webhook::new(ca_file, url.expose(), budget::NOTIFY_ANSWER)?;
        Ok::<_, ClientError>(Address { url: url.clone(), webhook, names: config.names })
    };
    let mut ways: Vec<Way> = config.command.clone().into_iter().map(Way::Command).collect();
    ways.extend(config.url.as_ref().map(address).transpose()?.map(Way::Url));
    ways.extend(config.ping.as_ref().map(address).transpose()?.map(Way::Ping));
    Ok(ways)
}

/// The names of the configured ways, as [`Way`] shows them, without anything secret.
pub(crate) fn names(config: &Notify) -> Vec<String> {
    let command = config.command.as_ref().map(|words| name_of_command(words));
    let url = config.url.as_ref().map(|url| format!("url {}", url.shown()));
    let ping = config.ping.as_ref().map(|url| format!("ping {}", url.shown()));
    command.into_iter().chain(url).chain(ping).collect()
}

/// Without the arguments, which may hold a secret.
fn name_of_command(words: &[String]) -> String {
    format!("command {}", words.first().map_or("", String::as_str))
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(words) => f.write_str(&name_of_command(words)),
            Self::Url(address) => write!(f, "url {}", address.url.shown()),
            Self::Ping(address) => write!(f, "ping {}", address.url.shown()),
        }
    }
}

impl Way {
    /// Sends once. An error is the reason in words, which name nothing secret.
    pub(super) async fn send(&self, parcel: &Parcel, host: &str) -> Result<(), String> {
        match (self, parcel) {
            (Self::Command(words), Parcel::Message(message, time)) => {
                let (json, variables) = (message.json(host, true, *time), message.variables(host, *time));
                command::run(words, &json, &variables, budget::NOTIFY_COMMAND).await.map_err(|error| error.to_string())
            }
            (Self::Url(Address { url, webhook, names }), Parcel::Message(message, time)) => {
                let json = message.json(host, *names, *time);
                webhook.post(url.expose().clone(), "application/json", json).await.map_err(|error| error.to_string())
            }
            (Self::Ping(Address { url, webhook, .. }), Parcel::Signal(signal, text)) => {
                let sent = webhook.post(signal.address(url.expose()), "text/plain; charset=utf-8", text.clone());
                sent.await.map_err(|error| error.to_string())
            }
            (Self::Command(_) | Self::Url(_), Parcel::Signal(..)) | (Self::Ping(_), Parcel::Message(..)) => Ok(()),
        }
    }

    fn takes(&self, parcel: &Parcel) -> bool {
        matches!(self, Self::Ping(_)) == matches!(parcel, Parcel::Signal(..))
    }
}

impl Signal {
    /// Where the signal goes: `https://hc-ping.com/UUID/fail`.
    fn address(self, url: &Url) -> Url {
        let ending = match self {
            Self::Success => return url.clone(),
            Self::Start => "start",
            Self::Fail => "fail",
            Self::Log => "log",
        };
        let mut url = url.clone();
        let path = format!("{}/{ending}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

/// The queues of all ways.
#[derive(Debug)]
pub(super) struct Queues(Vec<Queue>);

#[derive(Debug)]
struct Queue {
    way: Arc<Way>,
    parcels: mpsc::Sender<Parcel>,
    /// Parcels in a row that the queue had no room for.
    dropped: u64,
}

/// The tasks that send.
#[derive(Debug)]
pub(super) struct Senders {
    tasks: JoinSet<()>,
    ending: watch::Sender<bool>,
}

/// Starts a task for each way. The tasks end when their queues are dropped and empty.
pub(super) fn start(ways: Vec<Way>, host: &str) -> (Queues, Senders) {
    let (mut tasks, mut queues) = (JoinSet::new(), Vec::new());
    let (ending, is_ending) = watch::channel(false);
    for way in ways {
        let (parcels, to_send) = mpsc::channel(budget::NOTIFY_QUEUE);
        let way = Arc::new(way);
        let sender =
            Sender { way: Arc::clone(&way), host: host.to_owned(), is_failing: false, ending: is_ending.clone() };
        tasks.spawn(sender.run(to_send));
        queues.push(Queue { way, parcels, dropped: 0 });
    }
    (Queues(queues), Senders { tasks, ending })
}

impl Queues {
    /// Hands a parcel to each way that takes its kind. Never waits: where a queue is full, the parcel is dropped and counted.
    pub(super) fn hand(&mut self, parcel: &Parcel) {
        for queue in self.0.iter_mut().filter(|queue| queue.way.takes(parcel)) {
            if queue.parcels.try_send(parcel.clone()).is_ok() {
                queue.dropped = 0;
                continue;
            }
            queue.dropped += 1;
            if queue.dropped == 1 {
                tracing::warn!("{}: too many messages wait, so new ones are dropped", queue.way);
            }
        }
    }
}

impl Senders {
    /// Waits until all that was handed over is sent, or could not be. Nothing is tried again from now on.
    pub(super) async fn finish(&mut self) {
        self.ending.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Sender {
    way: Arc<Way>,
    host: String,
    /// The last parcel could not be sent, which was logged.
    is_failing: bool,
    ending: watch::Receiver<bool>,
}

impl Sender {
    /// Sends one parcel after the other. What can't be sent is tried again a few times, after growing pauses. Of signals only the newest
    /// counts: it takes the place of one that waits to be tried again.
    async fn run(mut self, mut parcels: mpsc::Receiver<Parcel>) {
        let mut newer = None;
        while let Some(parcel) = match newer.take() {
            Some(parcel) => Some(parcel),
            None => parcels.recv().await,
        } {
            let mut pauses = budget::NOTIFY_PAUSES.into_iter();
            while !self.try_once(&parcel).await {
                let Some(pause) = pauses.next().filter(|_| !*self.ending.borrow()) else { break };
                let is_signal = matches!(parcel, Parcel::Signal(..));
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = self.ending.changed() => break,
                    Some(next) = parcels.recv(), if is_signal => {
                        newer = Some(next);
                        break;
                    }
                }
            }
        }
    }

    /// Returns whether the parcel was sent. A way that fails is logged once until it works again.
    async fn try_once(&mut self, parcel: &Parcel) -> bool {
        match self.way.send(parcel, &self.host).await {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("{}: messages can be sent again", self.way);
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(
                        "{}: a message of [notify] can't be sent, and is tried again a few times: {error}",
                        self.way
                    );
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_where_healthchecks_io_expects_them() {
        let base = Url::parse("https://hc-ping.com/uuid/?create=1").unwrap();
        assert_eq!(Signal::Success.address(&base), base);
        for (signal, url) in [(Signal::Start, "start"), (Signal::Fail, "fail"), (Signal::Log, "log")] {
            assert_eq!(signal.address(&base).as_str(), format!("https://hc-ping.com/uuid/{url}?create=1"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_what_is_new_and_waits_for_nothing() {
        let hangs = Way::Command(["/bin/sleep", "1000"].map(str::to_owned).to_vec());
        let (mut queues, _senders) = start(vec![hangs], "host");
        for _ in 0..3 * budget::NOTIFY_QUEUE {
            queues.hand(&Parcel::Message(Message::test(), SystemTime::UNIX_EPOCH));
        }
        assert!(queues.0[0].dropped >= budget::NOTIFY_QUEUE as u64);
    }

    #[tokio::test]
    async fn a_message_that_can_not_be_sent_does_not_hold_up_the_end() {
        let fails = Way::Command(vec!["/nonexistent/tell".to_owned()]);
        let (mut queues, mut senders) = start(vec![fails], "host");
        queues.hand(&Parcel::Message(Message::test(), SystemTime::UNIX_EPOCH));
        drop(queues);
        tokio::time::timeout(budget::NOTIFY_AT_END, senders.finish()).await.unwrap();
    }
}
