//! `schema inspect`

use std::path::{Path, PathBuf};

use super::{Global, Out, planning};
use crate::catalog::Id;
use crate::engine::elaborate::elaborate;
use crate::engine::{EngineError, Scope, Workbench, in_flight};
use crate::error::{CliError, Code};

/// Arguments of `schema inspect`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Write a live database as KDL",
    long_about = "Writes a live database, or an SQL dump, as KDL: to stdout, or as one file per\ntable below --out. Over a folder that is there already, it changes only the\nnodes that differ.",
    after_help = "Examples:\n  schema inspect --url postgres://me@db1/shop\n  schema inspect --env dev --out schema\n  schema inspect --from dump.sql --out schema"
)]
pub struct Args {
    /// Read an SQL file instead of a database
    #[arg(long, value_name = "FILE.sql", conflicts_with_all = ["env", "url"])]
    pub from: Option<PathBuf>,
    /// Write files into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Only these schemas
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub schemas: Vec<String>,
}

/// Writes what is there.
///
/// # Errors
/// A state that cannot be read, files that cannot be written.
pub async fn run(args: Args, global: &Global, out: &mut Out) -> Result<Code, CliError> {
    global.format(&[super::Format::Text])?;
    let project = global.project()?;
    let scope = planning::scope(&project);
    let mut bench = planning::bench(&project, out);
    let state = if let Some(path) = &args.from {
        crate::engine::state::path(path, &mut bench, &scope).await?
    } else {
        let place = project.place()?;
        crate::engine::state::database(&crate::project::target(&place)?, &scope, &bench.waits).await?
    };
    let (mut catalog, _, session, version) = state.into_start();
    let under_way = match &session {
        Some(session) => planning::under_way(session).await?,
        None => Vec::new(),
    };
    // What has no kind is told by name; the files hold the rest.
    let unmodelled: Vec<String> = std::mem::take(&mut catalog.unmodelled)
        .into_iter()
        .filter(|name| !scope.ignore.iter().any(|rule| rule.matches_name(name)))
        .collect();
    let raw = crate::catalog::Catalog::default();
    let mut catalog = scope.live(catalog, &raw)?;
    if !args.schemas.is_empty() {
        for wanted in &args.schemas {
            if !catalog.contains(&crate::kind::schema::Schema::id_of(wanted)) {
                return Err(CliError::failed(format!("there is no schema {wanted}"), "schemas are named exactly as PostgreSQL holds them"));
            }
        }
        catalog.objects.retain(|id, _| belongs(id, &args.schemas));
    }
    for plan in &under_way {
        let kept = if args.out.as_ref().is_some_and(|folder| folder.exists()) {
            "what it touches stays as the files have it"
        } else {
            "what it made for the time being is among this"
        };
        out.notice(&format!("{} is under way on this database: {kept}.", plan.name));
    }
    match &args.out {
        None => out.result(&crate::source::document(&catalog))?,
        Some(folder) => {
            if !under_way.is_empty() && folder.exists() {
                let units = under_way.iter().flat_map(in_flight::touched).collect();
                let files = crate::source::read_folder(folder).map_err(EngineError::from)?;
                catalog = in_flight::hold(&files.catalog, catalog, &units);
            }
            // What was not asked for stays as the files have it.
            if folder.exists() {
                keep_spelling(&mut catalog, folder, version, &scope, &mut bench, out).await?;
            }
            let outside = |id: &crate::catalog::Id| !args.schemas.is_empty() && !belongs(id, &args.schemas);
            let changes = crate::source::folder::write_folder_beside(&catalog, folder, outside)?;
            let files = |count: usize| format!("{count} {}", if count == 1 { "file" } else { "files" });
            let deleted = if changes.deleted.is_empty() { String::new() } else { format!(", deleted {}", files(changes.deleted.len())) };
            out.notice(&format!(
                "Read {}; wrote {}{deleted} below {}.",
                planning::counted(&catalog),
                files(changes.written.len()),
                project.shown(folder)
            ));
        }
    }
    bench.stop().await;
    if !unmodelled.is_empty() {
        out.notice(&format!(
            "Not written, because schema does not model it yet:\n{}",
            unmodelled.iter().map(|name| format!("  {name}")).collect::<Vec<_>>().join("\n")
        ));
    }
    Ok(Code::Done)
}

/// Takes the text that the files have where it means what the database has.
async fn keep_spelling(
    live: &mut crate::catalog::Catalog,
    folder: &Path,
    version: Option<u32>,
    scope: &Scope,
    bench: &mut Workbench,
    out: &mut Out,
) -> Result<(), CliError> {
    let mut files = crate::source::read_folder(folder).map_err(EngineError::from)?;
    files.guess_needs();
    let spelled: Vec<Id> = files
        .catalog
        .objects
        .iter()
        .filter(|(id, raw)| !raw.texts().is_empty() && live.get(id).is_some_and(|live| live != *raw))
        .map(|(id, _)| id.clone())
        .collect();
    if spelled.is_empty() {
        return Ok(());
    }
    // What no server accepts cannot be compared: then the database's texts are written.
    let made = async {
        bench.start(version).await?;
        elaborate(bench, live, &files.catalog, files.origins(), &files.sources, scope).await
    };
    let made = match made.await {
        Ok(made) => made,
        Err(error) => {
            out.notice(&format!("The texts in the files cannot be compared, so the database's are written: {error}"));
            return Ok(());
        }
    };
    for id in spelled {
        if made.desired.get(&id) == live.get(&id)
            && let Some(raw) = files.catalog.get(&id)
        {
            live.objects.insert(id, raw.clone());
        }
    }
    Ok(())
}

/// Whether an object stands in one of these schemas.
fn belongs(id: &crate::catalog::Id, schemas: &[String]) -> bool {
    let satellite = matches!(id.kind.as_str(), "comment" | "owner" | "grant" | "owned-by" | "cluster-on");
    let path = if satellite { &id.path[1..] } else { &id.path[..] };
    path.first().is_some_and(|schema| schemas.iter().any(|wanted| wanted == schema.as_str()))
}
