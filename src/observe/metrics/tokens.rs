//! How often the login service was asked for a token, and with which outcome.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// What became of a request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOutcome {
    /// The login service gave a token.
    Granted,
    /// The login service refused the login or the refresh token, or the program did not send what was refused before.
    Refused,
    /// The login service was in trouble, or did not answer.
    Failed,
}

/// The requests for tokens of one session. Clones share them.
#[derive(Debug, Clone)]
pub struct TokenRequests(Family<Labels, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    grant: &'static str,
    outcome: &'static str,
}

/// The grants that are counted, by the value of their label.
const GRANTS: [&str; 2] = [TokenRequests::LOGIN, TokenRequests::REFRESH];

impl Default for TokenRequests {
    /// All are shown with zero: Prometheus can't see an increase from nothing.
    fn default() -> Self {
        let requests = Self(Family::default());
        for grant in GRANTS {
            for outcome in [TokenOutcome::Granted, TokenOutcome::Refused, TokenOutcome::Failed] {
                drop(requests.0.get_or_create(&labels(grant, outcome)));
            }
        }
        requests
    }
}

impl TokenRequests {
    /// A login with the password or the client's secret.
    pub(crate) const LOGIN: &'static str = "login";
    /// A renewal with the refresh token.
    pub(crate) const REFRESH: &'static str = "refresh";

    /// Counts a request that has ended. `grant` is [`Self::LOGIN`] or [`Self::REFRESH`].
    pub(crate) fn count(&self, grant: &'static str, outcome: TokenOutcome) {
        self.0.get_or_create(&labels(grant, outcome)).inc();
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests for a token, by grant and outcome.";
        self.0.encode(encoder.encode_descriptor("token_requests", help, None, MetricType::Counter)?)
    }
}

fn labels(grant: &'static str, outcome: TokenOutcome) -> Labels {
    let outcome = match outcome {
        TokenOutcome::Granted => "granted",
        TokenOutcome::Refused => "refused",
        TokenOutcome::Failed => "failed",
    };
    Labels { grant, outcome }
}
