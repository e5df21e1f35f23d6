//! `schema init`

use super::{Global, Out};
use crate::error::{CliError, Code};
use crate::project::{Project, files};

/// Arguments of `schema init`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Start a project, or adopt a live database",
    long_about = "Makes schema.kdl, the source folder and the folder of plans.\n\n\
        With --url it adopts a live database: it reads it, changes nothing in it, writes it\nas KDL, and proves that a server built from these files is the same.",
    after_help = "Examples:
  schema init
  schema init --url postgres://me@db1/shop   adopt a live database, read-only"
)]
pub struct Args {}

const CONFIG: &str = r#"// Where things are.
source "schema"
plans "plans"

// The environments: where each database is, and what may be done to it.
default-env dev
env dev {
    url (env)DATABASE_URL
    direct // `apply` needs no plan file
}
// env production {
//     url (env)PRODUCTION_URL
//     approvals 1
//     gate clients="app/1.*" idle="24h"
// }
"#;

/// Makes the project.
///
/// # Errors
/// A schema.kdl that is there already, a folder that cannot be written to.
pub async fn run(args: Args, global: &Global, out: &mut Out) -> Result<Code, CliError> {
    let Args {} = args;
    let project = global.project()?;
    if project.names_database() {
        return adopt(&project, out).await;
    }
    let here = std::env::current_dir().map_err(|error| CliError::file("find", std::path::Path::new("."), &error))?;
    let path = here.join(crate::config::FILE_NAME);
    if path.exists() {
        return Err(CliError::failed(format!("{} is there already", path.display()), "nothing was changed"));
    }
    for folder in [here.join("schema"), here.join("plans")] {
        std::fs::create_dir_all(&folder).map_err(|error| CliError::file("make", &folder, &error))?;
    }
    files::write(&path, CONFIG)?;
    out.notice("Made schema.kdl, schema/ and plans/.");
    out.notice("Next: describe your tables in schema/*.kdl, or adopt a live database with `schema inspect --out schema --url …`. Then `schema plan`.");
    Ok(Code::Done)
}

#[expect(clippy::unused_async, reason = "reads a database")]
async fn adopt(_project: &Project, _out: &Out) -> Result<Code, CliError> {
    Err(CliError::not_built("init --url"))
}
