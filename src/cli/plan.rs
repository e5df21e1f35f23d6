//! `schema plan`

use std::path::PathBuf;

use super::show::rendered;
use super::{Format, Global, Out, allow, planning};
use crate::error::{CliError, Code};
use crate::plan::Plan;
use crate::plan::plan::{Stage, StageName, Step, Undo, Work};
use crate::project::{Project, files, plans};

/// Arguments of `schema plan`.
#[derive(clap::Args, Debug, Default)]
#[command(
    about = "Make a plan from the live to the desired state",
    long_about = "Compares the live database with the desired state, prints how to get from one\nto the other without blocking or breaking clients, and writes it to\nplans/NNNN-name.kdl. It changes nothing. When there is nothing to do, it says\nso and writes nothing.",
    after_help = "Examples:\n  schema plan\n  schema plan --name severity-level\n  schema plan --allow drop-column --because \"nothing reads it since 2.4\"\n  schema plan --out - --format sql\n  schema plan --from git:main --to schema --exit-code"
)]
pub struct Args {
    /// Start from this state instead of the database (see `schema diff`)
    #[arg(long, value_name = "STATE")]
    pub from: Option<String>,
    /// End in this state instead of the source
    #[arg(long, value_name = "STATE")]
    pub to: Option<String>,
    /// Write the plan here; `-` for stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What the plan is called
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Hazards that are allowed, or `all`
    #[arg(long, value_name = "HAZARD,…", value_delimiter = ',', value_parser = super::allowed)]
    pub allow: Vec<super::Allowed>,
    /// Why they are allowed; stands in the plan
    #[arg(long, value_name = "TEXT", requires = "allow")]
    pub because: Option<String>,
    /// End with exit code 2 when there is something to do
    #[arg(long)]
    pub exit_code: bool,
    /// Do not run the plan on a scratch server; the plan says so
    #[arg(long)]
    pub no_proof: bool,
    /// Plan for this one environment alone, back to what the plans say
    #[arg(long, conflicts_with_all = ["from", "to"])]
    pub repair: bool,
    /// Make a plan with one step, to be written by hand
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to", "repair"])]
    pub custom: Option<String>,
    /// Take versions and sizes from facts/ENV.kdl
    #[arg(long, value_name = "ENV", requires = "from")]
    pub facts: Option<String>,
}

/// Makes the plan.
///
/// # Errors
/// Whatever keeps it from its result; nothing is written then.
pub async fn run(args: Args, global: &Global, out: &mut Out) -> Result<Code, CliError> {
    if let Some(name) = &args.custom {
        return custom(name, &args, global, out);
    }
    if args.repair || args.facts.is_some() {
        return Err(CliError::not_built(if args.repair { "plan --repair" } else { "plan --facts" }));
    }
    let project = global.project()?;
    let scope = planning::scope(&project);
    let mut bench = planning::bench(&project, out);
    let policy = crate::plan::Policy { small_table_rows: project.config.small_table_rows, direct: false, quarantine: project.quarantine() };
    let prove = !args.no_proof;
    let mut target = None;
    let (mut waiting, mut empty): (Vec<String>, bool) = (Vec::new(), false);
    let mut rules = project.config.policy.clone();
    let computed = if let Some(from) = &args.from {
        let source = project.config.source.to_string_lossy().into_owned();
        let from = planning::state(&project, from, &scope, &mut bench).await?;
        let to = planning::state(&project, args.to.as_deref().unwrap_or(&source), &scope, &mut bench).await?;
        planning::between(from, to, &scope, policy, prove, &mut bench).await?
    } else {
        let place = project.place()?;
        rules = place.policy.clone();
        // The files are read while the server answers: both take their time on large schemas.
        let folder = project.config.source.clone();
        let is_sql = folder.extension().is_some_and(|extension| extension == "sql");
        let reading = (args.to.is_none() && !is_sql && folder.exists())
            .then(|| tokio::task::spawn_blocking(move || crate::source::read_folder(&folder)));
        let (session, waits) = (crate::project::session(&place).await?, bench.waits.clone());
        target = Some(crate::project::described(&session));
        waiting = planning::under_way(&session).await?.into_iter().map(|plan| plan.name).collect();
        let desired = async {
            Ok(match (reading, &args.to) {
                (Some(reading), _) => {
                    reading.await.expect("reading reports findings and does not panic").map_err(crate::engine::EngineError::from)?
                }
                (None, Some(to)) => planning::state(&project, to, &scope, &mut bench).await?.into_end(),
                (None, None) => planning::source(&project, &scope, &mut bench).await?,
            })
        };
        let (desired, live) = tokio::try_join!(desired, planning::live(&session, &scope, &waits))?;
        empty = args.to.is_none() && desired.sources.iter().next().is_none() && !is_sql;
        Box::pin(planning::from_live(&session, live, desired, &scope, policy, prove, &mut bench)).await?
    };
    bench.stop().await;
    let mut plan = computed.plan;
    for name in &waiting {
        out.notice(&format!(
            "{name} is under way on this database: what it touches stays as it is, and can be planned for when it is done."
        ));
    }
    if plan.is_empty() {
        if args.out.as_ref().is_none_or(|out| out.as_os_str() != "-") {
            out.notice(&if empty {
                format!("Nothing to do: {}/ holds no .kdl file yet. Describe a table there.", project.shown(&project.config.source))
            } else if !waiting.is_empty() {
                "Nothing else to do.".to_owned()
            } else {
                format!("Nothing to do: the database is in the desired state ({}).", planning::counted(&computed.desired))
            });
        }
        return Ok(Code::Done);
    }
    allow(&mut plan, &args.allow, args.because.as_deref());
    plan.gate = project.config.gate.clone().filter(|_| plan.stage(crate::plan::plan::StageName::Contract).is_some());
    let path = place_of(&args, &project, &mut plan)?;
    if !prove {
        plan.hazards
            .push(crate::plan::plan::HazardNote { hazard: crate::plan::Hazard::Unproven, subject: "the plan as a whole".to_owned() });
    }
    let context = crate::plan::render::Context { target, policy: rules, rehearsal: None };
    match &path {
        None => out.result(&if global.format == Format::Text {
            crate::plan::file::write(&plan)
        } else {
            rendered(&plan, &context, global.format, out)
        })?,
        Some(path) => {
            files::write(path, &crate::plan::file::write(&plan))?;
            out.result(&rendered(&plan, &context, global.format, out))?;
            let need = crate::plan::forecast::total(&plan, |_| true);
            if need.disk >= super::apply::disk::LITTLE {
                out.notice(&format!("Forecast: {}.", super::apply::disk::words(need)));
            }
            out.notice(&format!("Wrote {}. Next: {}", project.shown(path), next(&plan, &project.shown(path), &context.policy)));
        }
    }
    Ok(if args.exit_code { Code::Differences } else { Code::Done })
}

/// What a person does with a new plan.
fn next(plan: &Plan, shown: &str, policy: &crate::plan::policy::Policy) -> String {
    use crate::plan::policy::{Standing, judge};
    let judged = judge(plan, policy);
    let missing: Vec<&str> =
        judged.iter().filter(|hazard| matches!(hazard.standing, Standing::Missing)).map(|hazard| hazard.hazard.name()).collect();
    if !missing.is_empty() {
        return format!(
            "review it; if its hazards are meant, make it again with\n  schema plan --out {shown} --allow {} --because \"…\"",
            missing.join(",")
        );
    }
    "review it, then `schema apply`.".to_owned()
}

/// Names the plan, and says where it goes; nothing for stdout.
fn place_of(args: &Args, project: &Project, plan: &mut Plan) -> Result<Option<PathBuf>, CliError> {
    let title = args.name.clone().unwrap_or_else(|| title(plan));
    let folder = &project.config.plans;
    let numbered = |title: &str| Ok::<_, CliError>(plans::new_name(plans::next_number(folder)?, title));
    match &args.out {
        Some(out) if out.as_os_str() == "-" => {
            plan.name = numbered(&title)?;
            Ok(None)
        }
        Some(out) => {
            plan.name = out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Some(out.clone()))
        }
        None => {
            plan.name = numbered(&title)?;
            Ok(Some(folder.join(format!("{}.kdl", plan.name))))
        }
    }
}

/// A plan is called after what it changes, unless its author knows better.
fn title(plan: &Plan) -> String {
    let last = |subject: &str| subject.rsplit(['.', ' ']).next().unwrap_or_default().to_owned();
    match plan.summary.as_slice() {
        [] => "change".to_owned(),
        [one] => match one.lines.as_slice() {
            [(_, line)] => format!("{} {}", last(&one.subject), line.split(' ').nth(1).unwrap_or_default()),
            _ => last(&one.subject),
        },
        [one, two] => format!("{} {}", last(&one.subject), last(&two.subject)),
        [one, rest @ ..] => format!("{} and {} more", last(&one.subject), rest.len()),
    }
}

/// A plan with one empty step, for what only a person can write.
fn custom(name: &str, args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    let project = global.project()?;
    let step = Step {
        number: 1,
        title: name.to_owned(),
        recipe: "custom".to_owned(),
        work: Work::Sql(vec!["SELECT 'write the statements here'".to_owned()]),
        transaction: crate::plan::Transaction::Inside,
        locks: Vec::new(),
        undo: Undo::Nothing,
        loses: Vec::new(),
        makes: Vec::new(),
        takes: Vec::new(),
        probe: None,
        verify: Vec::new(),
        preflight: Vec::new(),
    };
    let mut plan = Plan {
        made_by: format!("schema {}", env!("CARGO_PKG_VERSION")),
        stages: vec![Stage { name: StageName::Expand, note: "Old clients go on".to_owned(), steps: vec![step] }],
        ..Plan::default()
    };
    let args = Args { name: Some(name.to_owned()), out: args.out.clone(), ..Args::default() };
    let Some(path) = place_of(&args, &project, &mut plan)? else {
        out.result(&crate::plan::file::write(&plan))?;
        return Ok(Code::Done);
    };
    files::write(&path, &crate::plan::file::write(&plan))?;
    out.notice(&format!("Wrote {}. Next: write its statements, and how they are undone.", project.shown(&path)));
    Ok(Code::Done)
}
