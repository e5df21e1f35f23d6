//! `schema`: declarative, zero-downtime schema changes for PostgreSQL and TimescaleDB.
//!
//! # The way of the data
//!
//! ```text
//! schema/*.kdl ─ read ─▶ Catalog ─ elaborate ─▶ Catalog ─┐
//!                                                        ├─ diff ─▶ ops ─▶ Plan ─▶ plans/*.kdl
//! live database ─ introspect ─▶ Catalog, facts ──────────┘                  │
//!                                              prove on a scratch server ◀──┤
//!                                              apply, step by step, ledger ◀┘
//! ```
//!
//! # Rooms, and what holds in each
//!
//! - [`catalog`]: names, objects, dependencies, hashes. No IO; ids never hold an OID.
//! - [`kind`]: what we know about PostgreSQL, one file per kind of object. Nothing else names
//!   catalog tables or DDL syntax of an object.
//! - [`kdl`]: the syntax of the files. Knows no kind. A person's file is only ever edited by span.
//! - [`source`]: a folder of files to a catalog, and back into the files that are there.
//! - [`pg`]: connections, introspection, scratch servers.
//! - [`plan`]: two catalogs to a plan. Pure: no IO, no clock, the same input gives the same bytes.
//! - [`recipe`]: the safe sequences, one file (or folder) each: changes to operations. As pure.
//! - [`engine`]: what a scratch server is asked: what texts mean, facts, whether a plan ends where it should.
//! - [`apply`]: executes a plan, and undoes it, resumable. Prints nothing: tells events.
//! - [`config`]: schema.kdl, and which database is meant.
//! - [`rehearse`]: a plan on a scratch clone with rows: real locks, scans, builds, rewrites; its undo.
//! - [`project`]: the files of a project: its plans and approvals, read and written.
//! - [`demo`]: the example of `schema demo`, its clients, what they felt. Prints nothing.
//! - [`error`]: errors with an exit code.
//! - [`cli`]: one file per command. The only room that prints.
pub mod apply;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod demo;
pub mod engine;
pub mod error;
pub mod kdl;
pub mod kind;
pub mod pg;
pub mod plan;
pub mod project;
pub mod recipe;
pub mod rehearse;
pub mod source;
