//! `schema fmt`

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Global, Out};
use crate::error::{CliError, Code};
use crate::kdl::{FormatError, Sources, format};
use crate::project::files;

/// Arguments of `schema fmt`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Format KDL files",
    long_about = "Formats the source folder and schema.kdl, or the files and folders named.\nComments stay. Plans are left alone.",
    after_help = "Examples:
  schema fmt
  schema fmt --check            in a pipeline: exit code 2 when one is not formatted
  schema fmt - < orders.kdl     from stdin to stdout"
)]
pub struct Args {
    /// Files or folders; `-` for stdin
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Change nothing, list what is not formatted
    #[arg(long)]
    pub check: bool,
}

/// Formats, or checks.
///
/// # Errors
/// Files that cannot be read or are no KDL.
pub fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    global.format(&[super::Format::Text])?;
    if args.paths == [Path::new("-")] {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| CliError::file("read", Path::new("stdin"), &error))?;
        let formatted = formatted(Path::new("stdin"), &text)?;
        if args.check {
            return Ok(if formatted == text { Code::Done } else { Code::Differences });
        }
        out.result(&formatted)?;
        return Ok(Code::Done);
    }
    let project = global.project()?;
    let mut paths = Vec::new();
    if args.paths.is_empty() {
        if project.config.source.exists() {
            paths.extend(files::below(&project.config.source, "kdl")?);
        }
        paths.extend(project.config.file.clone());
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "kdl"));
    }
    for path in &args.paths {
        paths.extend(files::below(path, "kdl")?);
    }
    // All are read before one is written: a mistake in the last leaves the first as it was.
    let mut changed = Vec::new();
    for path in &paths {
        let text = files::read(path)?;
        let formatted = formatted(path, &text)?;
        if formatted != text {
            changed.push((path, formatted));
        }
    }
    for (path, text) in &changed {
        if args.check {
            out.result(&format!("{}\n", project.shown(path)))?;
        } else {
            files::write(path, text)?;
            out.notice(&format!("formatted {}", project.shown(path)));
        }
    }
    Ok(if args.check && !changed.is_empty() { Code::Differences } else { Code::Done })
}

fn formatted(path: &Path, text: &str) -> Result<String, CliError> {
    let mut sources = Sources::new();
    let file = sources.add(path, text);
    format(file, text).map_err(|error| match error {
        FormatError::Syntax(findings) => findings.into_report(&sources).into(),
        FormatError::Internal => CliError::message(Code::Error, format!("{}: {error}", path.display())),
    })
}
