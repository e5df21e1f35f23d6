//! `schema apply`

pub(super) mod consent;
mod direct;
pub(crate) mod disk;
mod select;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use self::consent::Consent;
use self::select::{Chosen, Selection, select};
use super::progress::Progress;
use super::signals::Signals;
use super::{Allowed, Global, Out, planning};
use crate::apply::status::{PlanStatus, plan_text, plans as ledger_plans};
use crate::apply::{ApplyError, Options, Outcome, PlanState, WaitingFor};
use crate::config::{Environment, Place, duration};
use crate::error::{CliError, Code};
use crate::pg::Session;
use crate::plan::Plan;
use crate::plan::file;
use crate::plan::forecast;
use crate::plan::plan::StageName;
use crate::plan::policy::{Policy, Standing, judge};
use crate::project::plans::{self, PlanFile};
use crate::project::{Project, described, session, target};

/// Arguments of `schema apply`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Execute plans, stage by stage",
    long_about = "Executes every plan that is not done on this database, oldest first, up to but\nnot into the contract stage; then it tells what waits and for what. Whatever was\n\
        interrupted goes on where it stopped.",
    after_help = "Examples:
  schema apply --env production
  schema apply 7 --through expand
  schema apply 7 --through contract                  when its gate is met
  schema apply --all --confirm old-clients-gone --yes
  schema apply --direct                              source to database, no plan"
)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
pub struct Args {
    /// Only this plan: its name, number or file
    #[arg(value_name = "PLAN")]
    pub plan: Option<String>,
    /// The last stage to run: expand, backfill, switch or contract
    #[arg(long, value_name = "STAGE", value_parser = stage, conflicts_with = "all")]
    pub through: Option<StageName>,
    /// Every stage, contract included
    #[arg(long)]
    pub all: bool,
    /// Say that no client of the old release is left
    #[arg(long, value_name = "old-clients-gone", value_parser = ["old-clients-gone"])]
    pub confirm: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Stop cleanly after this time, with exit code 5
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub max_time: Option<Duration>,
    /// Do not look first for rows that would make a later step fail
    #[arg(long)]
    pub no_preflight: bool,
    /// Do not look whether the disk will do
    #[arg(long)]
    pub no_disk_check: bool,
    /// Run a plan that was rolled back once more
    #[arg(long, requires = "plan")]
    pub again: bool,
    /// From the source to the database, without a plan file
    #[arg(long, conflicts_with_all = ["plan", "through", "all", "again"])]
    pub direct: bool,
    /// With --direct: hazards that are allowed, or `all`
    #[arg(long, value_name = "HAZARD,…", value_delimiter = ',', value_parser = super::allowed)]
    pub allow: Vec<Allowed>,
}

fn stage(word: &str) -> Result<StageName, String> {
    StageName::from_name(word).ok_or_else(|| "stages are expand, backfill, switch and contract".to_owned())
}

/// Applies what is pending.
///
/// # Errors
/// Whatever is refused, fails or is interrupted; each says how to go on.
pub async fn run(args: Args, global: &Global, out: &mut Out) -> Result<Code, CliError> {
    let signals = Signals::listen(out);
    global.format(&[super::Format::Text])?;
    let project = global.project()?;
    let place = project.place()?;
    let by_default =
        args.plan.is_none() && !args.all && args.through.is_none() && place.environment.is_some_and(|environment| environment.direct);
    if args.direct || by_default {
        return direct::run(&args, &project, &place, &signals, out).await;
    }
    if !args.allow.is_empty() {
        return Err(CliError::failed("--allow belongs to --direct", "what a plan may do stands in the plan: schema plan --allow …"));
    }
    Box::pin(Run { args: &args, project: &project, place: &place, signals: &signals, out }.run()).await
}

/// An interruption, with the command that goes on.
pub(super) fn stopped(reason: &str, command: &str) -> CliError {
    CliError::with_help(Code::Interrupted, format!("stopped: {reason}"), format!("what is done stays; go on with: {command}"))
}

/// How long locks are waited for, as configured. Tries start short and grow to two seconds; who is more patient starts with
/// more.
pub(super) fn patience(options: Options, config: &crate::config::Config) -> Options {
    let lock_timeout =
        if config.lock_timeout > Duration::from_secs(2) { config.lock_timeout } else { config.lock_timeout.min(options.lock_timeout) };
    Options { lock_timeout, retry_for: config.retry_for, outside_deadline: config.concurrently, ..options }
}

/// One call of `schema apply`.
struct Run<'r> {
    args: &'r Args,
    project: &'r Project,
    place: &'r Place<'r>,
    signals: &'r Signals,
    out: &'r Out,
}

impl Run<'_> {
    async fn run(&self) -> Result<Code, CliError> {
        let first = session(self.place).await?;
        for warning in first.warnings() {
            self.out.notice(warning);
        }
        let selection = self.selection(&first).await?;
        for chosen in &selection.run {
            self.check(chosen)?;
        }
        let under_way = planning::under_way(&first).await?;
        let runs = |plan: &Plan| selection.run.iter().any(|chosen| chosen.file.plan.name == plan.name);
        let mut unfinished: Vec<&Plan> = under_way.iter().filter(|plan| !runs(plan)).collect();
        unfinished
            .extend(selection.waiting.iter().map(|(file, _)| &file.plan).filter(|plan| under_way.iter().all(|one| one.name != plan.name)));
        // What is stale is refused before anybody is asked. Later plans start from what the earlier ones leave behind: each is
        // looked at when its turn comes.
        let mut looked_at = None;
        if let Some(next) = selection.run.iter().find(|chosen| select::before(chosen, &unfinished).is_none())
            && !next.begun
        {
            let epoch = self.check_fits(next, &first).await?;
            looked_at = Some((next.file.plan.name.clone(), epoch));
        }
        if selection.run.is_empty() {
            return Ok(self.nothing(&selection, &first));
        }
        if !self.args.no_disk_check {
            let reached = |chosen: &Chosen| {
                let steps =
                    chosen.file.plan.steps().filter(|(stage, step)| *stage <= self.through() && !chosen.done.contains(&step.number));
                let numbers: Vec<u32> = steps.map(|(_, step)| step.number).collect();
                forecast::total(&chosen.file.plan, |number| numbers.contains(&number))
            };
            let need = selection.run.iter().map(reached).fold(forecast::Need::default(), forecast::Need::and);
            disk::check(&first, need, self.place.environment.and_then(|environment| environment.disk_free), self.out).await?;
        }
        let consent = Consent {
            target: described(&first),
            environment: self.place.environment.map(|environment| environment.name.as_str()),
            by_name: self.place.environment.is_some_and(|environment| environment.approvals > 0),
        };
        if !self.args.yes {
            if !consent.ask(self.out, &selection.run, self.through())? {
                return Err(CliError::message(Code::Refused, "nothing was applied"));
            }
            // Whoever answers may have had lunch.
            looked_at = None;
        }
        self.out.notice(&format!("Applying to {}.", consent.target));
        let stop = self.signals.begin(&self.command());
        let began = std::time::Instant::now();
        let mut next = Some(first);
        let mut refused = None;
        for chosen in &selection.run {
            let plan = &chosen.file.plan;
            if let Some(earlier) = select::before(chosen, &unfinished) {
                let why = format!("{} waits: it shares objects with {}, which is not finished", plan.name, earlier.name);
                let env = self.project.env_flag();
                let help = format!("finish it first: schema apply{env} {} --through contract --confirm old-clients-gone", earlier.name);
                refused = refused.or(Some(CliError::refused(why, help)));
                unfinished.push(plan);
                continue;
            }
            let session = match next.take() {
                Some(session) => session,
                None => session(self.place).await?,
            };
            let seen_epoch = match looked_at.take() {
                _ if chosen.begun => None,
                Some((name, epoch)) if name == plan.name => Some(epoch),
                _ => Some(self.check_fits(chosen, &session).await?),
            };
            let Some(outcome) = self.apply(session, chosen, &stop, began, seen_epoch).await? else {
                self.out.notice("Another applier was at work meanwhile: looking again.");
                return Box::pin(self.run()).await;
            };
            match outcome {
                Outcome::Done => self.out.notice(&format!("{} is done.", plan.name)),
                Outcome::Waiting { stage, reason } => {
                    unfinished.push(plan);
                    match reason {
                        WaitingFor::Through => self.out.notice(&self.waits(plan, stage)),
                        WaitingFor::Gate(unmet) => refused = refused.or_else(|| Some(gate_not_met(plan, &unmet, &self.project.env_flag()))),
                        WaitingFor::OldClientsGone => refused = refused.or_else(|| Some(not_confirmed(plan, self.place.environment))),
                    }
                }
                Outcome::Interrupted { stage, step, reason, command } => {
                    return Err(CliError::with_help(
                        Code::Interrupted,
                        format!("{} stopped in {} at step {step}: {reason}", plan.name, stage.name()),
                        format!("what is done stays; go on with: {command}"),
                    ));
                }
            }
        }
        refused.map_or(Ok(Code::Done), Err)
    }

    fn through(&self) -> StageName {
        if self.args.all { StageName::Contract } else { self.args.through.unwrap_or(StageName::Switch) }
    }

    async fn selection(&self, session: &Session) -> Result<Selection, CliError> {
        let ledger = ledger_plans(session.client()).await?;
        let mut files = match &self.args.plan {
            Some(meant) => match plans::find(&self.project.config.plans, meant) {
                Ok(file) => vec![file],
                // A plan that was begun can be finished without its file.
                Err(error) => vec![self.recorded(session, &ledger, meant).await?.ok_or(error)?],
            },
            None => plans::all(&self.project.config.plans)?,
        };
        if self.args.plan.is_none() {
            let unfinished = |status: &&PlanStatus| !matches!(status.state, PlanState::Done | PlanState::RolledBack);
            for status in ledger.iter().filter(unfinished) {
                if files.iter().all(|file| file.plan.name != status.name)
                    && let Some(file) = self.recorded(session, &ledger, &status.name).await?
                {
                    self.out.notice(&format!("{} goes on from the ledger: its file is not here.", status.name));
                    files.push(file);
                }
            }
            files.sort_by(|a, b| (plans::number(&a.plan.name), &a.plan.name).cmp(&(plans::number(&b.plan.name), &b.plan.name)));
        }
        select(files, &ledger, self.through(), self.args.again)
    }

    async fn recorded(&self, session: &Session, ledger: &[PlanStatus], name: &str) -> Result<Option<PlanFile>, CliError> {
        if ledger.iter().all(|status| status.name != name) {
            return Ok(None);
        }
        let Some(text) = plan_text(session.client(), name).await? else { return Ok(None) };
        let path = self.project.config.plans.join(format!("{name}.kdl"));
        let plan = file::read(&path, &text)?;
        let hash = file::hash(&plan);
        Ok(Some(PlanFile { path, text, plan, hash }))
    }

    /// Policy and approvals: what is decided before anything runs.
    fn check(&self, chosen: &Chosen) -> Result<(), CliError> {
        if chosen.begun {
            // It was let in when it began; a policy that became stricter must not leave it half done.
            return Ok(());
        }
        check_hazards(&chosen.file.plan, self.place.policy)?;
        match self.place.environment {
            Some(Environment { name, approvals, .. }) if *approvals > 0 => chosen.file.require_approvals(*approvals, name),
            _ => Ok(()),
        }
    }

    /// Whether what a plan relies on is as it says; the ledger's epoch when that was looked at. A plan that has begun changes
    /// it itself.
    async fn check_fits(&self, chosen: &Chosen, session: &Session) -> Result<i64, CliError> {
        let epoch = crate::apply::ledger::epoch(session.client()).await?;
        let scope = planning::scope(self.project);
        let live = planning::live(session, &scope, &planning::waits(self.project, self.out)).await?;
        planning::check_fits(&chosen.file.plan, &live.catalog, &scope)?;
        planning::check_kept(&chosen.file.plan, session).await?;
        Ok(epoch)
    }

    /// Nothing may run now: says why.
    fn nothing(&self, selection: &Selection, session: &Session) -> Code {
        let back = &selection.rolled_back;
        if selection.waiting.is_empty() {
            let plans = match (selection.done, back.len()) {
                (0, 0) => "there are no plans for".to_owned(),
                (0, _) => "no other plan is there for".to_owned(),
                (1, 0) => "the one plan is done on".to_owned(),
                (1, _) => "the other plan is done on".to_owned(),
                (all, 0) => format!("all {all} plans are done on"),
                (all, _) => format!("the other {all} plans are done on"),
            };
            for name in back {
                self.out
                    .notice(&format!("{name} was rolled back. Forward once more: schema apply{} {name} --again", self.project.env_flag()));
            }
            self.out.notice(&format!("Nothing to do: {plans} {}.", described(session)));
        }
        for (file, stage) in &selection.waiting {
            self.out.notice(&self.waits(&file.plan, *stage));
        }
        Code::Done
    }

    /// Nothing: another applier was at work since the database was looked at.
    async fn apply(
        &self,
        session: Session,
        chosen: &Chosen,
        stop: &Arc<AtomicBool>,
        began: std::time::Instant,
        seen_epoch: Option<i64>,
    ) -> Result<Option<Outcome>, CliError> {
        let plan = &chosen.file.plan;
        let config = &self.project.config;
        self.out.notice(&format!("\n{}", plan.name));
        if self.args.no_preflight {
            self.out.notice("Rows that would make a step fail are not looked for (--no-preflight).");
        }
        let through = self.through();
        let pacing = self.place.environment.map_or(&config.backfill, |environment| &environment.backfill);
        let options = Options {
            through,
            confirm_old_clients_gone: self.args.confirm.is_some(),
            gates: self.place.environment.and_then(|environment| environment.gate.clone()).into_iter().collect(),
            max_time: self.args.max_time.map(|time| time.saturating_sub(began.elapsed())),
            stop: Arc::clone(stop),
            preflight: !self.args.no_preflight,
            batch_target: pacing.batch,
            batch_rows: pacing.rows,
            pace: pacing.pace.clone(),
            who: who(),
            again: self.args.again,
            command: self.command(),
            env: self.project.env_flag(),
            seen_epoch,
            ..Options::default()
        };
        let options = patience(options, config);
        let target = target(self.place)?;
        let mut progress = Progress::new(self.out);
        let hash = chosen.file.hash.to_string();
        let result =
            crate::apply::apply(session, &target, plan, &chosen.file.text, &hash, &options, &mut |event| progress.event(event)).await;
        progress.finish();
        match result {
            Err(ApplyError::Overtaken { .. }) => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// The command that goes on, to which the executor adds the plan; connection strings are not
    /// repeated.
    fn command(&self) -> String {
        let env = self.project.env_flag();
        // The executor adds `--through contract` itself.
        let through = self.args.through.filter(|stage| *stage != StageName::Contract).map(|stage| format!(" --through {}", stage.name()));
        let through = through.unwrap_or_default();
        let known = [(self.args.no_preflight, " --no-preflight"), (self.args.no_disk_check, " --no-disk-check")];
        let known: String = known.into_iter().filter_map(|(said, flag)| said.then_some(flag)).collect();
        format!("schema apply{env}{through}{known}")
    }

    fn waits(&self, plan: &Plan, stage: StageName) -> String {
        let (name, env) = (&plan.name, self.project.env_flag());
        // Where there is a gate, it decides; saying so would pass it by.
        let gated = plan.gate.is_some() || self.place.environment.is_some_and(|environment| environment.gate.is_some());
        let confirm = if gated { "" } else { " --confirm old-clients-gone" };
        match stage {
            StageName::Contract => format!(
                "{name} waits before contract. Deploy the new release; when no client of the old one is left:\n  schema apply{env} {name} --through contract{confirm}"
            ),
            other => format!("{name} waits before {0}: schema apply{env} {name} --through {0}", other.name()),
        }
    }
}

/// Refuses a plan that the policy does not let run.
///
/// # Errors
/// [`Code::Refused`] with what must be allowed.
pub fn check_hazards(plan: &Plan, policy: &Policy) -> Result<(), CliError> {
    let judged = judge(plan, policy);
    let named = |standing: &dyn Fn(&Standing<'_>) -> bool| {
        let list = judged.iter().filter(|hazard| standing(&hazard.standing));
        list.map(|hazard| (hazard.hazard.name(), format!("{} ({})", hazard.hazard, hazard.subjects.join(", ")))).collect::<Vec<_>>()
    };
    let forbidden = named(&|standing| matches!(standing, Standing::Forbidden));
    let texts = |list: &[(&str, String)]| list.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>().join(", ");
    if !forbidden.is_empty() {
        return Err(CliError::refused(
            format!("{} has hazards that are forbidden here: {}", plan.name, texts(&forbidden)),
            "the policy stands in schema.kdl under `hazards`",
        ));
    }
    let missing = named(&|standing| matches!(standing, Standing::Missing));
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",");
    Err(CliError::refused(
        format!("{} has hazards that nobody allowed: {}", plan.name, texts(&missing)),
        format!("if they are meant, make the plan again with\n  schema plan --out plans/{}.kdl --allow {list} --because \"…\"", plan.name),
    ))
}

fn not_confirmed(plan: &Plan, environment: Option<&Environment>) -> CliError {
    let gate = environment.map_or(String::new(), |environment| format!(", or a `gate` for {} in schema.kdl", environment.name));
    CliError::refused(
        format!("{} needs to know that no client of the old release is left", plan.name),
        format!("say so with --confirm old-clients-gone{gate}"),
    )
}

fn gate_not_met(plan: &Plan, unmet: &[String], env: &str) -> CliError {
    let list = unmet.iter().map(|one| format!("  {one}")).collect::<Vec<_>>().join("\n");
    CliError::refused(
        format!("the gate of {} is not met:\n{list}", plan.name),
        format!("`schema wait{env} {} --for gate` looks until it is; if you know better: --confirm old-clients-gone", plan.name),
    )
}

/// Who runs it: what git knows, or the user of this machine.
pub(super) fn who() -> String {
    let user = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    super::approve::git_identity().unwrap_or_else(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::op::Hazard;
    use crate::plan::policy::Rule;
    use crate::plan::sample;

    #[test]
    fn hazards_are_asked_for_by_name() {
        let plan = sample::severity_level();
        let mut policy = Policy::default();
        let error = check_hazards(&plan, &policy).expect_err("nobody allowed to drop the column");
        assert_eq!(error.code(), Code::Refused);
        assert_eq!(
            error.to_string(),
            "0007-severity-level has hazards that nobody allowed: drop-column (column public.model_states.severity)"
        );
        policy.set(Hazard::DropColumn, Rule::Allow);
        assert!(check_hazards(&plan, &policy).is_ok());
        policy.set(Hazard::RowShape, Rule::Forbid);
        assert!(check_hazards(&plan, &policy).is_err_and(|error| error.to_string().contains("forbidden here: row-shape")));
    }
}
