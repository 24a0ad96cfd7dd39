//! What the program shows of itself: its health, its metrics, its uploads in flight, its log, and the listener that serves the first two and the page for people over HTTP.

pub mod health;
pub mod http;
pub(crate) mod last_reload;
pub mod logging;
pub mod metrics;
pub(crate) mod rates;
pub(crate) mod screen;
pub mod stall;
pub mod transfers;
pub mod waiting;
