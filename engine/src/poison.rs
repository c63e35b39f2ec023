//! The first reason why a store stopped. Once set it never goes away: the store is reopened.

use std::sync::OnceLock;

/// Set by the first failed log write, failed assert or lost shard; read before every reply.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    reason: OnceLock<String>,
}

impl Poison {
    /// Stops the store. Only the first reason is kept. Returns whether this was the first.
    pub(crate) fn set(&self, reason: &str) -> bool {
        let is_first = self.reason.set(reason.to_owned()).is_ok();
        if is_first {
            tracing::error!(reason, "store stopped");
        }
        is_first
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}
