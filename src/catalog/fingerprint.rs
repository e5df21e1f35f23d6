//! Content hashes of objects, rolled up over what hangs on them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Catalog, Id};

/// A BLAKE3 hash, written `b3:` and 32 hexadecimal digits (the first 128 bits).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// The fingerprint of some bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(format!("b3:{}", &blake3::hash(bytes).to_hex()[..32]))
    }

    /// The fingerprint of anything that serializes, by its postcard form. Facts beside the state
    /// ([`crate::kind::observed`]) do not count.
    ///
    /// # Panics
    /// Never for the plain data that objects are made of: postcard fails only on unsized sequences.
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let bytes = crate::kind::observed::passing_over(|| postcard::to_stdvec(value));
        Self::of_bytes(&bytes.expect("objects are plain, sized data"))
    }

    /// The fingerprint of a whole state: every object, in the order of their ids.
    #[must_use]
    pub fn of_catalog(catalog: &Catalog) -> Self {
        let mut parts: Vec<_> = catalog.objects.iter().collect();
        parts.sort_unstable_by_key(|(id, _)| *id);
        Self::of(&parts)
    }

    /// The fingerprints of each of these objects (absent ones left out), sorted by id, and the one
    /// that they give together.
    #[must_use]
    pub fn of_parts<'i>(catalog: &Catalog, ids: impl IntoIterator<Item = &'i Id>) -> (Self, Vec<(Id, Self)>) {
        let mut parts: Vec<(Id, Self)> =
            ids.into_iter().filter_map(|id| catalog.get(id).map(|object| (id.clone(), Self::of(object)))).collect();
        parts.sort_unstable();
        (Self::of(&parts), parts)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
