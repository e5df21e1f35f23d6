//! `schema init`

use super::{Global, Out, planning};
use crate::config::INHERITANCE;
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
    // direct // `apply` goes from the source to the database without plans
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
    global.format(&[super::Format::Text])?;
    let Args {} = args;
    let project = global.project()?;
    if project.names_database() {
        return Box::pin(adopt(&project, out)).await;
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
    out.notice("Next: describe your tables in schema/*.kdl, or adopt a live database with `schema init --url …`. Then `schema plan`.");
    Ok(Code::Done)
}

/// Adopts a live database: reads it, writes it as KDL, and proves that the files say the same.
async fn adopt(project: &Project, out: &Out) -> Result<Code, CliError> {
    let here = std::env::current_dir().map_err(|error| CliError::file("find", std::path::Path::new("."), &error))?;
    let path = here.join(crate::config::FILE_NAME);
    let fresh = !path.exists();
    let place = project.place()?;
    let session = crate::project::session(&place).await?;
    let mut scope = planning::scope(project);
    let mut bench = planning::bench(project, out);
    let mut live = planning::live(&session, &scope, &bench.waits).await?;
    live.read_dependencies(&session).await.map_err(crate::engine::EngineError::from)?;
    // What has no kind is left alone, and says so where everybody sees it.
    let mut ignored = Vec::new();
    for name in &live.catalog.unmodelled {
        if let Some((kind, rest)) = name.split_once(' ') {
            // What changes its parent changes it: it is left alone as a whole.
            let (kind, reason) = if kind == INHERITANCE { ("table", "it inherits, not modelled yet") } else { (kind, "not modelled yet") };
            ignored.push(format!("ignore {kind}={} reason=\"{reason}\"\n", crate::kdl::write::spell_on_line(rest)));
            scope.ignore.push(crate::config::Ignore::new(kind, rest, None));
        }
    }
    let catalog = scope.live(live.catalog, &crate::catalog::Catalog::default())?;
    let written = crate::source::write_folder(&catalog, &project.config.source)?.written;
    std::fs::create_dir_all(&project.config.plans).map_err(|error| CliError::file("make", &project.config.plans, &error))?;
    let mut config = if fresh { CONFIG.to_owned() } else { files::read(&path)? };
    let new: String = ignored.iter().filter(|line| !config.contains(line.trim_end())).cloned().collect();
    if !new.is_empty() {
        config = format!("{}\n{new}", config.trim_end_matches('\n').to_owned() + "\n");
    }
    files::write(&path, &config)?;
    out.notice(&format!(
        "Read {} from {}, wrote {} files below {}.",
        planning::counted(&catalog),
        crate::project::described(&session),
        written.len(),
        project.shown(&project.config.source)
    ));
    // The proof: a server built from these files is the same.
    let desired = crate::source::read_folder(&project.config.source).map_err(crate::engine::EngineError::from)?;
    let policy = crate::plan::Policy { small_table_rows: project.config.small_table_rows, direct: true, quarantine: None };
    let rebuilt = planning::between(
        crate::engine::State::Empty,
        crate::engine::State::Files(desired.clone()),
        &scope,
        policy.clone(),
        true,
        &mut bench,
    )
    .await?;
    let again = planning::from_database(&session, desired, &scope, policy, false, &mut bench).await?;
    bench.stop().await;
    if !again.plan.is_empty() {
        return Err(CliError::failed(
            format!("the files do not say what the database holds: {} differences", again.plan.summary.len()),
            "this is a defect of schema; the database was not touched",
        ));
    }
    out.notice(&format!(
        "{} read, rebuilt on a scratch server ({}), equal; {} ignored.",
        planning::counted(&rebuilt.desired),
        rebuilt.plan.elaborated_on,
        ignored.len()
    ));
    out.notice("Next: commit schema.kdl and the source folder; change a file; then `schema plan`.");
    Ok(Code::Done)
}
