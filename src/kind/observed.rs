//! What stands beside an object's state: a fact that helps to decide, and makes no difference.

use std::cell::Cell;

use serde::{Deserialize, Serialize, Serializer};

/// A fact that is no part of the state: what only a live database knows (the columns of a view), or
/// what counts only at the moment of creation (whether a materialized view is filled).
///
/// All values compare equal, and fingerprints pass over them (see [`passing_over`]): a desired state
/// that was read from files lacks the facts of the live one, and is the same state nevertheless.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Observed<T>(pub Option<T>);

impl<T> Observed<T> {
    /// The fact, where it is known.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Default for Observed<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> From<T> for Observed<T> {
    fn from(fact: T) -> Self {
        Self(Some(fact))
    }
}

impl<T> PartialEq for Observed<T> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

thread_local! {
    static PASSED_OVER: Cell<bool> = const { Cell::new(false) };
}

/// Runs `serialize` so that every [`Observed`] comes out as unknown: for fingerprints, which must be
/// the same for equal objects. Caches keep the facts.
pub fn passing_over<R>(serialize: impl FnOnce() -> R) -> R {
    let before = PASSED_OVER.replace(true);
    let result = serialize();
    PASSED_OVER.set(before);
    result
}

/// Whether that is going on.
#[must_use]
pub fn is_passed_over() -> bool {
    PASSED_OVER.get()
}

impl<T: Serialize> Serialize for Observed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if PASSED_OVER.get() { None::<&T>.serialize(serializer) } else { self.0.serialize(serializer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_kept_but_make_no_difference() {
        let (known, unknown) = (Observed::from(7_u32), Observed::default());
        assert_eq!(known, unknown);
        let bytes = |fact: &Observed<u32>| postcard::to_stdvec(fact).unwrap_or_default();
        assert_ne!(bytes(&known), bytes(&unknown));
        assert_eq!(passing_over(|| bytes(&known)), bytes(&unknown));
        let kept: Observed<u32> = postcard::from_bytes(&bytes(&known)).unwrap_or_default();
        assert_eq!(kept.get(), Some(&7));
    }
}
