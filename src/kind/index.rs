//! An index: `index severity "time DESC" where="severity <> 'low'"`.

use serde::{Deserialize, Serialize};

use super::table::{options_changes, options_sql, read_options, write_options};
use super::column::Column;
use super::{Kind, Lowering, Rebuild, Row, Scope, Why, row, violations};
use crate::catalog::expr::{split_list, take_parens, unwrap_parens};
use crate::catalog::id::{default_name, literal, quote, quoted_list};
use crate::catalog::{Id, Ident, Indexed};
use crate::kdl::{Finding, Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode, Transaction, Violations};

/// An index that no constraint owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The table or materialized view.
    pub on: Id,
    /// Its name.
    pub name: Ident,
    /// The access method.
    pub using: String,
    /// Columns (quoted) and expressions with collation, operator class and order, each as
    /// `pg_get_indexdef` spells it.
    pub elements: Vec<String>,
    /// Columns that it only carries.
    pub include: Vec<Ident>,
    /// Whether it is unique.
    pub unique: bool,
    /// Whether two NULLs collide (PostgreSQL 15).
    pub nulls_not_distinct: bool,
    /// The condition of a partial index.
    pub filter: Option<String>,
    /// Storage parameters, sorted.
    pub options: Vec<(String, String)>,
    /// Where it is not in the database's default place.
    pub tablespace: Option<Ident>,
    /// Statistics targets of expressions: position from 1, target.
    pub statistics: Vec<(i64, i64)>,
    /// The index of the partitioned table that it is a part of (its name).
    pub part_of: Option<Ident>,
    /// An interrupted build left it unusable.
    pub invalid: bool,
}

/// What an element of a key means as SQL: a plain name is that column, anything else is SQL.
#[must_use]
pub fn element_from_kdl(text: &str) -> String {
    let name = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$') && !text.starts_with(|c: char| c.is_ascii_digit());
    if name { quote(text) } else { text.to_owned() }
}

/// The inverse: a column stands by its name.
#[must_use]
pub fn element_to_kdl(element: &str) -> String {
    match element.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(name) if element_from_kdl(name) == element => name.to_owned(),
        _ => element.to_owned(),
    }
}

impl Index {
    /// `CREATE INDEX …` under `name`.
    #[must_use]
    pub fn create_sql(&self, name: &str, concurrently: bool, only: bool) -> String {
        let Self { on, name: _, using, elements, include, unique, nulls_not_distinct, filter, options, tablespace, statistics: _, part_of: _, invalid: _ } = self;
        let mut sql = format!(
            "CREATE {}INDEX {}{} ON {}{} USING {} ({})",
            if *unique { "UNIQUE " } else { "" },
            if concurrently { "CONCURRENTLY " } else { "" },
            quote(name),
            if only { "ONLY " } else { "" },
            on.sql(),
            quote(using),
            elements.join(", ")
        );
        if !include.is_empty() {
            sql += &format!(" INCLUDE ({})", quoted_list(include));
        }
        if *nulls_not_distinct {
            sql += " NULLS NOT DISTINCT";
        }
        if !options.is_empty() {
            sql += &format!(" WITH ({})", options_sql(options));
        }
        if let Some(space) = tablespace {
            sql += &format!(" TABLESPACE {}", quote(space));
        }
        if let Some(filter) = filter {
            sql += &format!(" WHERE ({filter})");
        }
        sql
    }

    fn qualified(&self, name: &str) -> String {
        format!("{}.{}", quote(self.on.schema()), quote(name))
    }

    /// What follows the creation: statistics of expressions, its place in the parent's index.
    #[must_use]
    pub fn after_creation(&self, name: &str) -> Vec<String> {
        let index = self.qualified(name);
        let statistics = self.statistics.iter().map(|(position, target)| format!("ALTER INDEX {index} ALTER COLUMN {position} SET STATISTICS {target}"));
        statistics.collect()
    }

    /// What it is over, however that is sorted.
    #[must_use]
    pub fn unsorted(&self) -> Vec<&str> {
        let sorted = [" NULLS FIRST", " NULLS LAST", " DESC"];
        self.elements.iter().map(|element| sorted.iter().fold(element.as_str(), |element, word| element.trim_end_matches(word))).collect()
    }

    /// ALTER INDEX parent ATTACH PARTITION this.
    #[must_use]
    pub fn attach_sql(&self) -> Option<String> {
        let parent = self.part_of.as_ref()?;
        Some(format!("ALTER INDEX {} ATTACH PARTITION {}", self.qualified(parent), self.qualified(&self.name)))
    }

    /// Builds it under `name` while reads and writes go on.
    #[must_use]
    pub fn build_concurrently(&self, name: &str) -> Action {
        let on = self.on.as_kind(&self.on.kind);
        Action::new(format!("Build index {} on {} concurrently", name, crate::catalog::id::dotted(&on.path)))
            .sql(self.create_sql(name, true, false))
            .lock(&on, LockMode::ShareUpdateExclusive, Cost::Build)
            .transaction(Transaction::Outside)
            .probe(probe_built(self.on.schema(), name), vec![format!("DROP INDEX CONCURRENTLY {}", self.qualified(name))])
    }

    /// Drops it while reads and writes go on.
    #[must_use]
    pub fn drop_concurrently(&self) -> Action {
        let name = &self.name;
        Action::new(format!("Drop {} concurrently", self.id()))
            .sql(format!("DROP INDEX CONCURRENTLY {}", self.qualified(name)))
            .lock(&self.on, LockMode::ShareUpdateExclusive, Cost::Instant)
            .transaction(Transaction::Outside)
            .probe(probe_dropped(self.on.schema(), name), vec![format!("DROP INDEX CONCURRENTLY {}", self.qualified(name))])
            .hazard(Hazard::DropIndex, self.id())
    }
}

/// A probe for an index that is being built: `done` when valid, `leftover` when an interrupted build
/// left it invalid, `absent`.
#[must_use]
pub fn probe_built(schema: &str, name: &str) -> String {
    format!(
        "SELECT COALESCE((SELECT CASE WHEN i.indisvalid THEN 'done' ELSE 'leftover' END FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}), 'absent')",
        literal(schema),
        literal(name)
    )
}

/// A probe for an index that is being dropped: `done` when it is not there, `absent` when the drop has not begun,
/// `leftover` when an interrupted drop, or an interrupted build on the way back, left it invalid.
#[must_use]
pub fn probe_dropped(schema: &str, name: &str) -> String {
    format!(
        "SELECT COALESCE((SELECT CASE WHEN i.indisvalid THEN 'absent' ELSE 'leftover' END FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}), 'done')",
        literal(schema),
        literal(name)
    )
}

impl Kind for Index {
    const KEYWORD: &'static str = "index";
    const CATALOG: &'static str = "pg_class";
    const EFFORT: u32 = 20;
    const PARENTS: &'static [&'static str] = &["table", "materialized-view"];
    cast_to!(Index);

    fn query(server: u32) -> Option<String> {
        let nulls = if server >= 150_000 { "i.indnullsnotdistinct" } else { "false" };
        let target = if server >= 170_000 { "a.attstattarget IS NOT NULL" } else { "a.attstattarget >= 0" };
        // An index above those of partitions that has not got all of them is reported by name, and what it has stands for
        // itself.
        // Set-based: the elements of all indexes are joined and aggregated at once. As a subquery for every
        // index the whole took twice as long. Where there are expressions or operator class options, the
        // whole definition is asked for: it costs ten times as much as the parts of a plain index.
        Some(format!(
            "WITH i AS MATERIALIZED ( \
               SELECT i.*, x.relname, x.reloptions, x.reltablespace, x.relispartition, x.relkind, m.amname, c.relkind AS on_kind, c.relname AS on_name, n.nspname \
               FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am m ON m.oid = x.relam \
               WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND {} AND {} \
               AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x')) \
               AND (x.relkind <> 'I' OR i.indisvalid)), \
             part AS ( \
               SELECT i.indexrelid, array_agg(quote_ident(a.attname) \
                 || CASE WHEN i.indcollation[o] <> 0 AND i.indcollation[o] <> a.attcollation THEN ' COLLATE ' || (SELECT quote_ident(cn.nspname) || '.' || quote_ident(co.collname) FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = i.indcollation[o]) ELSE '' END \
                 || CASE WHEN oc.opcdefault AND (oc.opcintype = a.atttypid OR (oc.opcmethod, a.atttypid) NOT IN (SELECT e.opcmethod, e.opcintype FROM pg_opclass e WHERE e.opcdefault) \
                     OR oc.opcintype = (SELECT b.typbasetype FROM pg_type b WHERE b.oid = a.atttypid AND b.typtype = 'd')) THEN '' \
                   ELSE ' ' || CASE WHEN pg_opclass_is_visible(oc.oid) THEN '' ELSE (SELECT quote_ident(nspname) || '.' FROM pg_namespace WHERE oid = oc.opcnamespace) END || quote_ident(oc.opcname) END \
                 || CASE WHEN i.amname <> 'btree' THEN '' WHEN i.indoption[o] & 1 = 1 THEN ' DESC' || CASE WHEN i.indoption[o] & 2 = 0 THEN ' NULLS LAST' ELSE '' END WHEN i.indoption[o] & 2 = 2 THEN ' NULLS FIRST' ELSE '' END \
                 ORDER BY o) FILTER (WHERE o < i.indnkeyatts) AS elements, \
               array_agg(a.attname::text ORDER BY o) FILTER (WHERE o >= i.indnkeyatts) AS include \
               FROM i JOIN generate_series(0, (SELECT max(indnatts) - 1 FROM i)) o ON o < i.indnatts \
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[o] AND a.attnum > 0 LEFT JOIN pg_opclass oc ON oc.oid = i.indclass[o] AND o < i.indnkeyatts \
               GROUP BY i.indexrelid), \
             special AS ( \
               SELECT a.attrelid, array_agg(a.attnum || ' ' || a.attstattarget ORDER BY a.attnum) FILTER (WHERE {target}) AS targets, \
               bool_or(EXISTS (SELECT FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg\\_%')) AS has_options \
               FROM pg_attribute a WHERE a.attnum > 0 AND ({target} OR a.attoptions IS NOT NULL) GROUP BY a.attrelid) \
             SELECT i.indexrelid::int8, 0::int8, CASE i.on_kind WHEN 'm' THEN 'materialized-view' ELSE 'table' END, i.nspname::text, i.on_name::text, i.relname::text, i.amname::text, \
             CASE WHEN i.indexprs IS NOT NULL OR special.has_options THEN pg_get_indexdef(i.indexrelid) END, CASE WHEN i.indexprs IS NULL THEN part.elements END, part.include, \
             i.indisunique, {nulls}, CASE WHEN i.indpred IS NOT NULL THEN pg_get_expr(i.indpred, i.indrelid) END, i.reloptions, \
             (SELECT spcname::text FROM pg_tablespace s WHERE s.oid = i.reltablespace), CASE WHEN i.indexprs IS NOT NULL THEN special.targets END, \
             CASE WHEN i.relispartition THEN (SELECT p.relname::text FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent JOIN pg_index above ON above.indexrelid = p.oid AND above.indisvalid WHERE h.inhrelid = i.indexrelid) END, \
             NOT i.indisvalid AND i.relkind = 'i' \
             FROM i LEFT JOIN part ON part.indexrelid = i.indexrelid LEFT JOIN special ON special.attrelid = i.indexrelid ORDER BY 4, 5, 6",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let on = Id::new(&row.text(), [row.name(), row.name()]);
        let (name, using, definition, parts, include) = (row.name(), row.text(), row.opt_text(), row.texts(), row.names());
        let elements = definition.as_deref().and_then(definition_elements).unwrap_or(parts);
        let (unique, nulls_not_distinct) = (row.flag(), row.flag());
        let filter = row.opt_text().map(|text| unwrap_parens(&text).to_owned());
        let mut options = row::options(row.texts());
        options.sort();
        let tablespace = row.opt_name();
        let statistics = row.texts().iter().filter_map(|entry| entry.split_once(' ')).filter_map(|(at, target)| Some((at.parse().ok()?, target.parse().ok()?))).collect();
        let (part_of, invalid) = (row.opt_name(), row.flag());
        Self { on, name, using, elements, include, unique, nulls_not_distinct, filter, options, tablespace, statistics, part_of, invalid }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let on = at.parent().clone();
        let args = node.args();
        if args.is_empty() {
            out.findings.push(Finding::at(node.title(), "`index` needs at least one column or expression").help("write what it orders by behind it: `index name \"created_at DESC\"`"));
            return None;
        }
        let elements: Vec<String> = args.iter().map(|text| element_from_kdl(&text.value)).collect();
        let plain = args.iter().all(|text| element_from_kdl(&text.value) == quote(&text.value));
        let name = node.value("name", &mut out.findings);
        if name.is_none() && !plain && args.iter().any(|text| text.value.contains('(')) {
            out.findings.push(
                Finding::at(node.title(), "an index on an expression needs a name")
                    .help("PostgreSQL would derive one from the parsed SQL; add for example: `name=orders_lower_note`"),
            );
            return None;
        }
        let using = node.value("using", &mut out.findings).map_or_else(|| "btree".to_owned(), |text| text.value);
        let include = node.values("include", &mut out.findings).unwrap_or_default().iter().map(|text| Ident::new(&text.value)).collect();
        let unique = node.property_flag("unique", &mut out.findings);
        let nulls_not_distinct = node.property_flag("nulls-not-distinct", &mut out.findings);
        let invalid = node.property_flag("invalid", &mut out.findings);
        let filter = node.value("where", &mut out.findings).map(|text| text.value);
        let tablespace = node.value("tablespace", &mut out.findings).map(|text| Ident::new(&text.value));
        let part_of = node.value("part-of", &mut out.findings).map(|text| Ident::new(&text.value));
        let options = read_options(node, out);
        let mut statistics = Vec::new();
        for mut entry in node.children("statistics") {
            let position = entry.arg("a position", &mut out.findings).and_then(|text| text.integer());
            let target = entry.arg("a target", &mut out.findings).and_then(|text| text.integer());
            entry.finish(&mut out.findings);
            statistics.extend(position.zip(target));
        }
        let name = name.map_or_else(
            || {
                // `total DESC` is named after its column, like a bare one.
                let columns: Vec<_> = args.iter().map(|text| text.value.split(' ').next().unwrap_or_default().trim_matches('"')).chain([]).collect();
                let include: &Vec<Ident> = &include;
                let columns = columns.into_iter().map(str::to_owned).chain(include.iter().map(ToString::to_string)).collect::<Vec<_>>().join("_");
                out.default_id(&on.child(Self::KEYWORD, &default_name(on.name(), &columns, "idx"))).name().into()
            },
            |text| Ident::new(&text.value),
        );
        Some(out.put(node, Self { on, name, using, elements, include, unique, nulls_not_distinct, filter, options, tablespace, statistics, part_of, invalid }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { on: _, name, using, elements, include, unique, nulls_not_distinct, filter, options, tablespace, statistics, part_of, invalid } = self;
        let mut node = elements.iter().fold(NodeOut::new(Self::KEYWORD), |node, element| node.arg(element_to_kdl(element)));
        // Its name is always written: default names stay behind after renames, and say so.
        node.set("name", name.as_str());
        if using != "btree" {
            node.set("using", using.as_str());
        }
        for (flag, set) in [("unique", *unique), ("nulls-not-distinct", *nulls_not_distinct), ("invalid", *invalid)] {
            if set {
                node.set(flag, ValueOut::Bool(true));
            }
        }
        for (property, value) in [("where", filter.as_deref()), ("tablespace", tablespace.as_deref()), ("part-of", part_of.as_deref())] {
            if let Some(value) = value {
                node.set(property, value);
            }
        }
        if !include.is_empty() {
            node.add(include.iter().fold(NodeOut::new("include"), |node, column| node.arg(column.as_str())));
        }
        write_options(options, &mut node);
        for (position, target) in statistics {
            node.add(NodeOut::new("statistics").arg(ValueOut::Number(position.to_string())).arg(ValueOut::Number(target.to_string())));
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        self.on.child(Self::KEYWORD, &self.name)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.on.clone())
    }

    fn texts(&self) -> Vec<&str> {
        self.elements.iter().map(String::as_str).chain(self.filter.as_deref()).collect()
    }

    fn needs(&self) -> Vec<Id> {
        // The columns of a materialized view are no objects.
        self.include.iter().filter(|_| self.on.kind == "table").map(|column| self.on.child("column", column)).collect()
    }

    fn create(&self) -> Action {
        let mut action = Action::new(format!("Build {}", self.id())).sql(self.create_sql(&self.name, false, false)).lock(&self.on, LockMode::Share, Cost::Build);
        action.sql.extend(self.after_creation(&self.name));
        action
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id()))
            .sql(format!("DROP INDEX {}", self.qualified(&self.name)))
            .lock(&self.on, LockMode::AccessExclusive, Cost::Instant)
            .hazard(Hazard::DropIndex, self.id())
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { on: _, name, using: _, elements: _, include: _, unique: _, nulls_not_distinct: _, filter: _, options, tablespace, statistics, part_of, invalid } = new;
        let same = Self {
            options: options.clone(),
            tablespace: tablespace.clone(),
            statistics: statistics.clone(),
            part_of: part_of.clone(),
            invalid: *invalid,
            ..old.clone()
        };
        if same != *new || (old.invalid && !invalid) || (old.part_of.is_some() && old.part_of != *part_of) {
            return Alteration::Replace;
        }
        let index = new.qualified(name);
        let mut actions = Vec::new();
        let changes = options_changes(&old.options, options);
        for clause in changes {
            actions.push(
                Action::new(format!("Set storage parameters of {}", new.id()))
                    .sql(format!("ALTER INDEX {index} {clause}"))
                    .lock(&new.on, LockMode::ShareUpdateExclusive, Cost::Instant),
            );
        }
        if *tablespace != old.tablespace {
            actions.push(
                Action::new(format!("Move {}", new.id()))
                    .sql(format!("ALTER INDEX {index} SET TABLESPACE {}", quote(tablespace.as_deref().unwrap_or("pg_default"))))
                    .lock(&new.on, LockMode::AccessExclusive, Cost::Rewrite),
            );
        }
        for (position, target) in statistics.iter().filter(|entry| !old.statistics.contains(entry)) {
            actions.push(Action::new(format!("Set statistics of {}", new.id())).sql(format!("ALTER INDEX {index} ALTER COLUMN {position} SET STATISTICS {target}")));
        }
        for (position, _) in old.statistics.iter().filter(|(position, _)| !statistics.iter().any(|(other, _)| other == position)) {
            actions.push(Action::new(format!("Reset statistics of {}", new.id())).sql(format!("ALTER INDEX {index} ALTER COLUMN {position} SET STATISTICS -1")));
        }
        if *part_of != old.part_of {
            actions.extend(new.attach_sql().map(|sql| Action::new(format!("Attach {} to the index of the partitioned table", new.id())).sql(sql)));
        }
        Alteration::Act(actions)
    }

    fn violations(&self, live: &Indexed<'_>) -> Vec<Violations> {
        let Self { on, elements, unique, nulls_not_distinct, filter, .. } = self;
        if !unique || on.kind != "table" {
            return Vec::new();
        }
        let title = format!("rows of {on} would collide in unique {}", self.id());
        let help = "keep one row of each value, or make the index wider".to_owned();
        let over = self.unsorted();
        let columns: Vec<Ident> = live.within::<Column>(on).map(|column| column.name.clone()).filter(|name| over.contains(&quote(name).as_str())).collect();
        if columns.len() == elements.len() {
            let nulls = if *nulls_not_distinct { Vec::new() } else { violations::not_null(live, on, &columns) };
            let conditions: Vec<String> = nulls.into_iter().chain(filter.iter().map(|filter| format!("({filter})"))).collect();
            let title = format!("values of ({}) stand in more than one row of {on} (unique {})", columns.join(", "), self.id());
            let reads = columns.iter().map(|name| on.child("column", name)).collect();
            return vec![Violations { title, rows: violations::duplicates(on, &columns, &conditions), help, reads, ..Violations::default() }];
        }
        // What collides under an expression, a collation or an operator class only the index itself knows.
        let copy = Self { on: Id::new("table", ["pg_temp", "preflight_copy"]), options: Vec::new(), tablespace: None, ..self.clone() };
        vec![violations::collisions(live, on, title, help, copy.create_sql("preflight_index", false, false))]
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(
            Action::new(format!("Rename {old} to {}", new.name()))
                .sql(format!("ALTER INDEX {} RENAME TO {}", old.in_schema(), new.name_sql()))
                .lock(old, LockMode::ShareUpdateExclusive, Cost::Instant),
        )
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }

    fn address(id: &Id) -> String {
        format!("INDEX {}", id.in_schema())
    }

    fn relation_name(&self) -> Option<String> {
        Some(self.qualified(&self.name))
    }
}

/// The elements of `CREATE INDEX … USING method (…) …`.
fn definition_elements(definition: &str) -> Option<Vec<String>> {
    let (_, rest) = definition.split_once(" USING ")?;
    let list = &rest[rest.find('(')?..];
    Some(split_list(take_parens(list)?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_a_definition() {
        let definition = r#"CREATE INDEX "a (b" ON public.t USING gist (lower(x) COLLATE pg_catalog."C" gist_trgm_ops (siglen='32') DESC, (((a || ')'::text))), b) INCLUDE (c) WHERE (a > 0)"#;
        assert_eq!(
            definition_elements(definition).expect("a list"),
            [r#"lower(x) COLLATE pg_catalog."C" gist_trgm_ops (siglen='32') DESC"#, "(((a || ')'::text)))", "b"]
        );
    }

    #[test]
    fn elements_in_kdl() {
        for (sql, kdl) in [("a", "a"), ("\"User Id\"", "\"User Id\""), ("\"UserId\"", "UserId"), ("\"order\"", "order"), ("lower(a)", "lower(a)"), ("a DESC", "a DESC")] {
            assert_eq!(element_to_kdl(sql), kdl);
            assert_eq!(element_from_kdl(kdl), sql);
        }
    }
}
