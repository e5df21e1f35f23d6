//! Clients that are not alike: a role that owns nothing, another time zone, a session that was open before the plan.
//!
//! A case is a folder of `tests/sessions`: the state before and after, the rows (`seed.sql`; `:rows` is their number), and
//! what clients say (`clients.sql`), in sections:
//!
//! - `-- old session`, `-- new session`: what a client of the release says when it connects.
//! - `-- old work`, `-- new work`: what it does. The old one does it before the plan, after each stage, and once more beside
//!   the new one; the new one from the end of the switch, and after contract. Both keep their session.
//! - `-- check switch`, `-- check end`: a query that finds nothing where both stand and agree, and after contract.
//!
//! - `-- check back`: the same after a rollback.
//!
//! No statement may fail. Where everything before contract can be undone, the plan runs a second time through the switch,
//! is rolled back, and the old client goes on in its session.

#[path = "support/folders.rs"]
mod folders;
#[allow(dead_code, reason = "another harness uses all of it")]
#[path = "support/loaded.rs"]
mod loaded;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed};
use loaded::{Case, failed, hurried, plan, run};
use schema::apply::rollback::rollback;
use schema::apply::{Options, Outcome};
use schema::engine::Workbench;
use schema::pg::{Session, Target, connect, explain};
use schema::plan::Plan;
use schema::plan::plan::{StageName, Undo};

/// More than a small table has.
const ROWS: i64 = 2_000;

type Result<T> = std::result::Result<T, Failed>;

fn main() -> ExitCode {
    folders::trials("tests/sessions", &Arguments::from_args(), case)
}

/// What `clients.sql` says, by the heads of its sections.
fn sections(text: &str) -> BTreeMap<String, String> {
    let parts = text.split("\n-- ").map(|part| part.trim_start_matches("-- "));
    parts.filter_map(|part| part.split_once('\n')).map(|(head, sql)| (head.trim().to_owned(), sql.to_owned())).collect()
}

/// A client with its session.
struct Client<'t> {
    release: &'t str,
    session: Session,
    work: &'t str,
}

impl<'t> Client<'t> {
    async fn start(target: &Target, texts: &'t BTreeMap<String, String>, release: &'t str) -> Result<Self> {
        let session = connect(target).await.map_err(failed("connect"))?;
        let text = |what: &str| texts.get(&format!("{release} {what}")).map_or("", String::as_str);
        let client = Self { release, session, work: text("work") };
        client.say(text("session"), "connects").await?;
        Ok(client)
    }

    async fn say(&self, sql: &str, when: &str) -> Result<()> {
        let said = self.session.client().batch_execute(sql).await;
        Ok(said.map_err(|error| format!("the {} client {when}: {}\n{sql}", self.release, explain(&error)))?)
    }

    async fn works(&self, when: &str) -> Result<()> {
        self.say(self.work, when).await
    }
}

async fn check(target: &Target, texts: &BTreeMap<String, String>, what: &str) -> Result<()> {
    let Some(sql) = texts.get(&format!("check {what}")) else { return Ok(()) };
    let session = connect(target).await.map_err(failed("connect"))?;
    let rows = session.client().simple_query(sql).await.map_err(|error| format!("check {what}: {}", explain(&error)))?;
    let shown: Vec<String> = rows
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join(" | "))
            }
            _ => None,
        })
        .collect();
    session.close().await;
    if shown.is_empty() {
        Ok(())
    } else {
        Err(format!("check {what} finds {} rows:\n{}", shown.len(), shown[..shown.len().min(5)].join("\n")).into())
    }
}

async fn case(folder: PathBuf) -> Result<()> {
    let case = Case::read(&folder)?;
    let texts = sections(&case.clients);
    let mut bench = Workbench::new();
    bench.start(None).await.map_err(failed("server"))?;
    let session = case.database(bench.scratch().expect("it was started"), ROWS).await?;
    let target = bench.scratch().expect("it was started").target("load");
    let plan = plan(&session, Case::read(&folder)?.after, &mut bench).await?;
    session.close().await;

    let old = Client::start(&target, &texts, "old").await?;
    old.works("before the plan").await?;
    for stage in [StageName::Expand, StageName::Backfill, StageName::Switch] {
        run(&target, &plan, stage, hurried()).await?;
        old.works(&format!("after {stage:?}")).await?;
    }
    let new = Client::start(&target, &texts, "new").await?;
    new.works("after the switch").await?;
    old.works("beside the new one").await?;
    check(&target, &texts, "switch").await?;
    if plan.stage(StageName::Contract).is_some() {
        run(&target, &plan, StageName::Contract, hurried()).await?;
    }
    new.works("after contract").await?;
    check(&target, &texts, "end").await?;
    old.session.close().await;
    new.session.close().await;
    let before = plan.steps().filter(|(stage, _)| *stage < StageName::Contract);
    if before.map(|(_, step)| &step.undo).all(|undo| *undo != Undo::Impossible) {
        back(&case, &texts, &plan, &bench).await?;
    }
    bench.stop().await;
    Ok(())
}

/// The way there and back, with the sessions open.
async fn back(case: &Case, texts: &BTreeMap<String, String>, plan: &Plan, bench: &Workbench) -> Result<()> {
    let scratch = bench.scratch().expect("it was started");
    scratch.drop_database("load").await.map_err(failed("drop"))?;
    let session = case.database(scratch, ROWS).await?;
    session.close().await;
    let target = scratch.target("load");
    let old = Client::start(&target, texts, "old").await?;
    old.works("before the plan").await?;
    run(&target, plan, StageName::Switch, hurried()).await?;
    let new = Client::start(&target, texts, "new").await?;
    new.works("before the way back").await?;
    old.works("before the way back").await?;
    new.session.close().await;
    let session = connect(&target).await.map_err(failed("connect"))?;
    let options = Options { through: StageName::Switch, confirm_old_clients_gone: true, who: "test".to_owned(), ..Options::default() };
    let outcome = rollback(session, &target, plan, None, &options, &mut |_| {}).await.map_err(failed("rollback"))?;
    if outcome != Outcome::Done {
        return Err(format!("the way back ends as {outcome:?}").into());
    }
    old.works("after the way back").await?;
    check(&target, texts, "back").await?;
    old.session.close().await;
    Ok(())
}
