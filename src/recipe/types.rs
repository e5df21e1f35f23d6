//! What the type of a column says of its values: domains, also those over domains, and types of rows.

use crate::catalog::{Id, Indexed};
use crate::kind::column::Column;
use crate::kind::domain::Domain;
use crate::kind::domain_check::DomainCheck;
use crate::kind::{Kind as _, Object, sql_type};
use crate::plan::draft::Context;

/// The domain that a type is, and those beneath it.
fn domains<'c>(state: &'c Indexed<'_>, data_type: &str) -> Vec<&'c Domain> {
    // What PostgreSQL brings along stands without its schema.
    let of = |name: &str| name.contains('.').then(|| state.of::<Domain>().find(|domain| domain.id().sql() == name)).flatten();
    std::iter::successors(of(data_type), |domain| of(&domain.base)).collect()
}

fn checks<'c>(state: &'c Indexed<'_>, domain: &Id) -> impl Iterator<Item = &'c DomainCheck> {
    state.of::<DomainCheck>().filter(move |check| check.domain == *domain)
}

/// Whether a domain checks its values: adding a column of it writes the table again, even without a default
/// (safe-changes.md).
#[must_use]
pub fn is_constrained(cx: &Context<'_>, column: &Column) -> bool {
    let found = domains(cx.desired, &column.data_type);
    found.iter().any(|domain| domain.not_null || checks(cx.desired, &domain.id()).next().is_some())
}

/// Whether a domain refuses NULL, which is looked at before any trigger fires. (A CHECK that speaks of it may, too.)
#[must_use]
pub fn refuses_null(state: &Indexed<'_>, data_type: &str) -> bool {
    let asks = |check: &DomainCheck| check.expression.to_uppercase().contains("NOT NULL");
    domains(state, data_type).iter().any(|domain| domain.not_null || checks(state, &domain.id()).any(asks))
}

/// Whether a column without a default of its own gets one from its domain.
#[must_use]
pub fn has_default(state: &Indexed<'_>, data_type: &str) -> bool {
    domains(state, data_type).iter().any(|domain| domain.default.is_some())
}

/// The default with which a column is added that others are kept in step with: where its domain has one, that would
/// stand for a value that nobody gave.
#[must_use]
pub fn no_default(cx: &Context<'_>, column: &Column) -> Option<&'static str> {
    has_default(cx.desired, &column.data_type).then_some("NULL")
}

/// Whether its values are rows: of those `IS NULL` asks for the fields, and half-filled ones are neither.
#[must_use]
pub fn is_row(cx: &Context<'_>, data_type: &str) -> bool {
    // What PostgreSQL brings along stands without its schema.
    if !data_type.contains('.') {
        return false;
    }
    [cx.live, cx.desired].into_iter().any(|state| {
        let base = domains(state, data_type).last().map_or(data_type, |domain| domain.base.as_str());
        state.objects.iter().any(|(id, object)| {
            let named = base.trim_end_matches('"').ends_with(id.name());
            named
                && matches!(object, Object::Composite(_) | Object::Table(_) | Object::View(_) | Object::MaterializedView(_))
                && id.sql() == base
        })
    })
}

/// Whether what a value is written as, or converted to, depends on settings of the session: the time zone, the style of
/// dates, the form of binary strings (manual, 20.11).
#[must_use]
pub fn follows_settings(data_type: &str) -> bool {
    const TYPES: [&str; 4] = ["date", "interval", "bytea", "money"];
    let base = sql_type::base(data_type.trim_end_matches("[]"));
    base.starts_with("time") || TYPES.contains(&base.as_str())
}

/// `value IS NULL`, of a value as a whole.
#[must_use]
pub fn is_null(cx: &Context<'_>, column: &Column, value: &str) -> String {
    if is_row(cx, &column.data_type) { format!("{value} IS NOT DISTINCT FROM NULL") } else { format!("{value} IS NULL") }
}

/// `value IS NOT NULL`, of a value as a whole.
#[must_use]
pub fn is_not_null(cx: &Context<'_>, column: &Column, value: &str) -> String {
    if is_row(cx, &column.data_type) { format!("{value} IS DISTINCT FROM NULL") } else { format!("{value} IS NOT NULL") }
}
