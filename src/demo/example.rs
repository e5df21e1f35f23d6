//! The digital twin of README.md: models of a plant and their states over time. Its desired state is
//! this project's own `schema/`.

use super::load::{Effect, Release, Statement};
use crate::kdl::{Diagnostics, Sources};
use crate::pg::{Session, SessionError};
use crate::source::Desired;
use crate::source::read::read_sources;

/// The state that the change starts from.
const BEFORE: &str = include_str!("before.kdl");

/// The state that it leads to.
const AFTER: [(&str, &str); 2] = [
    ("schema/models.kdl", include_str!("../../schema/models.kdl")),
    ("schema/model_states.kdl", include_str!("../../schema/model_states.kdl")),
];

/// Models, each with as many states as there are rows for.
const MODELS: u64 = 100;

/// Clients that know `temp`, and nothing of `severity_level`.
pub const OLD: Release = Release {
    name: "twin/1",
    statements: &[
        Statement {
            sql: "INSERT INTO public.model_states (time, model_id, i_median, temp) VALUES (timestamptz '2030-01-01' + $1 * interval '1 millisecond', 1 + $1 % 100, $1 * 37 % 1500, $1 % 60)",
            effect: Effect::Inserts,
        },
        Statement {
            sql: "UPDATE public.model_states SET temp = temp + 1 WHERE model_id = 1 + $2 % 100 AND time = timestamptz '2026-01-01' + $2 / 100 * interval '1 minute'",
            effect: Effect::Updates,
        },
        Statement {
            sql: "SELECT m.name, s.time, s.i_median, s.temp FROM public.model_states s JOIN public.models m ON m.id = s.model_id WHERE s.model_id = 1 + $2 % 100 ORDER BY s.time DESC LIMIT 10",
            effect: Effect::Reads,
        },
    ],
};

/// Clients that know `temperature` and `severity_level`, and nothing of `temp`.
pub const NEW: Release = Release {
    name: "twin/2",
    statements: &[
        Statement {
            sql: "INSERT INTO public.model_states (time, model_id, i_median, temperature, severity_level) VALUES (timestamptz '2030-01-01' + $1 * interval '1 millisecond', 1 + $1 % 100, 500, $1 % 60, 'medium')",
            effect: Effect::Inserts,
        },
        Statement {
            sql: "UPDATE public.model_states SET temperature = temperature + 1 WHERE model_id = 1 + $2 % 100 AND time = timestamptz '2026-01-01' + $2 / 100 * interval '1 minute'",
            effect: Effect::Updates,
        },
        Statement {
            sql: "SELECT time, i_median, temperature FROM public.model_states WHERE severity_level = 'high' ORDER BY time DESC LIMIT 10",
            effect: Effect::Reads,
        },
    ],
};

/// The state before the change.
///
/// # Errors
/// None: a test reads it.
pub fn before() -> Result<Desired, Diagnostics> {
    let mut sources = Sources::new();
    sources.add("before.kdl", BEFORE);
    read_sources(sources)
}

/// The desired state.
///
/// # Errors
/// None: a test reads it.
pub fn after() -> Result<Desired, Diagnostics> {
    let mut sources = Sources::new();
    for (name, text) in AFTER {
        sources.add(name, text);
    }
    read_sources(sources)
}

/// Fills the state before the change.
///
/// # Errors
/// What the server says.
pub async fn load(session: &Session, rows: u64) -> Result<(), SessionError> {
    let last = rows.saturating_sub(1);
    session
        .client()
        .batch_execute(&format!(
            "INSERT INTO public.models (name) SELECT 'model ' || n FROM generate_series(1, {MODELS}) n;
             INSERT INTO public.model_states (time, model_id, i_median, temp)
             SELECT timestamptz '2026-01-01' + n / {MODELS} * interval '1 minute', 1 + n % {MODELS}, n * 37 % 1500, n % 60
             FROM generate_series(0, {last}) n WHERE {rows} > 0;
             ANALYZE public.models, public.model_states"
        ))
        .await?;
    Ok(())
}

/// What the rows of the example add up to. Temperatures are whole numbers, so that the sum is exact
/// and every update of the clients, which add one each, shows in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Rows of `model_states`.
    pub rows: i64,
    /// Of those, the ones that no client inserted.
    pub first_rows: i64,
    /// The temperatures of those.
    pub first_temperatures: i64,
    /// Rows whose severity is not what their current says; 0 before the change.
    pub wrong: i64,
}

/// Adds the rows up, before or after the change.
///
/// # Errors
/// What the server says.
pub async fn sums(session: &Session, after: bool) -> Result<Sums, SessionError> {
    let column = if after { "temperature" } else { "temp" };
    let wrong = if after {
        "count(*) FILTER (WHERE severity_level IS DISTINCT FROM CASE WHEN i_median > 1000 THEN 'high' WHEN i_median > 200 THEN 'medium' ELSE 'low' END)"
    } else {
        "0::bigint"
    };
    let sql = format!(
        "SELECT count(*), count(*) FILTER (WHERE time < '2030-01-01'), COALESCE(sum({column}) FILTER (WHERE time < '2030-01-01'), 0)::bigint, {wrong} FROM public.model_states"
    );
    let row = session.client().query_one(&sql, &[]).await?;
    Ok(Sums { rows: row.get(0), first_rows: row.get(1), first_temperatures: row.get(2), wrong: row.get(3) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_states_read() {
        assert!(super::before().is_ok_and(|state| state.catalog.objects.len() > 10));
        assert!(super::after().is_ok_and(|state| state.hints.renames.len() == 1));
    }
}
