//! What the project leaves alone.

use smol_str::SmolStr;

use crate::catalog::id::{Id, Ident, undotted};
use crate::kind::registration;

/// How a table that inherits from another one is named, which has no kind.
pub const INHERITANCE: &str = "inheritance";

/// The kinds on which things without a kind may hang.
const RELATIONS: [&str; 3] = ["table", "view", "materialized-view"];

/// A rule of schema.kdl: objects of one kind whose names match a pattern, with all that hangs on
/// them, are neither read nor changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignore {
    /// The keyword of the kind: `schema`, `table`.
    pub kind: SmolStr,
    /// A pattern for each part of the path; `*` stands for any characters, `?` for one.
    pub parts: Vec<Ident>,
    /// Why.
    pub reason: Option<String>,
}

impl Ignore {
    /// A rule from a dotted pattern: `public.events_p*`.
    #[must_use]
    pub fn new(kind: &str, pattern: &str, reason: Option<String>) -> Self {
        Self { kind: SmolStr::new(kind), parts: undotted(pattern), reason }
    }

    /// Whether `id` is such an object, stands in one, or hangs on one.
    #[must_use]
    pub fn matches(&self, id: &Id) -> bool {
        if id.kind == self.kind {
            return id.path.len() == self.parts.len() && self.starts(&id.path);
        }
        // A child's path goes on where its parent's ends; a satellite's starts with its parent's kind. Nothing hangs on what
        // has no kind.
        registration(&self.kind).is_some()
            && ((id.path.len() > self.parts.len() && self.starts(&id.path))
                || (id.path.first() == Some(&self.kind) && id.path.len() > self.parts.len() && self.starts(&id.path[1..])))
    }

    /// Whether it names something that has no kind, as `policy public.t.p` does.
    #[must_use]
    pub fn matches_name(&self, name: &str) -> bool {
        let Some((kind, path)) = name.split_once(' ') else { return false };
        let path = undotted(path);
        (kind == self.kind && path.len() == self.parts.len() && self.starts(&path))
            || (self.kind == "schema" && path.len() > 1 && self.starts(&path))
            || (RELATIONS.contains(&self.kind.as_str())
                && (path.len() > self.parts.len() || kind == INHERITANCE && path.len() == self.parts.len())
                && self.starts(&path))
    }

    fn starts(&self, path: &[Ident]) -> bool {
        self.parts.iter().zip(path).all(|(pattern, name)| glob(pattern, name))
    }
}

/// Whether `text` matches `pattern`, where `*` stands for any characters and `?` for one.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands and how far it reached: the only place to go back to.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, reached)) => {
                    star = Some((at, reached + 1));
                    p = at + 1;
                    t = reached + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, matches) in [
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*", "", true),
            ("?", "", false),
            ("*ab*b", "aababb", true),
            ("events_p*", "events", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn with_all_that_hangs_on_them() {
        let table = Id::new("table", ["public", "events_p1"]);
        let rule = Ignore::new("table", "public.events_p*", None);
        assert!(rule.matches(&table));
        assert!(rule.matches(&table.child("column", "id")));
        assert!(rule.matches(&table.satellite("comment", None)));
        assert!(!rule.matches(&Id::new("function", ["public", "events_p1"])));
        assert!(!rule.matches(&Id::new("table", ["public", "events"])));
        assert!(rule.matches_name("inheritance public.events_p1"));
        assert!(!rule.matches_name("shell-type public.events_p1"));
        let unknown = Ignore::new("inheritance", "public.events_p1", None);
        assert!(!unknown.matches(&table.child("column", "id")));
        assert!(unknown.matches_name("inheritance public.events_p1"));
        let schema = Ignore::new("schema", "audit_*", None);
        assert!(schema.matches(&Id::new("schema", ["audit_x"])));
        assert!(schema.matches(&Id::new("table", ["audit_x", "t"])));
        assert!(!schema.matches(&table));
    }
}
