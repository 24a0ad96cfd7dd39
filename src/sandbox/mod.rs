//! A strict stand-in of the service on this machine: a realm that answers as Keycloak does, the API's calls, and a vault
//! that is a plain folder.
//!
//! The sandbox does what is known of the service and refuses everything else, so a client that works with the sandbox uses nothing
//! unknown. What is unknown of the service is a setting of [`Options`]; what goes wrong with real services is a rule of [`faults`].
//!
//! ```text
//! server ─► address ─┬─► realm (tokens)         book · lockout · refusal · keycloak
//!                    ├─► api ─► upload ─► vault  disk · id · listing · store · version
//!                    └─► control (faults, stats)  rules · misbehave
//! ```
//!
//! Besides the service's own addresses there are `POST` and `DELETE /sandbox/faults`, `GET /sandbox/stats` and
//! `GET /sandbox/uploads?after=NUMBER`. A sandbox that is embedded in another command (`--sandbox`) does not have them: another user
//! of this machine could make such a sandbox claim that it has stored a file, and the program would delete the file. The sandbox listens on
//! loopback only, without TLS, in HTTP/1.1 and HTTP/2 with prior knowledge.

mod address;
mod answer;
mod api;
mod control;
pub mod faults;
mod misbehave;
mod options;
mod realm;
mod rules;
mod server;
mod stats;
mod upload;
mod vault;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use faults::Rule;
pub use options::{Access, BruteForce, Duplicates, Options, TokenCheck, random_password};
use realm::{Authority, Realm};
use rules::Rules;
use stats::Stats;
pub use stats::{Counts, Upload};
use vault::Vault;

/// Why a sandbox does not start. The caller shows the text to whoever started it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address is not on loopback: everybody who can reach it could read the vault.
    #[error("the sandbox listens on this machine only: give a loopback address like 127.0.0.1:8080 instead of {0}")]
    NotLoopback(SocketAddr),
    /// Another program listens on the address.
    #[error("the sandbox can't listen on {0}: something else does already; give another port, or 0 for a free one")]
    InUse(SocketAddr),
    /// Listening failed for another reason.
    #[error("the sandbox can't listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The vault's folder can't be used.
    #[error("the sandbox can't keep its vault in {store}: {source}", store = store.display())]
    Store {
        /// The configured folder.
        store: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The HTTP client that fetches Keycloak's keys can't be made.
    #[error("the sandbox can't ask the Keycloak realm for its keys: {0}")]
    Keycloak(#[from] reqwest::Error),
}

/// A running sandbox. Dropping it stops the sandbox.
#[derive(Debug)]
pub struct Sandbox {
    state: Arc<State>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// Sets the faults of a sandbox. Clones belong to the same sandbox.
#[derive(Debug, Clone)]
pub struct Faults(Arc<State>);

/// The state that all requests share.
struct State {
    options: Arc<Options>,
    access: Access,
    authority: Authority,
    vault: Arc<Vault>,
    faults: Rules,
    stats: Stats,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Starts a sandbox on the current tokio runtime. It accepts connections once this returns.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        let listener = listen(options.listen).await?;
        let address =
            listener.local_addr().map_err(|source| SandboxError::Listen { address: options.listen, source })?;
        let vault =
            Vault::open(&options).map_err(|source| SandboxError::Store { store: options.store.clone(), source })?;
        let options = Arc::new(options);
        let state = Arc::new(State {
            access: Access::of(&options, address),
            authority: Authority::new(&options)?,
            vault: Arc::new(vault),
            faults: Rules::default(),
            stats: Stats::default(),
            options,
        });
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(server::run(Arc::clone(&state), listener, stopped));
        Ok(Self { state, stop, server })
    }

    /// The addresses, and the login.
    pub fn access(&self) -> &Access {
        &self.state.access
    }

    /// Returns the handle that sets faults.
    pub fn faults(&self) -> Faults {
        Faults(Arc::clone(&self.state))
    }

    /// Returns the counters.
    pub fn stats(&self) -> Counts {
        self.state.stats.counts()
    }

    /// Returns the uploads stored since the start, in their order.
    pub fn uploads(&self) -> Vec<Upload> {
        self.state.stats.uploads_after(0)
    }

    /// Stops the sandbox: it accepts no more connections and gives running requests 200 ms. Returns when all connections are closed.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.server.await {
            tracing::warn!("the sandbox ended badly: {error}");
        }
    }
}

impl Faults {
    /// Sets a rule.
    pub fn add(&self, rule: Rule) {
        self.0.add_fault(rule);
    }

    /// Removes all rules and restores the user: enabled, not locked, no action required.
    pub fn clear(&self) {
        self.0.clear_faults();
    }
}

impl State {
    fn add_fault(&self, rule: Rule) {
        let is_done = rule.call.is_none() && misbehave::apply_to_realm(self, &rule.fault);
        if !is_done {
            self.faults.add(rule);
        }
    }

    fn clear_faults(&self) {
        self.faults.clear();
        self.authority.with_own(Realm::restore_user);
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, SandboxError> {
    if !address.ip().is_loopback() {
        return Err(SandboxError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => SandboxError::InUse(address),
        _ => SandboxError::Listen { address, source },
    })
}
