//! Asking before anything is changed.

use std::fmt::Write;

use super::select::Chosen;
use crate::cli::Out;
use crate::error::CliError;
use crate::plan::plan::StageName;

/// What is asked about.
pub(in crate::cli) struct Consent<'c> {
    /// Database, host and server.
    pub target: String,
    /// The environment, where one is known.
    pub environment: Option<&'c str>,
    /// Whether the environment's name must be typed.
    pub by_name: bool,
}

impl Consent<'_> {
    /// Shows what would happen and where, and asks.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub(super) fn ask(&self, out: &Out, run: &[Chosen], through: StageName) -> Result<bool, CliError> {
        self.show_and_ask(out, &self.text(run, through))
    }

    /// Shows a text and asks.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub(in crate::cli) fn show_and_ask(&self, out: &Out, text: &str) -> Result<bool, CliError> {
        if !out.can_ask() {
            return Err(CliError::refused("nobody can be asked whether to go on: this is no terminal", "say --yes in scripts"));
        }
        out.tell(text);
        let answer = match self.environment.filter(|_| self.by_name) {
            Some(name) => out.ask(&format!("Type {name} to go on: ")).is_some_and(|answer| answer == name),
            None => out.ask("Go on? [y/N] ").is_some_and(|answer| matches!(answer.to_lowercase().as_str(), "y" | "yes")),
        };
        Ok(answer)
    }

    /// Asks whether the source is applied at once.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub(super) fn ask_direct(&self, out: &Out) -> Result<bool, CliError> {
        if !out.can_ask() {
            return Err(CliError::refused("nobody can be asked whether to go on: this is no terminal", "say --yes in scripts"));
        }
        out.tell(&format!("To be applied at once to {}.", self.place()));
        Ok(out.ask("Go on? [y/N] ").is_some_and(|answer| matches!(answer.to_lowercase().as_str(), "y" | "yes")))
    }

    /// The database, and the environment where one is known.
    pub(in crate::cli) fn place(&self) -> String {
        let environment = self.environment.map(|name| format!("  (environment {name})")).unwrap_or_default();
        format!("{}{environment}", self.target)
    }

    fn text(&self, run: &[Chosen], through: StageName) -> String {
        let mut text = format!("To be applied to {}:\n", self.place());
        for Chosen { file, next, .. } in run {
            let stages = file.plan.stages.iter().map(|stage| stage.name).filter(|stage| (*next..=through).contains(stage));
            let stages = stages.map(StageName::name).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "  {}: {stages}", file.plan.name);
            let reached = file.plan.steps().filter(|(stage, _)| (*next..=through).contains(stage));
            for (_, step) in reached {
                for what in &step.loses {
                    let _ = writeln!(text, "    ! step {} loses {what}", step.number);
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::file::hash;
    use crate::plan::sample;
    use crate::project::plans::PlanFile;

    #[test]
    fn it_shows_where_and_what() {
        let plan = sample::severity_level();
        let file = PlanFile { path: "x".into(), text: String::new(), hash: hash(&plan), plan };
        let run = [Chosen { file, next: StageName::Switch, done: [1].into(), begun: true }];
        let consent = Consent { target: "shop at db1:5432, PostgreSQL 15.18".into(), environment: Some("production"), by_name: true };
        assert_eq!(
            consent.text(&run, StageName::Contract),
            "To be applied to shop at db1:5432, PostgreSQL 15.18  (environment production):\n  0007-severity-level: switch, contract\n    \
             ! step 6 loses column public.model_states.severity\n"
        );
    }
}
