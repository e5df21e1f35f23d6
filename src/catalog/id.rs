//! Names and identities. The one codec between names and SQL text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// One name, exact: never folded, never split.
pub type Ident = SmolStr;

/// What an object is and where: its kind's keyword and the path of names that leads to it.
///
/// Never an OID: two servers that hold the same schema give the same ids. The path of a child
/// starts with its parent's path (`column public.orders.id`); satellites that can hang on anything
/// (comments, owners, grants) put their parent's keyword first.
#[derive(Clone, Eq, Serialize, Deserialize)]
#[serde(from = "Names")]
pub struct Id {
    /// The keyword of the kind, as in KDL: `table`, `foreign-key`.
    pub kind: SmolStr,
    /// From the outermost name to the object's own.
    pub path: Arc<[Ident]>,
    /// All names folded into one word: every look-up in a catalog hashes an id, and in a large one to read the names
    /// again takes longer than all else.
    #[serde(skip)]
    word: u64,
}

/// An [`Id`] as it is kept.
#[derive(Deserialize)]
struct Names {
    kind: SmolStr,
    path: Arc<[Ident]>,
}

impl From<Names> for Id {
    fn from(Names { kind, path }: Names) -> Self {
        Self::of(kind, path)
    }
}

impl Id {
    fn of(kind: SmolStr, path: Arc<[Ident]>) -> Self {
        let word = word(&kind, &path);
        Self { kind, path, word }
    }

    /// A number that differs for nearly all ids, in one run of this program.
    #[must_use]
    pub const fn mark(&self) -> u64 {
        self.word
    }

    /// The id of an object of `kind` at `path`.
    pub fn new<S: Into<Ident>>(kind: &str, path: impl IntoIterator<Item = S>) -> Self {
        Self::of(SmolStr::new(kind), path.into_iter().map(Into::into).collect())
    }

    /// A child of `self`: its path goes on from here.
    #[must_use]
    pub fn child(&self, kind: &str, name: &str) -> Self {
        Self::new(kind, self.path.iter().cloned().chain([Ident::new(name)]))
    }

    /// What hangs on `self` whatever kind that is: its path starts with the keyword of `self`.
    #[must_use]
    pub fn satellite(&self, kind: &str, name: Option<&str>) -> Self {
        let path = [self.kind.clone()].into_iter().chain(self.path.iter().cloned());
        Self::new(kind, path.chain(name.map(Ident::new)))
    }

    /// The object that a satellite hangs on, where `extra` names follow the parent's path.
    #[must_use]
    pub fn satellite_parent(&self, extra: usize) -> Self {
        Self::of(self.path[0].clone(), self.path[1..self.path.len() - extra].into())
    }

    /// The same path, as another kind.
    #[must_use]
    pub fn as_kind(&self, kind: &str) -> Self {
        Self::of(SmolStr::new(kind), self.path.clone())
    }

    /// The path without its last name, as an id of `kind`.
    #[must_use]
    pub fn up(&self, kind: &str) -> Self {
        Self::of(SmolStr::new(kind), self.path[..self.path.len() - 1].into())
    }

    /// A sibling: the same kind and parent with another name.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        self.up(&self.kind).child(&self.kind, name)
    }

    /// The object's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.last().map_or("", |name| name.as_str())
    }

    /// Whether it is a function, a procedure or an aggregate: its path ends with the types of its arguments.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        matches!(self.kind.as_str(), "function" | "procedure" | "aggregate")
    }

    /// What SQL calls it where the arguments of a routine are not written.
    #[must_use]
    pub fn plain_name(&self) -> &str {
        if self.is_routine() { self.path.get(1).map_or("", |name| name.as_str()) } else { self.name() }
    }

    /// The name of the schema that holds it: the first name of its path.
    #[must_use]
    pub fn schema(&self) -> &str {
        self.path.first().map_or("", |name| name.as_str())
    }

    /// The relation (`schema.table`) that a child of a relation stands in, quoted for SQL.
    #[must_use]
    pub fn relation(&self) -> String {
        qualified(&self.path[..self.path.len().min(2)])
    }

    /// The whole path, quoted for SQL and joined with dots.
    #[must_use]
    pub fn sql(&self) -> String {
        qualified(&self.path)
    }

    /// The object's own name, quoted for SQL.
    #[must_use]
    pub fn name_sql(&self) -> String {
        quote(self.name())
    }

    /// The schema and the own name, quoted for SQL: how a child that lives in its parent's schema
    /// (an index of a table) is called.
    #[must_use]
    pub fn in_schema(&self) -> String {
        format!("{}.{}", quote(self.schema()), quote(self.name()))
    }
}

/// Kinds whose ids end with the types of their arguments.
const ROUTINES: [&str; 3] = ["function", "procedure", "aggregate"];

impl std::str::FromStr for Id {
    type Err = ();

    /// The inverse of `Display`: `table public.orders`, `function app.f(integer, text)`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, path) = text.split_once(' ').filter(|(kind, _)| !kind.is_empty()).ok_or(())?;
        if ROUTINES.contains(&kind)
            && let Some(inner) = path.strip_suffix(')')
        {
            // A name with a parenthesis in it is quoted.
            let mut quoted = false;
            let open = inner.char_indices().find(|(_, c)| {
                quoted ^= *c == '"';
                *c == '(' && !quoted
            });
            let (open, _) = open.ok_or(())?;
            let mut path = undotted(&inner[..open]);
            path.push(Ident::new(&inner[open + 1..]));
            return Ok(Self::new(kind, path));
        }
        Ok(Self::new(kind, undotted(path)))
    }
}

/// The names folded into one word (as `rustc-hash` does): the map's own hash, made for hostile keys, then has eight bytes
/// to do instead of several short strings.
fn word(kind: &str, path: &[Ident]) -> u64 {
    let mut word = 0_u64;
    for name in std::iter::once(kind).chain(path.iter().map(Ident::as_str)) {
        for chunk in name.as_bytes().chunks(8) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word = fold(word, u64::from_le_bytes(bytes));
        }
        word = fold(word, name.len() as u64);
    }
    word
}

impl std::hash::Hash for Id {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.word);
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word && self.kind == other.kind && self.path == other.path
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.kind.cmp(&other.kind).then_with(|| self.path.cmp(&other.path))
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

const fn fold(word: u64, next: u64) -> u64 {
    (word.rotate_left(5) ^ next).wrapping_mul(0x517c_c1b7_2722_0a95)
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path[..] {
            [schema, name, types] if ROUTINES.contains(&self.kind.as_str()) => {
                write!(f, "{} {}({types})", self.kind, dotted(&[schema.clone(), name.clone()]))
            }
            path => write!(f, "{} {}", self.kind, dotted(path)),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A path as people and KDL write it: dotted, a part that itself holds a dot or a quote is
/// double-quoted.
#[must_use]
pub fn dotted(path: &[Ident]) -> String {
    let part = |name: &Ident| {
        if name.is_empty() || name.contains(['.', '"', '(']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_string() }
    };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

/// The inverse of [`dotted`].
#[must_use]
pub fn undotted(text: &str) -> Vec<Ident> {
    let (mut parts, mut part, mut chars, mut quoted) = (Vec::new(), String::new(), text.chars().peekable(), false);
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                part.push('"');
            }
            '"' if quoted || part.is_empty() => quoted = !quoted,
            '.' if !quoted => parts.push(Ident::from(std::mem::take(&mut part))),
            _ => part.push(c),
        }
    }
    parts.push(Ident::from(part));
    parts
}

/// A name as SQL: quoted when PostgreSQL would read it as something else.
#[must_use]
pub fn quote(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && KEYWORDS.binary_search(&name).is_err();
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Names joined with dots, each quoted as [`quote`] does.
#[must_use]
pub fn qualified(path: &[Ident]) -> String {
    path.iter().map(|name| quote(name)).collect::<Vec<_>>().join(".")
}

/// Names joined with commas, each quoted as [`quote`] does.
pub fn quoted_list<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    names.into_iter().map(|name| quote(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A string as an SQL literal, whatever `standard_conforming_strings` says.
#[must_use]
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// The longest name that PostgreSQL keeps, in bytes (NAMEDATALEN - 1).
pub const NAME_BYTES: usize = 63;

/// A derived name that fits: `base` is cut and, where it had to be, carries a hash of the whole, so
/// that two long names do not become one.
#[must_use]
pub fn derived_name(base: &str, suffix: &str) -> Ident {
    if base.len() + suffix.len() <= NAME_BYTES {
        return Ident::from(format!("{base}{suffix}"));
    }
    let hash = &blake3::hash(base.as_bytes()).to_hex()[..8];
    let mut end = NAME_BYTES - suffix.len() - hash.len() - 1;
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    Ident::from(format!("{}_{hash}{suffix}", &base[..end]))
}

/// The name of a schema in which a table stands apart for a while: `prefix_schema_table`. Where the name of its own schema
/// holds an underscore, that of another table could read the same, so a hash of the two follows.
#[must_use]
pub fn apart_name(prefix: &str, table: &Id, suffix: &str) -> Ident {
    let base = format!("{prefix}_{}_{}", table.schema(), table.name());
    if !table.schema().contains('_') {
        return derived_name(&base, suffix);
    }
    let hash = &blake3::hash(table.sql().as_bytes()).to_hex()[..8];
    derived_name(&format!("{base}_{hash}"), suffix)
}

/// The name that PostgreSQL gives a nameless constraint, index or sequence: `makeObjectName` in
/// `src/backend/commands/indexcmds.c` cuts the longer of the two names first.
#[must_use]
pub fn default_name(name1: &str, name2: &str, label: &str) -> Ident {
    let overhead = label.len() + 1 + usize::from(!name2.is_empty());
    let (mut len1, mut len2) = (name1.len(), name2.len());
    while len1 + len2 + overhead > NAME_BYTES {
        if len1 > len2 { len1 -= 1 } else { len2 -= 1 }
    }
    while !name1.is_char_boundary(len1) {
        len1 -= 1;
    }
    while !name2.is_char_boundary(len2) {
        len2 -= 1;
    }
    let middle = if name2.is_empty() { String::new() } else { format!("_{}", &name2[..len2]) };
    Ident::from(format!("{}{middle}_{label}", &name1[..len1]))
}

/// PostgreSQL's keywords other than the unreserved ones, sorted: what `quote_ident` quotes
/// (PostgreSQL 18, Appendix C, and the reserved words of 14 to 17).
const KEYWORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "merge_action",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tables_stand_apart_in_two_schemas() {
        let of = |schema: &str, table: &str| apart_name("schema_beside", &Id::new("table", [schema, table]), "_new");
        assert_eq!(of("public", "b_c").as_str(), "schema_beside_public_b_c_new");
        assert_ne!(of("a_b", "c"), of("a", "b_c"));
        assert_ne!(of("a_b", "c_d"), of("a_b_c", "d"));
        assert!(of("a_b", &"c".repeat(60)).len() <= NAME_BYTES);
    }

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn quoting() {
        for (name, sql) in
            [("a", "a"), ("A", "\"A\""), ("select", "\"select\""), ("a\"b", "\"a\"\"b\""), ("1a", "\"1a\""), ("größe", "\"größe\"")]
        {
            assert_eq!(quote(name), sql);
        }
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
    }

    #[test]
    fn dotted_round_trip() {
        for path in [vec!["a", "b"], vec!["a.b", "c"], vec!["a\"b", "c.d\"e"], vec!["", "x"]] {
            let path: Vec<Ident> = path.into_iter().map(Ident::new).collect();
            assert_eq!(undotted(&dotted(&path)), path);
        }
    }

    #[test]
    fn ids_read_back() {
        for id in [
            Id::new("function", ["a", "f", "integer, text"]),
            Id::new("function", ["a(b", "f(", ""]),
            Id::new("table", ["public", "a.b"]),
            Id::new("grant", ["function", "a", "f", "", "r"]),
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(Id::new("function", ["a", "f", "integer"]).to_string(), "function a.f(integer)");
    }

    #[test]
    fn derived_names_fit_and_differ() {
        let (a, b) = ("x".repeat(70), format!("{}y", "x".repeat(69)));
        assert!(derived_name(&a, "_new").len() <= NAME_BYTES);
        assert_ne!(derived_name(&a, "_new"), derived_name(&b, "_new"));
        assert_eq!(default_name(&"t".repeat(60), "column", "fkey").len(), NAME_BYTES);
    }
}
