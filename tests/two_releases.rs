//! Two releases over weeks: a plan waits in contract while other plans and a hotfix by hand happen.

use std::path::Path;
use std::process::Command;

use schema::pg::{DatabaseOptions, Scratch, ScratchOptions, Session, find};

const TABLES: &str = r"schema public {
    table orders {
        column id bigint
        column amount int not-null
        primary-key id
    }
    table customers {
        column id bigint
        column name text
        primary-key id
    }
}
";

struct Project {
    home: tempfile::TempDir,
    url: String,
}

impl Project {
    /// What the program says on both streams, white space made even; it must end with this exit code.
    fn schema(&self, arguments: &str, code: i32) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_schema"))
            .args(arguments.split_whitespace())
            .current_dir(self.home.path())
            .env("DATABASE_URL", &self.url)
            .env("NO_COLOR", "1")
            .output()
            .expect("it runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "schema {arguments}\n{said}");
        said.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it stands in a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).expect("readable")
    }

    fn plans(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.home.path().join("plans")).expect("plans");
        let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[track_caller]
fn says(text: &str, part: &str) {
    assert!(text.contains(part), "it does not say\n  {part}\nbut\n  {text}");
}

async fn value(session: &Session, sql: &str) -> String {
    session.client().query_one(sql, &[]).await.expect("it answers").get(0)
}

/// A server with an empty database, and a project for which ten rows are few.
async fn shop() -> (Scratch, Project) {
    let scratch = Scratch::start(&find(None).expect("PostgreSQL is installed"), ScratchOptions::default()).await.expect("starts");
    scratch.create_database("shop", &DatabaseOptions::default()).await.expect("a database");
    let socket: &Path = scratch.socket_dir();
    let project =
        Project { home: tempfile::tempdir().expect("a folder"), url: format!("host={} user=postgres dbname=shop", socket.display()) };
    project.write("schema.kdl", "small-table rows=10\n");
    (scratch, project)
}

#[tokio::test]
async fn a_plan_waits_while_others_happen() {
    let (scratch, project) = shop().await;
    let session = scratch.connect("shop").await.expect("connects");
    project.write("schema/all.kdl", TABLES);
    project.schema("apply --direct --yes", 0);
    session
        .client()
        .batch_execute(
            "INSERT INTO orders SELECT g, g % 7 FROM generate_series(1, 1000) g;
             INSERT INTO customers SELECT g, 'c' || g FROM generate_series(1, 1000) g; ANALYZE",
        )
        .await
        .expect("rows");

    // The first week: a column is renamed, and waits for the old clients to go.
    let renamed = TABLES.replace("amount int not-null", "total int not-null was=amount");
    project.write("schema/all.kdl", &renamed);
    project.schema("plan --name total --allow drop-column", 0);
    says(&project.schema("apply --yes", 0), "0001-total waits before contract.");

    // The second week: another table. What waits is no difference.
    let email = renamed.replace("column name text", "column name text\n        column email text");
    project.write("schema/all.kdl", &email);
    let said = project.schema("plan --name email", 0);
    says(&said, "0001-total is under way on this database");
    says(&said, "+ column email text");
    assert!(!said.contains("sync"), "the helpers of a plan under way are no differences: {said}");
    says(&project.schema("apply --yes", 0), "0002-email is done.");

    // The same table cannot be planned for yet: not from here, and a plan from elsewhere is refused.
    let note = email.replace("column total int not-null was=amount", "column amount int not-null\n        column note text");
    project.write("other/all.kdl", &note);
    project.write("base/all.kdl", &note.replace("        column note text\n", ""));
    says(&project.schema("plan --to other --name note", 0), "Nothing else to do.");
    project.schema("plan --from base --to other --name note", 0);
    assert_eq!(project.plans(), ["0001-total.kdl", "0002-email.kdl", "0003-note.kdl"]);
    says(&project.schema("apply --yes", 3), "0003-note waits: it shares objects with 0001-total, which is not finished");
    says(&project.schema("apply 0003-note --yes", 3), "it shares objects with 0001-total");
    std::fs::remove_file(project.home.path().join("plans/0003-note.kdl")).expect("removed");

    // A hotfix by hand on a table that the next plan relies on.
    project.write("schema/all.kdl", &email.replace("column email text", "column email text\n        column phone text"));
    project.schema("plan --name phone", 0);
    session.client().batch_execute("CREATE INDEX hotfix ON customers (name)").await.expect("an index");
    let said = project.schema("apply --yes", 3);
    says(&said, "0003-phone no longer fits this database, nothing was touched: index public.customers.hotfix is new");
    assert_eq!(value(&session, "SELECT count(*)::text FROM pg_attribute WHERE attname = 'phone'").await, "0");
    // The files take the hotfix in, and nothing of the plan that waits.
    says(
        &project.schema("inspect --out schema", 0),
        "0001-total is under way on this database: what it touches stays as the files have it",
    );
    let files = project.read("schema/all.kdl");
    says(&files, "index name name=hotfix");
    says(&files, "column total int not-null was=amount");
    assert!(!files.contains("sync") && !files.contains("column amount"), "{files}");
    project.write("schema/all.kdl", &files.replace("column email text", "column email text\n        column phone text"));
    std::fs::remove_file(project.home.path().join("plans/0003-phone.kdl")).expect("removed");
    let said = project.schema("plan --name phone", 0);
    says(&said, "+ column phone text");
    assert!(!said.contains("hotfix"), "it stands in the files now: {said}");
    says(&project.schema("apply --yes", 0), "0003-phone is done.");

    // At last the old clients are gone.
    assert_eq!(
        value(&session, "SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM schema_ledger.plans").await,
        "0001-total waiting, 0002-email done, 0003-phone done"
    );
    project.schema("apply 0001-total --through contract --yes", 3);
    says(&project.schema("apply 0001-total --through contract --confirm old-clients-gone --yes", 0), "0001-total is done.");
    assert_eq!(value(&session, "SELECT count(*)::text || ' ' || sum(total)::text FROM orders").await, "1000 3003");
    says(&project.schema("plan --exit-code", 0), "Nothing to do: the database is in the desired state");
    session.close().await;
}

const MOODS: &str = r#"schema public {
    enum mood sad ok happy
    table people {
        column id bigint
        column mood mood not-null default="'happy'::public.mood"
        primary-key id
    }
}
"#;

#[tokio::test]
async fn an_enum_loses_a_value() {
    let (scratch, project) = shop().await;
    let session = scratch.connect("shop").await.expect("connects");
    project.write("schema/all.kdl", MOODS);
    project.schema("apply --direct --yes", 0);
    let seed = "INSERT INTO people SELECT g, (ARRAY['sad', 'ok', 'happy'])[1 + g % 3]::mood FROM generate_series(1, 30) g;
                CREATE ROLE clerk; ALTER TYPE mood OWNER TO clerk; REVOKE USAGE ON TYPE mood FROM PUBLIC; ANALYZE";
    session.client().batch_execute(seed).await.expect("rows");

    // Rows that hold it are found before anything is done.
    let without = MOODS.replace("sad ok happy", "sad ok").replace("'happy'", "'ok'");
    project.write("schema/all.kdl", &without);
    project.schema("plan --name mood --allow all --because test", 0);
    let said = project.schema("apply --yes", 3);
    says(&said, "rows of table public.people hold 'happy' in mood, which enum public.mood has no longer");
    says(&said, "10 found for example: id 2, mood happy; id 5, mood happy");
    says(&said, "backfill happy with=… at enum public.mood");
    assert_eq!(value(&session, "SELECT count(*)::text FROM pg_type WHERE typname LIKE 'mood_schema%'").await, "0");
    std::fs::remove_file(project.home.path().join("plans/0001-mood.kdl")).expect("removed");

    // With another value for them, while a session that has prepared its INSERT goes on.
    project.write("schema/all.kdl", &without.replace("sad ok", "sad ok { backfill happy with=ok; }"));
    says(&project.schema("plan --name mood --allow all --because test", 0), "'happy' becomes 'ok'");
    session
        .client()
        .batch_execute("PREPARE put AS INSERT INTO people (id, mood) VALUES ($1, $2); EXECUTE put(31, 'happy')")
        .await
        .expect("put");
    says(&project.schema("apply --yes", 0), "0001-mood waits before contract.");
    let counts =
        "SELECT string_agg(mood || ' ' || n, ', ' ORDER BY mood) FROM (SELECT mood::text, count(*) AS n FROM people GROUP BY mood) c";
    assert_eq!(value(&session, counts).await, "ok 21, sad 10");
    session.client().batch_execute("EXECUTE put(32, 'sad'); INSERT INTO people (id) VALUES (33)").await.expect("put again");
    assert_eq!(value(&session, counts).await, "ok 22, sad 11");
    let type_of = "SELECT pg_get_userbyid(typowner) || ' ' || typacl::text FROM pg_type WHERE oid = 'mood'::regtype";
    assert_eq!(value(&session, type_of).await, "clerk {clerk=U/clerk}");

    // What waits is no difference; rolled back, a row has its own value again, unless it got another since.
    says(&project.schema("plan --exit-code", 0), "Nothing else to do.");
    session.client().batch_execute("UPDATE people SET mood = 'sad' WHERE id = 2").await.expect("updated");
    project.schema("rollback --yes", 0);
    assert_eq!(value(&session, counts).await, "happy 10, ok 11, sad 12");
    says(&project.schema("apply 0001-mood --again --yes", 0), "0001-mood waits before contract.");
    assert_eq!(value(&session, counts).await, "ok 21, sad 12");
    project.schema("apply --through contract --confirm old-clients-gone --yes", 0);
    says(&project.schema("plan --exit-code", 0), "Nothing to do: the database is in the desired state");
    assert_eq!(value(&session, "SELECT count(*)::text FROM pg_type WHERE typname LIKE 'mood_schema%'").await, "0");
    session.close().await;
}
