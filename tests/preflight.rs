//! Rows that would make a later step fail are found, counted and named before the first step, on a real server.

use std::fmt::Write as _;

use schema::apply::{ApplyError, Event, Options, Outcome, apply};
use schema::catalog::Fingerprint;
use schema::engine::{Request, Scope, Workbench, compute};
use schema::pg::introspect::{Managed, introspect};
use schema::pg::{DatabaseOptions, Session};
use schema::plan::Policy;
use schema::plan::plan::{Plan, StageName};
use schema::source::read_text;
use tokio_postgres::SimpleQueryMessage;

struct Room {
    bench: Workbench,
}

impl Room {
    async fn open() -> Self {
        let mut bench = Workbench::new();
        bench.start(None).await.expect("PostgreSQL is installed");
        Self { bench }
    }

    async fn database(&self, name: &str, sql: &str) -> Session {
        let scratch = self.bench.scratch().expect("it was started");
        scratch.create_database(name, &DatabaseOptions::default()).await.expect("creates");
        let session = scratch.connect(name).await.expect("connects");
        session.client().batch_execute(sql).await.expect(sql);
        session.client().batch_execute("ANALYZE").await.expect("analyzes");
        session
    }

    /// The plan to `after`, tables of more than `small` rows being large.
    async fn plan_with(&mut self, session: &Session, extension: &str, after: &str, small: u64) -> Plan {
        let scope = Scope { managed: Managed { owners: false, grants: false }, ignore: Vec::new() };
        let mut live = introspect(session, scope.managed).await.expect("introspects");
        live.read_dependencies(session).await.expect("reads");
        let desired = read_text("after.kdl", &format!("{extension}schema public {{ {after} }}")).expect("parses");
        let policy = Policy { small_table_rows: small, ..Policy::default() };
        let request = Request {
            session: Some(session),
            live: live.catalog,
            live_is_elaborated: true,
            desired,
            scope: &scope,
            policy,
            prove: false,
            for_session: true,
            server: None,
        };
        let computed = compute(request, &mut self.bench).await.unwrap_or_else(|error| panic!("{after}: {error}"));
        self.bench.clear().await;
        session.client().batch_execute("RESET ALL").await.expect("resets");
        let mut plan = computed.plan;
        "0001-case".clone_into(&mut plan.name);
        plan
    }

    async fn apply(&self, name: &str, plan: &Plan, options: &Options) -> (Result<Outcome, ApplyError>, Vec<Event>) {
        let scratch = self.bench.scratch().expect("it was started");
        let target = scratch.target(name);
        let session = scratch.connect(name).await.expect("connects");
        let text = schema::plan::file::write(plan);
        // What is reviewed is what runs: the file says the same.
        let read = schema::plan::file::read(std::path::Path::new("plan.kdl"), &text).expect("reads back");
        assert_eq!(read, *plan);
        let hash = Fingerprint::of_bytes(text.as_bytes()).0;
        let mut events = Vec::new();
        let result = apply(session, &target, &read, &text, &hash, options, &mut |event| events.push(event)).await;
        (result, events)
    }
}

fn all() -> Options {
    Options { through: StageName::Contract, confirm_old_clients_gone: true, who: "test".to_owned(), ..Options::default() }
}

/// Tables, rows, what is wanted; what is found: `count what: samples`, one line each.
struct Wrong {
    name: &'static str,
    before: &'static str,
    /// What comes when the plan is made.
    later: &'static str,
    after: &'static str,
    /// Puts it right.
    repair: &'static str,
    found: &'static str,
}

const WRONG: &[Wrong] = &[
    Wrong {
        name: "nulls",
        // Those that are there when the plan is made are an error of the source.
        before: "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 90) i",
        later: "INSERT INTO t SELECT i FROM generate_series(91, 97) i",
        after: "table t { column id int; column note text not-null; primary-key id; }",
        repair: "UPDATE t SET note = '' WHERE note IS NULL",
        found: "7 rows of table public.t hold NULL in note, which becomes NOT NULL: id 91; id 92; id 93; id 94; id 95",
    },
    Wrong {
        name: "duplicates",
        before: "CREATE TABLE t (id int PRIMARY KEY, a int, b text); INSERT INTO t SELECT i, i / 2, CASE WHEN i < 50 THEN 'b' END FROM generate_series(1, 100) i",
        later: "",
        after: "table t { column id int; column a int; column b text; primary-key id; unique a b deferrable=initially-deferred; }",
        repair: "DELETE FROM t WHERE b = 'b' AND id % 2 = 1",
        found: "24 values of (a, b) stand in more than one row of table public.t (unique public.t.t_a_b_key): …",
    },
    Wrong {
        name: "nulls_not_distinct",
        before: "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, NULL), (3, NULL)",
        later: "",
        after: "table t { column id int; column a int; primary-key id; unique a nulls-not-distinct=#true; }",
        repair: "DELETE FROM t WHERE id = 3",
        found: "1 values of (a) stand in more than one row of table public.t (unique public.t.t_a_key): a NULL, times 2",
    },
    Wrong {
        name: "primary_key",
        before: "CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1), (1, 1)",
        later: "INSERT INTO t VALUES (2, NULL), (3, 3)",
        after: "table t { column a int; column b int; primary-key a b; }",
        repair: "DELETE FROM t WHERE b IS NULL OR a = 1",
        found: "1 rows of table public.t hold NULL in b, which becomes NOT NULL: relation t, ctid (0,3)\n\
                1 values of (a, b) stand in more than one row of table public.t (primary-key public.t.t_pkey): a 1, b 1, times 2",
    },
    Wrong {
        name: "unique_expression",
        before: "CREATE TABLE t (id int PRIMARY KEY, a text, gone bool); INSERT INTO t VALUES (1, 'x', false), (2, 'X', false), (3, 'X', true), (4, 'y', false)",
        later: "",
        after: "table t { column id int; column a text; column gone bool; primary-key id; index \"lower(a) DESC\" unique=#true name=t_a where=\"NOT gone\"; }",
        repair: "DELETE FROM t WHERE id = 2",
        found: "1 rows of table public.t would collide in unique index public.t.t_a: id 2",
    },
    Wrong {
        name: "orphans",
        before: "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1), (2); CREATE TABLE t (id int PRIMARY KEY, p int); \
                 INSERT INTO t VALUES (1, 1), (2, NULL), (3, 9), (4, 8)",
        later: "",
        after: "table p { column id int; primary-key id; }; table t { column id int; column p int; primary-key id; foreign-key p { references p id; }; index p; }",
        repair: "DELETE FROM t WHERE p > 2",
        found: "2 rows of table public.t have no row of table public.p for (p) (foreign key t_p_fkey): id 3, p 9; id 4, p 8",
    },
    Wrong {
        name: "orphans_match_full",
        before: "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); INSERT INTO p VALUES (1, 1); CREATE TABLE t (id int PRIMARY KEY, a int, b int); \
                 INSERT INTO t VALUES (1, 1, 1), (2, NULL, NULL), (3, 1, NULL), (4, 2, 2)",
        later: "",
        after: "table p { column a int; column b int; primary-key a b; }; \
                table t { column id int; column a int; column b int; primary-key id; foreign-key a b match=full { references p a b; }; }",
        repair: "DELETE FROM t WHERE id > 2",
        found: "2 rows of table public.t have no row of table public.p for (a, b), or are NULL only in part (foreign key t_a_b_fkey): id 3, a 1, b NULL; id 4, a 2, b 2",
    },
    Wrong {
        name: "check",
        before: "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, NULL), (3, -1)",
        later: "",
        after: "table t { column id int; column a int; primary-key id; check \"a > 0\" name=positive; }",
        repair: "DELETE FROM t WHERE a < 0",
        found: "1 rows of table public.t break check positive: id 3",
    },
    Wrong {
        name: "check_that_fails",
        before: "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 0)",
        later: "",
        after: "table t { column id int; column a int; primary-key id; check \"10 / a > 0\" name=divides; }",
        repair: "DELETE FROM t WHERE a = 0",
        found: "? rows of table public.t break check divides: division by zero (SQLSTATE 22012)",
    },
    Wrong {
        name: "casts",
        before: "CREATE TABLE t (id int PRIMARY KEY, a text, b text, c bigint, d numeric, e varchar(20)); \
                 INSERT INTO t VALUES (1, '1', 'short', 5, 1.5, 'abc'), (2, 'one', 'much too long', 3000000000, 123456, 'abcdefghij')",
        later: "",
        after: "table t { column id int; column a int; column b \"varchar(5)\"; column c int; column d \"numeric(5,2)\"; column e \"varchar(4)\"; primary-key id; }",
        repair: "DELETE FROM t WHERE id = 2",
        found: "1 values of column public.t.a do not fit into int (text before): id 2, value one, problem invalid input syntax for type integer: \"one\"\n\
                1 values of column public.t.b do not fit into varchar(5) (text before): id 2, value much too long, problem value too long for type character varying(5)\n\
                1 values of column public.t.c do not fit into int (bigint before): id 2, value 3000000000, problem integer out of range\n\
                1 values of column public.t.d do not fit into numeric(5,2) (numeric before): id 2, value 123456, problem numeric field overflow\n\
                1 values of column public.t.e do not fit into varchar(4) (varchar(20) before): id 2, value abcdefghij, problem value too long for type character varying(4)",
    },
    Wrong {
        name: "fill",
        before: "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 0), (3, NULL)",
        later: "",
        after: "table t { column id int; column a int; column b int not-null { backfill \"100 / a\"; }; primary-key id; }",
        repair: "UPDATE t SET a = 5 WHERE id > 1",
        found: "2 rows of table public.t get no value for b from (100 / a): id 2, problem division by zero; id 3, problem it is NULL",
    },
    Wrong {
        name: "overlaps",
        before: "CREATE EXTENSION btree_gist; CREATE TABLE t (id int PRIMARY KEY, room int, during int4range); \
                 INSERT INTO t VALUES (1, 1, '[1,5)'), (2, 1, '[4,8)'), (3, 2, '[4,8)'), (4, 1, '[8,9)')",
        later: "",
        after: "table t { column id int; column room int; column during int4range; primary-key id; \
                exclude room name=no_overlap deferrable=initially-deferred { element during with=\"&&\"; }; }",
        repair: "DELETE FROM t WHERE id = 2",
        found: "1 rows of table public.t conflict with another row (exclude public.t.no_overlap): id 2",
    },
    Wrong {
        name: "bounds",
        before: "CREATE TABLE e (at date NOT NULL, n int) PARTITION BY RANGE (at); CREATE TABLE e_2025 (at date NOT NULL, n int); \
                 INSERT INTO e_2025 VALUES ('2025-05-05', 1), ('2024-12-31', 2)",
        later: "",
        after: "table e { column at date not-null; column n int; partition-by range at; }; \
                table e_2025 partition-of=e from=\"'2025-01-01'\" to=\"'2026-01-01'\" { column at date not-null; column n int; }",
        repair: "DELETE FROM e_2025 WHERE n = 2",
        found: "1 rows of table public.e_2025 are outside its bound as a partition of table public.e (FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')): at 2024-12-31, n 2",
    },
    Wrong {
        name: "unplaced",
        before: "CREATE TABLE e (id int, at date, PRIMARY KEY (id, at)); INSERT INTO e VALUES (1, '2025-05-05'), (2, '2024-12-31'), (3, '2026-06-06')",
        later: "",
        after: "table e { column id int; column at date; primary-key id at; partition-by range at; \
                partition e_2025 from=\"'2025-01-01'\" to=\"'2026-01-01'\" { primary-key id at part-of=e_pkey; }; \
                partition e_2026 from=\"'2026-01-01'\" to=\"'2027-01-01'\" { primary-key id at part-of=e_pkey; }; }",
        repair: "DELETE FROM e WHERE id = 2",
        found: "1 rows of table public.e find no partition: id 2, at 2024-12-31",
    },
    Wrong {
        name: "left_over",
        before: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); CREATE TABLE r (id int PRIMARY KEY, x int REFERENCES t); \
                 INSERT INTO r VALUES (1, 1), (2, NULL)",
        later: "",
        after: "table t { column id int; column v bigint; primary-key id; partition-by range id; partition t_all default { primary-key id part-of=t_pkey; }; }; \
                table r { column id int; column x int; primary-key id; foreign-key x { references t id; }; }",
        repair: "UPDATE r SET x = NULL",
        found: "1 rows of table public.r reference table public.t, which is made anew without its rows (column public.t.v changes in the same plan: make two plans of it) (foreign key r_x_fkey): id 1, x 1",
    },
];

fn told(error: &ApplyError) -> String {
    let ApplyError::Preflight(refusal) = error else { panic!("{error}") };
    let mut out = String::new();
    for found in &refusal.found {
        let count = found.count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let _ = writeln!(out, "{count} {}: {}", found.what, found.samples.join("; "));
    }
    out.trim_end().to_owned()
}

const FINGERPRINT: &str = "SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM (SELECT (attrelid::regclass, attname, atttypid, attnotnull)::text AS x \
                           FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) \
                           UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace \
                           UNION ALL SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'public'::regnamespace) q (x)";

async fn value(session: &Session, sql: &str) -> String {
    session.client().query_one(sql, &[]).await.expect(sql).get::<_, Option<String>>(0).unwrap_or_default()
}

/// Found with its number and keys, nothing done; and when the rows are put right, the same plan goes through. Once for
/// small tables, once for large ones.
#[tokio::test]
async fn every_wrong_row_is_found() {
    let mut room = Room::open().await;
    let mut wrong = Vec::new();
    for small in [10_000, 1] {
        for Wrong { name, before, later, after, repair, found } in WRONG {
            let database = format!("{name}_{small}");
            let session = room.database(&database, before).await;
            let extension = if before.contains("btree_gist") { "extension btree_gist; " } else { "" };
            let plan = room.plan_with(&session, extension, after, small).await;
            session.client().batch_execute(later).await.expect(later);
            let before = value(&session, FINGERPRINT).await;
            let (outcome, _) = room.apply(&database, &plan, &all()).await;
            let error = outcome.expect_err(name);
            let told = told(&error);
            match found.split_once('…') {
                Some((start, _)) if told.starts_with(start) => {}
                None if told == *found => {}
                _ => wrong.push(format!("{database}:\n{told}\nand not\n{found}")),
            }
            assert_eq!(error.exit_code(), 3);
            let text = error.to_string();
            for part in ["would make 0001-case fail; nothing was done", "all of them: ", "schema apply 0001-case"] {
                assert!(text.contains(part), "{name}: {part} in {text}");
            }
            let ApplyError::Preflight(refusal) = &error else { panic!("{name}: {error}") };
            for found in refusal.found.iter().filter(|found| found.count.is_some()) {
                // As somebody would who reads it.
                let psql = room.bench.scratch().expect("it was started").connect(&database).await.expect("connects");
                let rows = psql.client().simple_query(&found.rows).await.unwrap_or_else(|error| panic!("{name}: {error}: {}", found.rows));
                let rows = rows.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count();
                assert!(found.count == Some(rows as u64), "{name}: {rows} rows of {}", found.rows);
                psql.close().await;
            }
            assert_eq!(value(&session, FINGERPRINT).await, before, "{name}: something was done");
            assert_eq!(
                value(&session, "SELECT string_agg(state, ',') FROM (SELECT DISTINCT state FROM schema_ledger.steps) s").await,
                "pending"
            );
            session.client().batch_execute(repair).await.expect(repair);
            let (outcome, events) = room.apply(&database, &plan, &all()).await;
            assert_eq!(outcome.unwrap_or_else(|error| panic!("{name}: {error}")), Outcome::Done);
            assert!(events.iter().any(|event| matches!(event, Event::PreflightDone { found: 0, .. })), "{name}: {events:?}");
            session.close().await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What only a backfill makes is looked at when that is done, and before the step that would fail: the steps before it stay.
#[tokio::test]
async fn what_a_backfill_makes_is_looked_at_behind_it() {
    let mut room = Room::open().await;
    let before = "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT i, i / 2 FROM generate_series(1, 40) i";
    let session = room.database("filled", before).await;
    let after = "table t { column id int; column a int; column b int { backfill \"a\"; }; primary-key id; unique b; }";
    let plan = room.plan_with(&session, "", after, 1).await;
    let (outcome, _) = room.apply("filled", &plan, &all()).await;
    let error = outcome.expect_err("is refused");
    assert!(told(&error).starts_with("19 values of (b) stand in more than one row of table public.t"), "{error}");
    assert!(error.to_string().contains("the steps before it stay"), "{error}");
    assert_eq!(value(&session, "SELECT to_regclass('t_b_key_idx')::text").await, "");
    assert_eq!(value(&session, "SELECT count(b)::text FROM t").await, "40");
}

/// Without the look the step itself fails, as it did before; that is said by name.
#[tokio::test]
async fn the_look_can_be_left_out() {
    let mut room = Room::open().await;
    let session = room.database("left_out", "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, -1)").await;
    let after = "table t { column id int; column a int; primary-key id; check \"a > 0\" name=positive; }";
    let plan = room.plan_with(&session, "", after, 0).await;
    let (outcome, events) = room.apply("left_out", &plan, &Options { preflight: false, ..all() }).await;
    assert!(matches!(outcome, Err(ApplyError::Step(failure)) if failure.message.contains("is violated by some row")));
    assert!(!events.iter().any(|event| matches!(event, Event::PreflightLook { .. })));
}
