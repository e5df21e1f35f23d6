//! README.md is executed: its files are written, its commands are run one after the other in an empty
//! folder against a private server, and they must say what stands there.
//!
//! A block ```` ```kdl file=PATH ```` is a file; a block ```` ```console ```` holds commands after `$ ` and what
//! they say. Times, sizes, the server's version and its address may differ, and so may white space. With
//! `README_BLESS=1` the outputs are written anew; read the difference before it is committed.

use std::path::Path;
use std::process::Command;

use schema::pg::{DatabaseOptions, Scratch, ScratchOptions, find};

/// How the README calls the server.
const HOST: &str = "localhost";
const VERSION: &str = "15.18";

struct Newcomer {
    home: tempfile::TempDir,
    url: String,
    path: String,
    socket: String,
    version: String,
}

impl Newcomer {
    /// What a command says, as the README would show it.
    fn run(&self, command: &str) -> String {
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("{{ {command}\n}} 2>&1"))
            .current_dir(self.home.path())
            .env("PATH", &self.path)
            .env("DATABASE_URL", &self.url)
            .env("NO_COLOR", "1")
            .env("GIT_CONFIG_GLOBAL", self.home.path().join(".gitconfig"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CEILING_DIRECTORIES", self.home.path())
            .output()
            .expect("sh runs");
        let text = String::from_utf8_lossy(&output.stdout).replace(&self.socket, HOST).replace(&self.version, VERSION);
        // Where there is a terminal, a bar takes the place of these lines.
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.contains(" rows/s")).map(str::trim_end).collect();
        let code = output.status.code().unwrap_or(-1);
        let end = format!("# exit code {code}");
        if code != 0 {
            lines.push(&end);
        }
        lines.join("\n")
    }
}

/// Words without what may differ.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    for at in 1..words.len() {
        let unit = words[at].trim_end_matches([',', '.']);
        if matches!(unit, "ms" | "s" | "MB" | "kB") && words[at - 1].starts_with(|c: char| c.is_ascii_digit()) {
            "#".clone_into(&mut words[at - 1]);
            "unit".clone_into(&mut words[at]);
        }
    }
    // A machine that is busy waits for locks; how long is no part of the story.
    let waited = ["#", "unit", "of", "it", "for", "locks"];
    while let Some(at) = words.windows(waited.len()).position(|window| window == waited) {
        words.drain(at..at + waited.len());
    }
    for word in &mut words {
        let is_date = word.len() == 10 && word.starts_with("20") && word.matches('-').count() == 2;
        let is_time = word.len() == 5 && word.as_bytes()[2] == b':';
        if is_date || is_time || word.starts_with("b3:") {
            "#".clone_into(word);
        }
    }
    words
}

/// Whether `word` is `pattern`, in which `[..]` stands for anything.
fn matches(pattern: &str, word: &str) -> bool {
    match pattern.split_once("[..]") {
        None => pattern == word,
        Some((start, end)) => word.len() >= start.len() + end.len() && word.starts_with(start) && word.ends_with(end),
    }
}

fn same(expected: &str, actual: &str) -> bool {
    let (expected, actual) = (words(expected), words(actual));
    expected.len() == actual.len() && expected.iter().zip(&actual).all(|(pattern, word)| matches(pattern, word))
}

/// The commands of a block, each with what it is expected to say.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut continues = false;
    for line in block.lines() {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push((command.to_owned(), String::new())),
            (None, Some((command, _))) if continues => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, output))) => {
                output.push_str(line);
                output.push('\n');
            }
            (None, None) => panic!("a console block begins with `$ `: {line}"),
        }
        continues = (line.starts_with("$ ") || continues) && line.ends_with('\\');
    }
    all
}

#[tokio::test]
async fn the_readme_tells_the_truth() {
    // On another version the plans have other steps, and the page shows one.
    let major = VERSION.split('.').next().and_then(|major| major.parse().ok());
    let installation = find(major).expect("the PostgreSQL that the README shows is installed");
    let scratch = Scratch::start(&installation, ScratchOptions::default()).await.expect("starts");
    scratch.create_database("shop", &DatabaseOptions::default()).await.expect("a database");
    let socket = scratch.socket_dir().display().to_string();
    let programs = Path::new(env!("CARGO_BIN_EXE_schema")).parent().expect("it is in a folder").display().to_string();
    let newcomer = Newcomer {
        home: tempfile::tempdir().expect("a folder"),
        url: format!("postgres://postgres@/shop?host={socket}"),
        path: format!("{programs}:{}:{}", installation.bin.display(), std::env::var("PATH").unwrap_or_default()),
        socket,
        version: installation.version.split(' ').next().unwrap_or_default().to_owned(),
    };
    std::fs::write(newcomer.home.path().join(".gitconfig"), "[user]\n\tname = Ann\n\temail = ann@example.com\n").expect("written");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("there is a README");
    let (mut blessed, mut wrong) = (String::new(), String::new());
    let mut rest = readme.as_str();
    while let Some((before, after)) = rest.split_once("\n```") {
        let (info, after) = after.split_once('\n').expect("a fence has an end");
        let (block, after) = after.split_once("\n```").expect("a block has an end");
        let mut shown = block.to_owned();
        if let Some(file) = info.strip_prefix("kdl file=") {
            std::fs::write(newcomer.home.path().join(file), format!("{block}\n")).expect("written");
        } else if info == "console" {
            shown.clear();
            for (command, expected) in commands(block) {
                let actual = newcomer.run(&command);
                if !same(&expected, &actual) {
                    wrong.push_str(&format!("$ {command}\n--- README.md\n{expected}--- now\n{actual}\n\n"));
                }
                let output = if same(&expected, &actual) { expected.trim_end().to_owned() } else { actual };
                shown.push_str(&format!("$ {command}\n{output}"));
                if !shown.ends_with('\n') {
                    shown.push('\n');
                }
            }
            shown.truncate(shown.trim_end().len());
        }
        blessed.push_str(&format!("{before}\n```{info}\n{shown}\n```"));
        rest = after;
    }
    blessed.push_str(rest);
    scratch.stop().await.expect("stops");
    if std::env::var_os("README_BLESS").is_some() {
        std::fs::write(path, blessed).expect("written");
    } else {
        assert!(wrong.is_empty(), "README.md is not what happens (README_BLESS=1 writes it anew):\n\n{wrong}");
    }
}
