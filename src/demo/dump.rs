//! `pg_dump` of a database, comparable: the judge that knows nothing of us.

use std::process::Command;

use crate::pg::Scratch;

/// The structure of a database without our ledger, as `pg_dump -s` writes it.
///
/// # Errors
/// What `pg_dump` says, or that there is none.
pub fn structure(scratch: &Scratch, database: &str) -> Result<String, String> {
    let program = scratch.installation().program("pg_dump");
    let output = Command::new(&program)
        .args(["--schema-only", "--exclude-schema=schema_ledger", "-U", "postgres", "-h"])
        .arg(scratch.socket_dir())
        .args(["-d", database])
        .output()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// A dump with what may differ taken out: comments, the random word of `\restrict`, and the order of
/// a table's columns, which PostgreSQL cannot change.
#[must_use]
pub fn comparable(dump: &str) -> String {
    let mut out = Vec::new();
    let mut columns: Option<Vec<&str>> = None;
    for line in dump.lines().filter(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with('\\')) {
        match &mut columns {
            Some(list) if line.starts_with(')') => {
                list.sort_unstable();
                out.append(list);
                columns = None;
                out.push(line);
            }
            Some(list) => list.push(line.trim_end_matches(',')),
            None => {
                out.push(line);
                if line.starts_with("CREATE TABLE ") && line.ends_with('(') {
                    columns = Some(Vec::new());
                }
            }
        }
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_order_of_columns_may_differ() {
        let one =
            "-- x\n\\restrict abc\nCREATE TABLE public.t (\n    a integer,\n    b text\n);\nALTER TABLE public.t OWNER TO postgres;\n";
        let other = "CREATE TABLE public.t (\n    b text,\n    a integer\n);\n\nALTER TABLE public.t OWNER TO postgres;\n";
        assert_eq!(comparable(one), comparable(other));
        assert_ne!(comparable(one), comparable(&other.replace("b text", "b text NOT NULL")));
    }
}
