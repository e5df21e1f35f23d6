//! Why the executor stops before the end.

use super::error::ApplyError;

/// An error, or a wish from outside to stop here.
#[derive(Debug)]
pub(super) enum Halt {
    /// Asked to stop, and why; everything committed stays.
    Interrupted(String),
    /// Failed.
    Failed(ApplyError),
}

impl From<ApplyError> for Halt {
    fn from(error: ApplyError) -> Self {
        Self::Failed(error)
    }
}
