//! `schema diff`

use super::{Format, Global, Out, planning};
use crate::engine::State;
use crate::error::{CliError, Code};
use crate::plan::Plan;
use crate::plan::plan::{Summary, Work};

/// Arguments of `schema diff`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Compare two states",
    long_about = "Compares two states. A state is a folder, a .sql file, a connection string, the\nname of an environment, a plan, git:REV (the source as of then), or `empty`.",
    after_help = "Examples:\n  schema diff production schema\n  schema diff git:main schema --format sql\n  schema diff empty schema.sql"
)]
pub struct Args {
    /// The state to start from
    #[arg(value_name = "A")]
    pub from: String,
    /// The state to end in
    #[arg(value_name = "B")]
    pub to: String,
    /// End with exit code 2 when they differ
    #[arg(long)]
    pub exit_code: bool,
}

/// Compares the two.
///
/// # Errors
/// A state that cannot be read.
pub async fn run(args: Args, global: &Global, out: &mut Out) -> Result<Code, CliError> {
    let format = global.format(&[Format::Text, Format::Json, Format::Sql, Format::Markdown])?;
    let project = global.project()?;
    let scope = planning::scope(&project);
    let mut bench = planning::bench(&project, out);
    let from = planning::state(&project, &args.from, &scope, &mut bench).await?;
    let to = planning::state(&project, &args.to, &scope, &mut bench).await?;
    for (state, other) in [(&from, &to), (&to, &from)] {
        if let State::Database { session: Some(session), .. } = state {
            // Between two databases, and beside nothing, all that is there is compared.
            let counts = matches!(other, State::Empty | State::Database { session: Some(_), .. });
            let what = if counts { "what it made for the time being counts" } else { "what it touches is not compared" };
            for plan in planning::under_way(session).await? {
                out.notice(&format!("{} is under way on {}: {what}.", plan.name, session.target().describe()));
            }
        }
    }
    // What it takes at once: a comparison is no rollout.
    let policy = crate::plan::Policy { small_table_rows: project.config.small_table_rows, direct: true, quarantine: None };
    let computed = planning::between(from, to, &scope, policy, false, &mut bench).await?;
    bench.stop().await;
    if computed.plan.is_empty() {
        out.notice(&format!("No difference: {}.", planning::counted(&computed.desired)));
        return Ok(Code::Done);
    }
    let text = match format {
        Format::Text => text(&computed.plan.summary),
        Format::Sql => sql(&computed.plan),
        Format::Json => crate::plan::render::json(&computed.plan, &crate::plan::render::Context::default()),
        Format::Markdown => format!("```diff\n{}```\n", text(&computed.plan.summary)),
    };
    out.result(&text)?;
    Ok(if args.exit_code { Code::Differences } else { Code::Done })
}

/// One line per object and changed part.
fn text(summary: &[Summary]) -> String {
    let mut text = String::new();
    for Summary { subject, sign, lines, .. } in summary {
        text.push_str(&format!("{sign} {subject}\n"));
        for (sign, line) in lines {
            text.push_str(&format!("    {sign} {line}\n"));
        }
    }
    text
}

/// The statements alone, as a script.
fn sql(plan: &Plan) -> String {
    let statements = plan.steps().flat_map(|(_, step)| match &step.work {
        Work::Sql(statements) => statements.clone(),
        Work::Backfill(backfill) => vec![backfill.whole()],
    });
    statements.fold(String::new(), |script, statement| script + &statement + ";\n")
}
