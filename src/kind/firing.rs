//! In which sessions triggers and rules fire: `enabled=always`.

use serde::{Deserialize, Serialize};

use super::Lowering;
use crate::kdl::{Node, NodeOut};

/// For which values of `session_replication_role` something fires (manual, ALTER TABLE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Firing {
    /// `origin` and `local`: what PostgreSQL starts with.
    #[default]
    Origin,
    /// Every value.
    Always,
    /// `replica`: where logical replication applies changes.
    Replica,
    /// None.
    Disabled,
}

/// The value, its word in KDL, its code in the catalogs, its clause in SQL.
const FORMS: [(Firing, &str, &str, &str); 4] = [
    (Firing::Origin, "origin", "O", "ENABLE"),
    (Firing::Always, "always", "A", "ENABLE ALWAYS"),
    (Firing::Replica, "replica", "R", "ENABLE REPLICA"),
    (Firing::Disabled, "disabled", "D", "DISABLE"),
];

impl Firing {
    /// From `tgenabled`, `ev_enabled` or `evtenabled`.
    #[must_use]
    pub fn from_code(code: &str) -> Self {
        FORMS.iter().find(|(_, _, one, _)| *one == code).map_or(Self::Origin, |(firing, ..)| *firing)
    }

    fn form(self) -> (&'static str, &'static str) {
        FORMS.iter().find(|(firing, ..)| *firing == self).map_or(("origin", "ENABLE"), |(_, word, _, sql)| (word, sql))
    }

    /// `ENABLE ALWAYS`; the words TRIGGER or RULE come behind it.
    #[must_use]
    pub fn sql(self) -> &'static str {
        self.form().1
    }

    /// Reads the property `enabled`.
    pub fn read(node: &mut Node<'_>, out: &mut Lowering) -> Self {
        let word = node.word("enabled", &FORMS.map(|(_, word, ..)| word), &mut out.findings);
        word.and_then(|word| FORMS.iter().find(|(_, one, ..)| *one == word.value)).map_or(Self::Origin, |(firing, ..)| *firing)
    }

    /// Writes the property `enabled`, where it says something.
    pub fn write(self, node: &mut NodeOut) {
        if self != Self::Origin {
            node.set("enabled", self.form().0);
        }
    }
}
