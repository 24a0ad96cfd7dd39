//! Logs: to standard error, as text or JSON.
