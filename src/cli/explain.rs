//! `schema explain`

use std::fmt::Write;

use super::{Format, Global, Out, topics};
use crate::error::{CliError, Code};
use crate::kdl::suggest;
use crate::plan::op::Hazard;
use crate::plan::policy::Policy;
use crate::plan::render::wrap;

/// Arguments of `schema explain`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Explain a hazard",
    long_about = "Explains a hazard that a plan shows: what can happen, and what to do about it.\nWithout a name it lists all, with the rule that holds where no configuration\nsays otherwise.",
    after_help = "Examples:
  schema explain
  schema explain drop-column"
)]
pub struct Args {
    /// The hazard
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Prints the explanation.
///
/// # Errors
/// No hazard of that name.
pub fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    global.format(&[Format::Text])?;
    let policy = Policy::default();
    let mut text = String::new();
    match &args.name {
        None => {
            for hazard in Hazard::ALL {
                let _ = writeln!(text, "  {:13} {:7} {}", hazard.name(), policy.rule(hazard).name(), explanation(hazard).0);
            }
            text.push('\n');
            for (name, short) in topics::TOPICS {
                let _ = writeln!(text, "  {name:13} {:7} {short}", "");
            }
        }
        Some(name) if topics::topic(name).is_some() => {
            let paragraphs = topics::topic(name).unwrap_or_default();
            let paragraphs: Vec<String> = paragraphs.iter().map(|one| wrap(one, super::out::WIDTH).join("\n")).collect();
            let _ = writeln!(text, "{}", paragraphs.join("\n\n"));
        }
        Some(name) => {
            let hazard = Hazard::from_name(name).ok_or_else(|| {
                let near = suggest(name, &Hazard::ALL.map(Hazard::name)).map(|near| format!("did you mean `{near}`? "));
                CliError::failed(format!("there is no hazard `{name}`"), format!("{}`schema explain` lists all", near.unwrap_or_default()))
            })?;
            let (short, long) = explanation(hazard);
            let _ = writeln!(text, "{hazard}: {short}\n");
            for line in wrap(long, super::out::WIDTH) {
                let _ = writeln!(text, "{line}");
            }
            let _ = writeln!(text, "\nDefault: {}. Change it under `hazards` in schema.kdl.", policy.rule(hazard).name());
        }
    }
    out.result(&text)?;
    Ok(Code::Done)
}

/// A hazard in one line, and in a few.
const fn explanation(hazard: Hazard) -> (&'static str, &'static str) {
    match hazard {
        Hazard::DropTable => (
            "a table and its rows go",
            "The table is dropped in the contract stage, under a short ACCESS EXCLUSIVE lock on it and on the tables that its foreign keys reference. Its rows \
             are gone for good, unless `quarantine` keeps the table under another name.",
        ),
        Hazard::DropColumn => (
            "a column and its values go",
            "The column is dropped in the contract stage, under a short ACCESS EXCLUSIVE lock. Its values are gone for good, unless `quarantine` \
             keeps it under another name. Clients that still name it fail: deploy the release that does not, first.",
        ),
        Hazard::DropData => (
            "other data goes with an object",
            "A sequence's position, the rows of a materialized view or the history of a continuous aggregate cannot be made again from the definition alone.",
        ),
        Hazard::DropIndex => (
            "an index goes; queries may become slow",
            "The index is dropped concurrently and blocks nobody. Queries that used it fall back to other plans; building it again takes its time.",
        ),
        Hazard::LossyCast => (
            "a cast may change or refuse values",
            "The new type does not hold every value of the old one: values may be rounded or cut, or a row may be refused in the middle of the backfill. \
             Of an enum that loses values the plan says which becomes which (`backfill happy with=ok`), and which is refused as soon as the new type stands beside.",
        ),
        Hazard::Breaking => (
            "a statement of an old client would fail",
            "There is no form in which clients of the old and of the new release both work, or one of them does not see what the other wrote: the plan says \
             which. Stop the old ones first, or split the change in two releases; where columns take the place of others, a `revert` may be all that is missing.",
        ),
        Hazard::Blocking => (
            "a lock waits for a scan, a build or a rewrite",
            "A lock that keeps clients out is held for as long as the table takes to be read, indexed or written, because PostgreSQL has no other way. The plan \
             shows the lock and the size of the table.",
        ),
        Hazard::Rewrite => (
            "a table is written again",
            "The whole table is copied under an ACCESS EXCLUSIVE lock; it needs its size again on disk, and all of it goes to the replicas.",
        ),
        Hazard::Irreversible => {
            ("a step cannot be undone", "A way back ends before this step: what it does cannot be brought back by statements.")
        }
        Hazard::Revoke => ("a role loses a privilege", "Statements of that role may fail from this step on."),
        Hazard::SideEffects => (
            "a backfill drives triggers or publications",
            "The backfill updates rows, so user triggers fire and publications send every changed row. Look whether that is wanted: audit tables grow, \
             subscribers get the traffic.",
        ),
        Hazard::RowShape => (
            "the row type changes",
            "COPY and INSERT without a column list, SELECT * with positions and functions that return the row type see one column more or less; or readers find \
             NULL where there was none: let the old release bear it before the new one writes it. A column whose type changed through a shadow column stands \
             at the end of its table: until contract, rows without a column list are refused rather than misread.",
        ),
        Hazard::Prepared => (
            "prepared statements may fail once",
            "\"cached plan must not change result type\": a statement that was prepared before fails until it is prepared again. Drivers that retry do not \
             notice; neither do statements that name their columns, unless one of these changed its type. Where an enum was changed beside the old \
             one, a statement that was prepared with a value of it can write it until contract; one that compares it fails.",
        ),
        Hazard::UpsertRace => (
            "ON CONFLICT may raise a unique violation",
            "While two unique indexes stand side by side, INSERT … ON CONFLICT names one of them as its arbiter; a concurrent insert may violate the other.",
        ),
        Hazard::Unproven => (
            "the plan was not run on a scratch server",
            "That the plan ends in the desired state was not tried out, only computed; or its steps were edited since. Install PostgreSQL of the same version where plans are made, or name a \
             server with `scratch` in schema.kdl.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ones_fit_the_list() {
        for hazard in Hazard::ALL {
            assert!(explanation(hazard).0.len() <= 54, "{hazard}");
        }
    }
}
