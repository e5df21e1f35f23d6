//! Statements of clients: split as psql splits them, and prepared at every stage that they live through.

use crate::pg::{Session, SessionError, explain};
use crate::plan::plan::{StageName, Step};
use crate::plan::rehearsal::Finding;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Where it stands: `old.sql:12`.
    pub place: String,
    /// The statement, without its semicolon.
    pub sql: String,
    /// As the server keeps it, constants replaced: that need not be a statement (`date $1`), so it is left out where it
    /// does not prepare at the start.
    pub normalized: bool,
}

/// The statements of both releases.
#[derive(Clone, Debug, Default)]
pub struct Queries {
    /// Must prepare from the start until contract begins.
    pub old: Vec<Query>,
    /// Must prepare from the end of the switch on.
    pub new: Vec<Query>,
}

impl Queries {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.old.is_empty() && self.new.is_empty()
    }
}

/// Takes out the normalized statements that do not prepare at the start, and says so.
pub(super) async fn leave_out(client: &Session, queries: &mut Vec<Query>, findings: &mut Vec<Finding>) -> Result<(), SessionError> {
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    for query in std::mem::take(queries) {
        match client.client().prepare(&query.sql).await {
            Err(error) if query.normalized && error.as_db_error().is_some() => {
                left.push(format!("{}: {}", first_line(&query.sql), explain(&error)));
            }
            Err(error) if error.as_db_error().is_none() => return Err(error.into()),
            _ => kept.push(query),
        }
    }
    *queries = kept;
    if let Some(first) = left.first() {
        let text =
            format!("{} statements of pg_stat_statements do not prepare as it keeps them and are left out, for one {first}", left.len());
        findings.push(Finding { step: 0, wrong: false, text });
    }
    Ok(())
}

/// Prepares each statement; the findings name what does not, the stage, and PostgreSQL's message.
pub(super) async fn check(
    client: &Session,
    queries: &[Query],
    behind: Option<(StageName, &Step)>,
    findings: &mut Vec<Finding>,
) -> Result<(), SessionError> {
    for query in queries {
        let Err(error) = client.client().prepare(&query.sql).await else { continue };
        if error.as_db_error().is_none() {
            return Err(error.into());
        }
        let when =
            behind.map_or_else(|| "at the start".to_owned(), |(stage, step)| format!("in {}, behind step {}", stage.name(), step.number));
        let text = format!("{} does not prepare {when}: {}\n    {}", query.place, explain(&error), first_line(&query.sql));
        // It is told once, at the first step behind which it fails.
        let start = format!("{} does not prepare ", query.place);
        if !findings.iter().any(|finding| finding.text.starts_with(&start)) {
            findings.push(Finding { step: behind.map_or(0, |(_, step)| step.number), wrong: true, text });
        }
    }
    Ok(())
}

fn first_line(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 100 { line.chars().take(99).collect::<String>() + "…" } else { line }
}

/// Splits a script at its semicolons, as psql does: not within quotes, dollar quotes, comments, parentheses or the body
/// of a `BEGIN ATOMIC` function. Lines of psql's own (`\set`) are left out. Each statement comes with its line.
#[must_use]
pub fn split(name: &str, script: &str) -> Vec<Query> {
    let mut statements = Vec::new();
    let (mut start, mut at, mut depth, mut line, mut first) = (0, 0, 0_usize, 1, None);
    let mut push = |text: &str, first: Option<usize>| {
        if let Some(first) = first {
            statements.push(Query { place: format!("{name}:{first}"), sql: text.trim().to_owned(), normalized: false });
        }
    };
    while at < script.len() {
        let rest = &script[at..];
        let length = token(rest);
        let text = &rest[..length];
        let blank = text.trim().is_empty() || text.starts_with("--") || text.starts_with("/*");
        if text == "\\" && first.is_none() {
            // A command of psql.
            let end = rest.find('\n').unwrap_or(rest.len());
            at += end;
            start = at;
            continue;
        }
        match text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if text == ";" && depth == 0 {
            push(&script[start..at], first.take());
            start = at + 1;
        } else if !blank && first.is_none() {
            first = Some(line);
            start = at;
        }
        line += text.matches('\n').count();
        at += length;
    }
    push(&script[start..], first);
    statements
}

/// The length of the token that a text starts with.
fn token(rest: &str) -> usize {
    let to = |end: Option<usize>| end.unwrap_or(rest.len());
    let mut chars = rest.chars();
    let Some(head) = chars.next() else { return 0 };
    let next = chars.next();
    match (head, next) {
        ('-', Some('-')) => to(rest.find('\n')),
        ('/', Some('*')) => comment(rest),
        ('\'', _) => quoted(rest, '\'', false),
        ('"', _) => quoted(rest, '"', false),
        ('e' | 'E', Some('\'')) => 1 + quoted(&rest[1..], '\'', true),
        ('$', _) => match tag(rest) {
            Some(tag) => to(rest[tag.len()..].find(tag).map(|end| end + 2 * tag.len())),
            None => 1,
        },
        (c, _) if c.is_alphanumeric() || c == '_' => to(rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))),
        (c, _) if c.is_whitespace() => to(rest.find(|c: char| !c.is_whitespace())),
        (c, _) => c.len_utf8(),
    }
}

/// Comments nest.
fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// A quoted text; a doubled quote ends one and begins the next, which is as good.
fn quoted(rest: &str, quote: char, backslashes: bool) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if backslashes && c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// `$tag$`, if the text starts with one; `$1` is a parameter.
fn tag(rest: &str) -> Option<&str> {
    let end = rest[1..].find('$')? + 1;
    let name = &rest[1..end];
    let valid = name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    valid.then(|| &rest[..=end])
}

/// Why the statements of `pg_stat_statements` are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// It is not in this database.
    #[error("pg_stat_statements is not in this database")]
    Absent,
    /// The role may not read those of others.
    #[error("{0} statements of other roles are hidden from this one")]
    Hidden(i64),
    /// It cannot be read.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl From<tokio_postgres::Error> for StatsError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Session(error.into())
    }
}

/// The statements that `pg_stat_statements` of a live database knows, of this database, ours left out.
///
/// # Errors
/// The extension is not there or may not be read.
pub async fn from_stats(live: &Session) -> Result<Vec<Query>, StatsError> {
    let schema = live
        .client()
        .query_opt("SELECT extnamespace::regnamespace::text FROM pg_catalog.pg_extension WHERE extname = 'pg_stat_statements'", &[])
        .await?;
    let Some(schema) = schema else { return Err(StatsError::Absent) };
    let schema: String = schema.get(0);
    let this = "s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())";
    // Whose statements may not be read has no query id.
    let hidden = format!("SELECT count(*) FROM {schema}.pg_stat_statements s WHERE {this} AND s.queryid IS NULL");
    let hidden: i64 = live.client().query_one(&hidden, &[]).await?.get(0);
    if hidden > 0 {
        return Err(StatsError::Hidden(hidden));
    }
    let sql = format!(
        "SELECT queryid::text, query FROM {schema}.pg_stat_statements s WHERE {this}
           AND query ~* '^(\\s|/\\*.*?\\*/|--[^\\n]*\\n)*(select|insert|update|delete|with|merge|values|table)\\y'
           AND query !~ 'schema_ledger' ORDER BY calls DESC, 1"
    );
    let rows = live.client().query(&sql, &[]).await?;
    let mut seen = std::collections::BTreeSet::new();
    Ok(rows
        .iter()
        .map(|row| Query {
            place: format!("pg_stat_statements {}", row.get::<_, Option<String>>(0).unwrap_or_default()),
            sql: row.get(1),
            normalized: true,
        })
        .filter(|query| seen.insert(query.sql.clone()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_split_as_psql_does() {
        let script = "\\set x 1\n-- first; not\nSELECT ';', \"a;b\", $$x;y$$, $t$ $$;$$ $t$, E'\\';' /* ; /* ; */ ; */ FROM t\nWHERE a = $1;;\n\n INSERT INTO t VALUES ('it''s;', (1));\nselect 1";
        let found = split("old.sql", script);
        let places: Vec<&str> = found.iter().map(|query| query.place.as_str()).collect();
        assert_eq!(places, ["old.sql:3", "old.sql:6", "old.sql:7"]);
        assert!(found[0].sql.ends_with("WHERE a = $1"), "{}", found[0].sql);
        assert_eq!(found[1].sql, "INSERT INTO t VALUES ('it''s;', (1))");
        assert_eq!(found[2].sql, "select 1");
        assert_eq!(split("x", "  -- nothing\n ; /* */"), []);
    }
}
