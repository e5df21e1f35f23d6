//! Everything that talks to a PostgreSQL server or its programs.
//!
//! | module | holds |
//! |---|---|
//! | [`conninfo`] | connection strings as libpq reads them: URLs, `key=value`, service files |
//! | [`target`] | [`Target`]: where to connect, with the `PG*` variables and libpq's defaults filled in |
//! | [`passfile`] | `~/.pgpass` |
//! | [`blockers`], [`waits`] | who stands in the way of a session; a read that waits says so |
//! | [`tls`] | what each `sslmode` verifies |
//! | [`session`] | [`connect`], [`Session`], pinned settings |
//! | [`error`] | [`SessionError`] and [`explain`] |
//! | [`server`] | [`Installation`]: finding `postgres`, `initdb`, `pg_dump` on this machine |
//! | [`mod@download`] | fetching a server where none is installed |
//! | [`database`] | what a `CREATE DATABASE` may say |
//! | [`scratch`] | [`Scratch`]: a private throwaway server |
//!
//! Two rules hold here: no password is ever printed (they live in [`target::Secret`], whose `Debug` hides
//! them), and nothing that a scratch server made survives the process that started it.

mod attempt;
pub mod blockers;
pub mod conninfo;
pub mod database;
pub mod download;
pub mod error;
pub mod introspect;
pub mod passfile;
pub mod scratch;
pub mod server;
pub mod session;
pub mod target;
mod template;
pub mod tls;
mod unmodelled;
pub mod waits;
mod watchdog;

pub use database::{DatabaseOptions, LocaleProvider};
pub use download::{Progress, download};
pub use error::{SessionError, explain, is_connection_lost};
pub use scratch::{Scratch, ScratchOptions};
pub use server::{Installation, ServerError, find};
pub use session::{CancelHandle, Notice, Session, begin_pinned, connect, pin_deparse_settings};
pub use target::Target;
pub use waits::Waits;
