//! A project and its database, as a person uses them, on a private server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use schema::pg::{DatabaseOptions, Scratch, ScratchOptions, Session, find};

pub struct Shop {
    pub scratch: Scratch,
    pub folder: tempfile::TempDir,
    pub session: Session,
}

impl Shop {
    pub async fn start(before: &str) -> Self {
        Self::with(&[], before).await
    }

    /// On a server with these settings.
    pub async fn with(settings: &[(&str, &str)], before: &str) -> Self {
        let installation = find(None).expect("PostgreSQL is installed");
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let scratch = Scratch::start(&installation, ScratchOptions { settings, ..ScratchOptions::default() }).await.expect("starts");
        scratch.create_database("shop", &DatabaseOptions::default()).await.expect("database");
        let session = scratch.connect("shop").await.expect("connects");
        session.client().batch_execute(before).await.expect("builds");
        Self { scratch, folder: tempfile::tempdir().expect("a folder"), session }
    }

    /// Writes the desired state.
    pub fn wants(&self, tables: &str) {
        let schema = self.folder.path().join("schema");
        std::fs::create_dir_all(&schema).expect("folder");
        std::fs::write(schema.join("public.kdl"), format!("schema public {{\n{tables}\n}}\n")).expect("written");
    }

    /// Where the database is.
    pub fn url(&self) -> String {
        let target = self.scratch.target("shop");
        let port = target.endpoints.first().map_or(5432, |endpoint| endpoint.port);
        format!("host={} port={port} user=postgres dbname=shop", self.scratch.socket_dir().display())
    }

    /// `schema` with these words, about to run.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_schema"));
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env("DATABASE_URL", self.url())
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it beside the test.
    pub fn spawn(&self, words: &str) -> Child {
        self.command(words).spawn().expect("starts")
    }

    /// Runs `schema` with these words; its exit code and all that it said.
    pub fn schema(&self, words: &str) -> (i32, String) {
        said(&self.command(words).output().expect("runs"))
    }

    /// Runs `schema`, which must end with this code; what it said.
    pub fn ends(&self, code: i32, words: &str) -> String {
        let (found, text) = self.schema(words);
        assert_eq!(found, code, "schema {words}: {text}");
        text
    }

    pub async fn value(&self, sql: &str) -> String {
        self.session.client().query_one(sql, &[]).await.expect("answers").get(0)
    }

    pub async fn until(&self, sql: &str, expected: &str) {
        let begun = Instant::now();
        loop {
            let found = self.value(sql).await;
            if found == expected {
                return;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{found}, never {expected}: {sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn file(&self, path: &str) -> PathBuf {
        Path::new(self.folder.path()).join(path)
    }
}

/// Exit code, and all that was said on one line, however it was wrapped.
pub fn said(output: &Output) -> (i32, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text).split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    (output.status.code().unwrap_or(-1), text)
}

/// Waits for a child; its exit code and what it said.
pub fn ended(child: Child) -> (i32, String) {
    said(&child.wait_with_output().expect("ends"))
}
