//! Kinds of objects: what we know about PostgreSQL, one file per kind.
//!
//! A kind file holds the object's shape, its KDL, its catalog query and its SQL. Everything else
//! reaches kinds through [`Kind`] and the [`Object`] enum that `kinds!` makes. **Adding a kind:
//! one file, one `mod` line, one `kinds!` entry.**

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::catalog::{Id, Indexed};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Violations};

pub mod aggregate_state;
pub mod argument;
pub mod collation_name;
mod column_reverts;
mod column_slips;
pub mod definition;
pub mod firing;
pub mod identity;
pub mod key;
pub mod lowering;
pub mod not_null;
pub mod observed;
pub mod published;
#[cfg(test)]
pub mod round_trip;
pub mod routine;
pub mod row;
pub mod sql_type;
pub mod trigger_call;
pub mod type_change;
pub mod view_query;
pub mod violations;

pub use lowering::{Lowering, Scope};
pub use row::Row;

/// One kind of database object.
pub trait Kind: Clone + Debug + PartialEq + Sized {
    /// The node name in KDL and the kind part of its ids.
    const KEYWORD: &'static str;
    /// The node name in KDL where it is not the keyword (`column` of a view).
    const NODE: &'static str = Self::KEYWORD;
    /// The system catalog whose OIDs `pg_depend` uses for it; empty where no row there means it.
    const CATALOG: &'static str;
    /// Keywords of the nodes that it may stand in; `""` is the document itself. Empty: it is
    /// written as a property of its parent and read by the generic reader.
    const PARENTS: &'static [&'static str];

    /// What [`Self::query`] costs the server on a large schema, beside the others: of tables with four indexes and two
    /// foreign keys each the query of indexes takes half of all the time (docs/performance.md).
    const EFFORT: u32 = 1;

    /// The query that reads all of them: `oid`, `objsubid` (both `int8`), then what
    /// [`Self::from_row`] takes, in order. `server` is `server_version_num`. Never members of
    /// extensions, never system schemas. One query, whatever the number of objects.
    fn query(server: u32) -> Option<String>;

    /// Takes the columns after `oid` and `objsubid`, in the order of the query.
    fn from_row(row: &mut Row<'_>) -> Self;

    /// Reads its node: puts itself (and what its own properties mean) into `out`. The generic
    /// reader has checked the parent, reads the satellites (`comment`, `owner`, `grant`, `was`)
    /// and dispatches the remaining children by keyword afterwards. Gives the object's id, or
    /// nothing after a finding.
    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id>;

    /// Writes itself into the node of its parent, and gives the node in which its own children
    /// belong (the parent itself where it is a mere property).
    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut;

    /// Its identity.
    fn id(&self) -> Id;

    /// What it is part of and goes away with.
    fn parent(&self) -> Option<Id>;

    /// What its own fields name and must exist before it.
    fn needs(&self) -> Vec<Id> {
        Vec::new()
    }

    /// SQL texts that it holds, and that may mention other objects.
    fn texts(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Type names that it holds, as people may have written them: the reader turns them into what
    /// `format_type` says.
    fn type_names(&mut self) -> Vec<&mut String> {
        Vec::new()
    }

    /// References that were written without a schema and stand for the enclosing one: the reader
    /// looks there first, then in `public`. Of the wrong kind is allowed: relations share names.
    fn references(&mut self) -> Vec<&mut Id> {
        Vec::new()
    }

    /// Statements that make it.
    fn create(&self) -> Action;

    /// Statements that make it together with those of its children for which [`Self::inlines`]
    /// holds (CREATE TABLE with its columns, defaults and constraints).
    fn create_with(&self, _children: &[&Object]) -> Action {
        self.create()
    }

    /// Whether it can be made by its parent's own CREATE statement.
    fn inlines(&self) -> Inline {
        Inline::Never
    }

    /// Statements that take it away.
    fn drop(&self) -> Action;

    /// How `old` becomes `new`; both have the same id.
    fn alter(old: &Self, new: &Self) -> Alteration;

    /// Rows already there that would make [`Self::create`], or the proof of it, fail. `live` tells by
    /// what key they are named.
    fn violations(&self, _live: &Indexed<'_>) -> Vec<Violations> {
        Vec::new()
    }

    /// How it is given a new name or place, where PostgreSQL can: both have different ids and are
    /// otherwise the same.
    #[must_use]
    fn rename(_old: &Id, _new: &Id) -> Option<Action> {
        None
    }

    /// What happens to it when something that it depends on is made again or changes its type.
    fn rebuild(&self, _why: Why) -> Rebuild {
        Rebuild::Replace
    }

    /// How SQL calls it after COMMENT ON, ALTER … OWNER: `TABLE public.orders`.
    #[must_use]
    fn address(id: &Id) -> String {
        format!("{} {}", Self::KEYWORD.replace('-', " ").to_uppercase(), id.sql())
    }

    /// How GRANT … ON calls it, where it can be granted.
    #[must_use]
    fn grant_address(_id: &Id) -> Option<String> {
        None
    }

    /// Whether nothing but a comment can be part of it.
    fn has_only_comments(&self) -> bool {
        false
    }

    /// Whether it shares the namespace of relations and types with other kinds; gives the name
    /// under which it would collide.
    fn relation_name(&self) -> Option<String> {
        None
    }

    /// The typed object, if `object` is of this kind.
    fn cast(object: &Object) -> Option<&Self>;
}

/// Whether a child can be part of its parent's CREATE statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    /// It has a statement of its own.
    Never,
    /// It is, when all that it needs is there before the parent.
    IfReady,
    /// It is always, when both are made together.
    Always,
}

/// What happens beneath a dependant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// What it depends on is dropped and made again.
    Replaced,
    /// The column that it depends on changes its type.
    Retyped,
}

/// What a dependant does when what it depends on changes beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// It is dropped before and created after.
    Replace,
    /// It stays: PostgreSQL carries it along.
    Keep,
    /// It stays and is converted by this action once the new one is there (a column whose type is
    /// replaced).
    Convert(Box<Action>),
}

macro_rules! kinds {
    ($($module:ident :: $name:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// An object of any kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Object {
            $(
                #[doc = concat!("See [`mod@", stringify!($module), "`].")]
                $name($module::$name),
            )*
        }

        $(
            impl From<$module::$name> for Object {
                fn from(object: $module::$name) -> Self {
                    Self::$name(object)
                }
            }
        )*

        /// Every kind, in the order in which they are created when nothing else decides.
        pub static KINDS: &[Registration] = &[$(Registration::of::<$module::$name>(),)*];

        impl Object {
            /// Its identity.
            #[must_use]
            pub fn id(&self) -> Id { match self { $(Self::$name(object) => object.id(),)* } }
            /// What it is part of and goes away with.
            #[must_use]
            pub fn parent(&self) -> Option<Id> { match self { $(Self::$name(object) => object.parent(),)* } }
            /// What its own fields name and must exist before it.
            #[must_use]
            pub fn needs(&self) -> Vec<Id> { match self { $(Self::$name(object) => object.needs(),)* } }
            /// SQL texts that may mention other objects.
            #[must_use]
            pub fn texts(&self) -> Vec<&str> { match self { $(Self::$name(object) => object.texts(),)* } }
            /// See [`Kind::type_names`].
            pub fn type_names(&mut self) -> Vec<&mut String> { match self { $(Self::$name(object) => object.type_names(),)* } }
            /// See [`Kind::references`].
            pub fn references(&mut self) -> Vec<&mut Id> { match self { $(Self::$name(object) => object.references(),)* } }
            /// See [`Kind::write`].
            pub fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut { match self { $(Self::$name(object) => object.write(parent),)* } }
            /// See [`Kind::create`].
            #[must_use]
            pub fn create(&self) -> Action { match self { $(Self::$name(object) => object.create(),)* } }
            /// See [`Kind::create_with`].
            #[must_use]
            pub fn create_with(&self, children: &[&Object]) -> Action { match self { $(Self::$name(object) => object.create_with(children),)* } }
            /// See [`Kind::violations`].
            #[must_use]
            pub fn violations(&self, live: &Indexed<'_>) -> Vec<Violations> { match self { $(Self::$name(object) => object.violations(live),)* } }
            /// See [`Kind::inlines`].
            #[must_use]
            pub fn inlines(&self) -> Inline { match self { $(Self::$name(object) => object.inlines(),)* } }
            /// See [`Kind::drop`].
            #[must_use]
            pub fn drop(&self) -> Action { match self { $(Self::$name(object) => Kind::drop(object),)* } }
            /// See [`Kind::alter`]; objects of different kinds are replaced.
            #[must_use]
            pub fn alter(old: &Self, new: &Self) -> Alteration {
                match (old, new) { $((Self::$name(old), Self::$name(new)) => Kind::alter(old, new),)* _ => Alteration::Replace }
            }
            /// See [`Kind::rebuild`].
            #[must_use]
            pub fn rebuild(&self, why: Why) -> Rebuild { match self { $(Self::$name(object) => object.rebuild(why),)* } }
            /// See [`Kind::has_only_comments`].
            #[must_use]
            pub fn has_only_comments(&self) -> bool { match self { $(Self::$name(object) => object.has_only_comments(),)* } }
            /// See [`Kind::relation_name`].
            #[must_use]
            pub fn relation_name(&self) -> Option<String> { match self { $(Self::$name(object) => object.relation_name(),)* } }
        }

        $(
            impl $module::$name {
                /// The object as the enum of all kinds.
                #[must_use]
                pub fn into_object(self) -> Object { Object::$name(self) }
            }
        )*
    };
}

/// In a kind's impl: `cast_to!(Name);`.
macro_rules! cast_to {
    ($name:ident) => {
        fn cast(object: &crate::kind::Object) -> Option<&Self> {
            match object {
                crate::kind::Object::$name(object) => Some(object),
                _ => None,
            }
        }
    };
}

kinds! {
    schema::Schema,
    extension::Extension,
    collation::Collation,
    enum_type::EnumType,
    sequence::Sequence,
    domain::Domain,
    domain_check::DomainCheck,
    composite::Composite,
    range_type::RangeType,
    table::Table,
    column::Column,
    function::Function,
    procedure::Procedure,
    aggregate::Aggregate,
    cast::Cast,
    default::Default,
    owned_by::OwnedBy,
    check::Check,
    primary_key::PrimaryKey,
    unique::Unique,
    exclusion::Exclusion,
    view::View,
    materialized_view::MaterializedView,
    view_column::ViewColumn,
    index::Index,
    partition::Partition,
    foreign_key::ForeignKey,
    cluster_on::ClusterOn,
    replica_identity::ReplicaIdentity,
    statistics::Statistics,
    trigger::Trigger,
    rule::Rule,
    policy::Policy,
    row_security::RowSecurity,
    publication::Publication,
    event_trigger::EventTrigger,
    default_privileges::DefaultPrivileges,
    owner::Owner,
    comment::Comment,
    grant::Grant,
}

/// The static side of a kind, for dispatch by keyword.
#[derive(Clone, Copy)]
pub struct Registration {
    /// [`Kind::KEYWORD`].
    pub keyword: &'static str,
    /// [`Kind::NODE`].
    pub node: &'static str,
    /// [`Kind::CATALOG`].
    pub catalog: &'static str,
    /// [`Kind::PARENTS`].
    pub parents: &'static [&'static str],
    /// [`Kind::EFFORT`].
    pub effort: u32,
    /// [`Kind::query`].
    pub query: fn(u32) -> Option<String>,
    /// [`Kind::from_row`].
    pub from_row: fn(&mut Row<'_>) -> Object,
    /// [`Kind::read`].
    pub read: fn(&mut Node<'_>, &Scope<'_>, &mut Lowering) -> Option<Id>,
    /// [`Kind::rename`].
    pub rename: fn(&Id, &Id) -> Option<Action>,
    /// [`Kind::address`].
    pub address: fn(&Id) -> String,
    /// [`Kind::grant_address`].
    pub grant_address: fn(&Id) -> Option<String>,
}

impl Registration {
    const fn of<K: Kind + Into<Object> + 'static>() -> Self {
        Self {
            keyword: K::KEYWORD,
            node: K::NODE,
            catalog: K::CATALOG,
            parents: K::PARENTS,
            effort: K::EFFORT,
            query: K::query,
            from_row: |row| K::from_row(row).into(),
            read: K::read,
            rename: K::rename,
            address: K::address,
            grant_address: K::grant_address,
        }
    }
}

/// The registration of the kind with this keyword.
#[must_use]
pub fn registration(keyword: &str) -> Option<&'static Registration> {
    KINDS.iter().find(|kind| kind.keyword == keyword)
}

/// The place of a kind in the order of creation: its index in [`KINDS`].
#[must_use]
pub fn weight(keyword: &str) -> usize {
    KINDS.iter().position(|kind| kind.keyword == keyword).unwrap_or(KINDS.len())
}

/// Whether objects of a kind are relations or stand in one, which the first two names of their ids tell: a table, a
/// column, an index. What is done to them locks that relation.
#[must_use]
pub fn in_relation(keyword: &str) -> bool {
    let is_relation = |kind: &&Registration| kind.catalog == "pg_class" && kind.parents == ["schema"];
    registration(keyword).is_some_and(|kind| {
        is_relation(&kind) || kind.parents.iter().any(|parent| registration(parent).is_some_and(|parent| is_relation(&parent)))
    })
}

/// How SQL calls the object with this id: `TABLE public.orders`.
#[must_use]
pub fn address(id: &Id) -> String {
    registration(&id.kind).map_or_else(|| id.sql(), |kind| (kind.address)(id))
}
