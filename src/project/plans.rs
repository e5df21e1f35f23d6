//! The folder of plans: NNNN-slug.kdl, and beside each its approvals and what a rehearsal measured.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::files;
use crate::catalog::{Fingerprint, Id};
use crate::error::{CliError, Code};
use crate::kdl::suggest;
use crate::plan::Plan;
use crate::plan::file::{self, Approval};
use crate::plan::rehearsal::Rehearsal;

/// A plan with its file.
#[derive(Clone, Debug)]
pub struct PlanFile {
    /// Where it is.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
    /// What it says.
    pub plan: Plan,
    /// What is approved and recorded.
    pub hash: Fingerprint,
}

/// The ending of a file of approvals.
const APPROVALS: &str = ".approvals.kdl";

/// The ending of a file with what a rehearsal measured.
const REHEARSAL: &str = ".rehearsal.kdl";

/// The number that a plan's name starts with.
#[must_use]
pub fn number(name: &str) -> Option<u32> {
    let digits = name.split('-').next()?;
    if digits.bytes().all(|digit| digit.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Reads one plan; its name must be that of its file.
///
/// # Errors
/// A file that cannot be read or understood.
pub fn read(path: &Path) -> Result<PlanFile, CliError> {
    let text = files::read(path)?;
    let plan = file::read(path, &text)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if plan.name != stem {
        return Err(CliError::failed(
            format!("{} holds the plan `{}`", path.display(), plan.name),
            format!("rename the file to {}.kdl, or the plan to \"{stem}\"", plan.name),
        ));
    }
    let hash = file::hash(&plan);
    Ok(PlanFile { path: path.to_owned(), text, plan, hash })
}

/// Every plan of the folder, oldest first; none where there is no folder.
///
/// # Errors
/// A plan that cannot be read, or two with one number.
pub fn all(folder: &Path) -> Result<Vec<PlanFile>, CliError> {
    let mut plans = paths(folder)?.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    plans.sort_by(|a, b| (number(&a.plan.name), &a.plan.name).cmp(&(number(&b.plan.name), &b.plan.name)));
    for pair in plans.windows(2) {
        let (one, two) = (&pair[0].plan.name, &pair[1].plan.name);
        if number(one).is_some() && number(one) == number(two) {
            return Err(CliError::failed(
                format!("the plans {one} and {two} share a number"),
                format!("whichever was merged last goes on from there: schema rebase {two}"),
            ));
        }
    }
    Ok(plans)
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths = files::below(folder, "kdl")?;
    paths.retain(|path| ![APPROVALS, REHEARSAL].iter().any(|ending| path.to_string_lossy().ends_with(ending)));
    Ok(paths)
}

/// The number of the next plan: one more than the highest.
///
/// # Errors
/// A folder that cannot be read.
pub fn next_number(folder: &Path) -> Result<u32, CliError> {
    let names = paths(folder)?;
    let stem = |path: &PathBuf| path.file_stem().and_then(|stem| number(&stem.to_string_lossy()));
    Ok(names.iter().filter_map(stem).max().unwrap_or_default() + 1)
}

/// The name of a new plan: `0007-severity-level`.
#[must_use]
pub fn new_name(number: u32, title: &str) -> String {
    let mut slug = String::new();
    for c in title.chars() {
        if c.is_alphanumeric() {
            slug.extend(c.to_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= 48 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { format!("{number:04}") } else { format!("{number:04}-{slug}") }
}

/// The plan that a person means: a path, a name, a number, or the beginning of a name.
///
/// # Errors
/// None, or several.
pub fn find(folder: &Path, meant: &str) -> Result<PlanFile, CliError> {
    let path = Path::new(meant);
    if path.extension().is_some_and(|extension| extension == "kdl") && path.is_file() {
        return read(path);
    }
    let stems: Vec<(String, PathBuf)> =
        paths(folder)?.into_iter().map(|path| (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path)).collect();
    if let Some((_, path)) = stems.iter().find(|(stem, _)| stem == meant) {
        return read(path);
    }
    let found: Vec<_> = stems.iter().filter(|(stem, _)| fits(stem, meant)).collect();
    match found.as_slice() {
        [(_, path)] => read(path),
        [] => {
            let names: Vec<&str> = stems.iter().map(|(stem, _)| stem.as_str()).collect();
            let help = match suggest(meant, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => format!("there are none in {}; `schema plan` makes one", folder.display()),
                None => format!("there are {}", names.join(", ")),
            };
            Err(CliError::failed(format!("there is no plan `{meant}`"), help))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|(stem, _)| stem.as_str()).collect();
            Err(CliError::failed(format!("`{meant}` may be several plans"), format!("say which: {}", names.join(", "))))
        }
    }
}

/// Whether a person who says `meant` (a number, a slug, the beginning of a name) may mean the plan of this name.
#[must_use]
pub fn fits(name: &str, meant: &str) -> bool {
    match meant.parse().ok() {
        Some(wanted) => number(name) == Some(wanted),
        None => name.starts_with(meant) || after_number(name) == meant,
    }
}

fn after_number(stem: &str) -> &str {
    stem.split_once('-').map_or(stem, |(_, slug)| slug)
}

impl PlanFile {
    /// Where its approvals are.
    #[must_use]
    pub fn approvals_path(&self) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{stem}{APPROVALS}"))
    }

    /// Where what a rehearsal measured is kept.
    #[must_use]
    pub fn rehearsal_path(&self) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{stem}{REHEARSAL}"))
    }

    /// What a rehearsal of the plan as it is now measured, where that is kept.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn rehearsal(&self) -> Result<Option<Rehearsal>, CliError> {
        let path = self.rehearsal_path();
        let Some(text) = files::read_if_there(&path)? else { return Ok(None) };
        Ok(Some(file::read_rehearsal(&path, &text)?).filter(|rehearsal| rehearsal.plan == self.hash))
    }

    /// Its approvals, those of earlier texts included.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn approvals(&self) -> Result<Vec<Approval>, CliError> {
        let path = self.approvals_path();
        match files::read_if_there(&path)? {
            None => Ok(Vec::new()),
            Some(text) => Ok(file::read_approvals(&path, &text)?),
        }
    }

    /// Who approved the plan as it is now, each once.
    ///
    /// # Errors
    /// See [`Self::approvals`].
    pub fn approvers(&self) -> Result<BTreeSet<String>, CliError> {
        Ok(self.approvals()?.into_iter().filter(|approval| approval.plan == self.hash).map(|approval| approval.by).collect())
    }

    /// Refuses a plan with fewer approvals than `needed`.
    ///
    /// # Errors
    /// [`Code::Refused`], with how to approve it.
    pub fn require_approvals(&self, needed: u32, environment: &str) -> Result<(), CliError> {
        let have = self.approvers()?;
        if have.len() >= needed as usize {
            return Ok(());
        }
        let stale = self.approvals()?.len() > have.len();
        let why = if stale { " (it was changed after others were given)" } else { "" };
        Err(CliError::with_help(
            Code::Refused,
            format!("plan {} has {} of the {needed} approvals that {environment} needs{why}", self.plan.name, have.len()),
            format!("have it reviewed and commit the approval: schema approve {}", self.plan.name),
        ))
    }
}

/// An object that both plans touch: then the later one waits for the earlier.
#[must_use]
pub fn shared<'p>(earlier: &Plan, later: &'p Plan) -> Option<&'p Id> {
    let touched: BTreeSet<&Id> = touched(earlier).collect();
    self::touched(later).find(|id| touched.contains(id))
}

fn touched(plan: &Plan) -> impl Iterator<Item = &Id> {
    let changed = plan.steps().flat_map(|(_, step)| step.makes.iter().chain(&step.takes));
    plan.relies_on.iter().map(|reliance| &reliance.id).chain(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    #[test]
    fn names() {
        assert_eq!(new_name(7, "Severity level!"), "0007-severity-level");
        assert_eq!(new_name(12, " -- "), "0012");
        assert_eq!(number("0007-severity-level"), Some(7));
        assert_eq!(number("severity"), None);
    }

    #[test]
    fn which_plan_is_meant() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        assert_eq!(next_number(&folder.join("none")).expect("empty"), 1);
        for name in ["0001-orders", "0007-severity-level", "0010-orders-note"] {
            let plan = Plan { name: name.into(), ..sample::severity_level() };
            files::write(&folder.join(format!("{name}.kdl")), &file::write(&plan)).expect("written");
        }
        let name = |meant: &str| find(folder, meant).map(|file| file.plan.name).map_err(|error| error.to_string());
        for meant in ["7", "0007", "0007-severity-level", "severity-level", "0007-s"] {
            assert_eq!(name(meant), Ok("0007-severity-level".into()), "{meant}");
        }
        assert_eq!(name("orders"), Ok("0001-orders".into()));
        assert_eq!(name("00"), Err("there is no plan `00`".into()));
        assert_eq!(name("8"), Err("there is no plan `8`".into()));
        assert_eq!(all(folder).expect("readable").len(), 3);
        assert_eq!(next_number(folder).expect("readable"), 11);
    }

    #[test]
    fn approvals_hold_for_one_text() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("0007-severity-level.kdl");
        files::write(&path, &file::write(&sample::severity_level())).expect("written");
        let plan = read(&path).expect("readable");
        assert!(plan.require_approvals(0, "dev").is_ok());
        assert!(plan.require_approvals(1, "prod").is_err());
        let approval =
            |plan: Fingerprint, by: &str| file::write_approval(&Approval { plan, by: by.into(), at: "2026-01-01T00:00:00Z".into() });
        let lines =
            [approval(plan.hash.clone(), "Ann"), approval(plan.hash.clone(), "Ann"), approval(Fingerprint::of_bytes(b"old"), "Bob")];
        files::write(&plan.approvals_path(), &lines.concat()).expect("written");
        assert!(plan.require_approvals(1, "prod").is_ok());
        let error = plan.require_approvals(2, "prod").expect_err("one person is one approval");
        assert_eq!(
            error.to_string(),
            "plan 0007-severity-level has 1 of the 2 approvals that prod needs (it was changed after others were given)"
        );
        assert_eq!(error.code(), Code::Refused);
    }
}
