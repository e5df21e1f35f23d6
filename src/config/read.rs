//! From the text of schema.kdl to a [`Config`]: everything that is wrong at once, each at its place.

use std::path::Path;
use std::time::Duration;

use super::{Config, Environment, Ignore, Url, UrlForm, duration};
use crate::kdl::{Diagnostics, Document, Finding, Findings, Node, Sources, Span, Spelling, Text, suggest};
use crate::kind::KINDS;
use crate::plan::file::read_gate;
use crate::plan::op::Hazard;
use crate::plan::policy::{Policy, Rule};

/// The nodes of the file.
const NODES: [&str; 13] = [
    "source",
    "plans",
    "default-env",
    "env",
    "hazards",
    "small-table",
    "lock-timeout",
    "quarantine",
    "manage",
    "ignore",
    "scratch",
    "gate",
    "backfill",
];
/// Those that may stand more than once.
const REPEATED: [&str; 3] = ["env", "ignore", "hazards"];

pub(super) fn read(path: &Path, text: &str) -> Result<Config, Diagnostics> {
    let mut sources = Sources::new();
    let file = sources.add(path, text);
    let document = match Document::parse_in(&sources, file) {
        Ok(document) => document,
        Err(findings) => return Err(findings.into_report(&sources)),
    };
    let mut config = Config::defaults(path.parent().unwrap_or(Path::new("")));
    config.file = Some(path.to_owned());
    let f = &mut Findings::new();
    let mut seen: Vec<(&str, Span)> = Vec::new();
    let mut default_env: Option<Text> = None;
    let (mut hazards, mut environments) = (Vec::new(), Vec::new());
    for mut node in document.nodes() {
        let name = node.name();
        if let Some((_, first)) = seen.iter().find(|(earlier, _)| *earlier == name && !REPEATED.contains(&name)) {
            f.push(
                Finding::at(node.span(), format!("`{name}` stands twice")).label("a second time here").other(*first, "the first time here"),
            );
        }
        seen.push((name, node.span()));
        match name {
            "source" => {
                if let Some(folder) = node.arg("a folder or an SQL file", f) {
                    config.source = config.root.join(&folder.value);
                }
            }
            "plans" => {
                if let Some(folder) = node.arg("a folder", f) {
                    config.plans = config.root.join(&folder.value);
                }
            }
            "default-env" => default_env = node.arg("the name of an environment", f),
            "hazards" => hazards.extend(hazard_rules(&mut node, f)),
            "env" => {
                environments.push(node);
                continue; // Read below: it starts from the project's policy.
            }
            "small-table" => {
                if let Some(rows) = count(&mut node, "rows", f) {
                    config.small_table_rows = rows;
                }
            }
            "lock-timeout" => {
                if let Some(time) = node.arg("a duration", f).and_then(|text| time(&text, f)) {
                    config.lock_timeout = time;
                }
                if let Some(time) = node.value("retry-for", f).and_then(|text| time(&text, f)) {
                    config.retry_for = time;
                }
                if let Some(time) = node.value("concurrently", f).and_then(|text| time(&text, f)) {
                    config.concurrently = time;
                }
            }
            "quarantine" => config.quarantine = quarantine(&mut node, f),
            "manage" => {
                config.manage.grants = node.flag("grants", f);
                config.manage.owners = node.flag("owners", f);
            }
            "ignore" => ignore(&mut node, &mut config.ignore, f),
            "gate" => {
                config.gate = read_gate(node, f);
                continue; // It is finished.
            }
            "backfill" => config.backfill.read(&mut node, f),
            "scratch" => config.scratch = url(&mut node, f),
            _ => {
                node.unknown("schema.kdl", &NODES, f);
                continue;
            }
        }
        node.finish(f);
    }
    apply_rules(&mut config.policy, hazards, f);
    for node in environments {
        environment(node, &mut config, f);
    }
    if let Some(name) = default_env {
        if !config.environments.contains_key(&name.value) {
            f.push(undefined(&config, &name.value, Some(name.span)));
        }
        config.default_env = Some(name.value);
    }
    std::mem::take(f).or_report(&sources, ())?;
    config.sources = sources;
    Ok(config)
}

/// The finding that an environment is named and not defined.
pub(super) fn undefined(config: &Config, name: &str, span: Option<Span>) -> Finding {
    let names: Vec<&str> = config.environments.keys().map(String::as_str).collect();
    let message = format!("there is no environment `{name}`");
    let finding = span.map_or_else(|| Finding::general(&message), |span| Finding::at(span, &message).label("not defined"));
    let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    finding.help(match suggest(name, &names) {
        Some(near) => format!("did you mean `{near}`? Defined are {list}"),
        None if names.is_empty() => format!("define it in schema.kdl: env {name} {{ url (env)DATABASE_URL; }}"),
        None => format!("defined are {list}"),
    })
}

fn environment(mut node: Node<'_>, config: &mut Config, f: &mut Findings) {
    let span = node.span();
    let Some(name) = node.arg("a name", f) else { return node.finish(f) };
    let mut policy = config.policy.clone();
    let mut rules = Vec::new();
    for mut hazards in node.children("hazards") {
        rules.extend(hazard_rules(&mut hazards, f));
        hazards.finish(f);
    }
    apply_rules(&mut policy, rules, f);
    node.allow_annotations(&["env"]);
    let url = node.child("url", f).and_then(|mut part| {
        let url = url(&mut part, f);
        part.finish(f);
        url
    });
    let disk_free = node.value("disk-free", f).and_then(|text| {
        let size = super::pacing::size(&text.value);
        if size.is_none() {
            f.push(Finding::at(text.span, format!("`{}` is no size", text.value)).help("write a number and kB, MB, GB or TB: `40GB`"));
        }
        size
    });
    let mut backfill = config.backfill.clone();
    if let Some(mut part) = node.child("backfill", f) {
        backfill.read(&mut part, f);
        part.finish(f);
    }
    let gate = node.child("gate", f).and_then(|part| read_gate(part, f));
    let approvals = match node.child("approvals", f) {
        None => 0,
        Some(mut part) => {
            let number = part.arg("a number", f).and_then(|text| {
                let number = text.integer().and_then(|number| u32::try_from(number).ok());
                if number.is_none() {
                    f.push(
                        Finding::at(text.span, "`approvals` must be a number of people").label("not a number").help("write `approvals 1`"),
                    );
                }
                number
            });
            part.finish(f);
            number.unwrap_or_default()
        }
    };
    let kept = node.child("quarantine", f).map(|mut part| {
        let time = quarantine(&mut part, f);
        part.finish(f);
        time
    });
    let direct = node.flag("direct", f);
    if direct && approvals > 0 {
        f.push(
            Finding::at(name.span, format!("environment `{}` is both `direct` and in need of approvals", name.value))
                .help("`direct` applies without a plan that anybody could approve: keep one of them"),
        );
    }
    node.finish(f);
    if let Some(first) = config.environments.get(&name.value) {
        f.push(
            Finding::at(name.span, format!("environment `{}` is defined twice", name.value))
                .label("a second time here")
                .other(first.span, "the first time here")
                .help("give one of them another name"),
        );
        return;
    }
    // The whole of the first definition is shown by its name.
    let span = if span.file == name.span.file { name.span } else { span };
    let environment = Environment {
        name: name.value.clone(),
        url,
        direct,
        approvals,
        policy,
        quarantine: kept.unwrap_or(config.quarantine),
        gate,
        disk_free,
        backfill,
        span,
    };
    config.environments.insert(name.value, environment);
}

/// `quarantine "7d"`; `0s` is not at all.
fn quarantine(node: &mut Node<'_>, f: &mut Findings) -> Option<Duration> {
    node.arg("a duration", f).and_then(|text| time(&text, f)).filter(|time| !time.is_zero())
}

fn url(node: &mut Node<'_>, f: &mut Findings) -> Option<Url> {
    node.allow_annotations(&["env"]);
    let text = node.arg("a connection string, or (env)VARIABLE", f)?;
    if text.annotation.is_some() {
        return Some(Url { form: UrlForm::Variable(text.value), span: text.span });
    }
    let looks_like_variable =
        text.spelling == Spelling::Word && text.value.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if looks_like_variable {
        f.push(
            Finding::at(text.span, format!("`{}` is no connection string", text.value))
                .help(format!("write `(env){}` for the variable of that name", text.value)),
        );
        return None;
    }
    if text.spelling == Spelling::Number || text.spelling == Spelling::Boolean {
        f.push(Finding::at(text.span, "a connection string is a text").help("write `url \"postgres://user@host/database\"`"));
        return None;
    }
    Some(Url { form: UrlForm::Literal(text.value), span: text.span })
}

fn time(text: &Text, f: &mut Findings) -> Option<Duration> {
    duration::parse(&text.value)
        .map_err(|_| f.push(Finding::at(text.span, format!("`{}` is no duration", text.value)).help(format!("write {}", duration::FORM))))
        .ok()
}

fn count(node: &mut Node<'_>, name: &'static str, f: &mut Findings) -> Option<u64> {
    let Some(mut part) = node.child(name, f) else {
        f.push(Finding::at(node.span(), format!("`{}` needs `{name}`", node.name())).help(format!("write `{} {name}=10000`", node.name())));
        return None;
    };
    let text = part.arg("a number", f);
    part.finish(f);
    let text = text?;
    let number = text.integer().and_then(|number| u64::try_from(number).ok());
    if number.is_none() {
        f.push(Finding::at(text.span, format!("`{name}` must be a whole number")).label("not one").help(format!("write `{name}=10000`")));
    }
    number
}

/// A hazard, or all of them, with its rule and place.
type HazardRule = (Option<Hazard>, Rule, Span);

fn hazard_rules(node: &mut Node<'_>, f: &mut Findings) -> Vec<HazardRule> {
    let mut rules = Vec::new();
    for rule in Rule::ALL {
        for mut line in node.children(rule.name()) {
            let first = line.arg("names of hazards, or `all`", f);
            for text in first.into_iter().chain(line.args()) {
                match Hazard::from_name(&text.value) {
                    Some(hazard) => rules.push((Some(hazard), rule, text.span)),
                    None if text.value == "all" => rules.push((None, rule, text.span)),
                    None => f.push(unknown_hazard(&text)),
                }
            }
            line.finish(f);
        }
    }
    rules
}

fn unknown_hazard(text: &Text) -> Finding {
    let names = Hazard::ALL.map(Hazard::name);
    let finding = Finding::at(text.span, format!("there is no hazard `{}`", text.value)).label("not known");
    finding.help(match suggest(&text.value, &names) {
        Some(near) => format!("did you mean `{near}`? `schema explain` lists all"),
        None => format!("hazards are {}", names.join(", ")),
    })
}

/// `all` first, then the names, whatever their order in the file.
fn apply_rules(policy: &mut Policy, mut rules: Vec<HazardRule>, f: &mut Findings) {
    rules.sort_by_key(|(hazard, _, span)| (*hazard, *span));
    for pair in rules.windows(2) {
        if let [(one, rule, first), (two, other, second)] = pair
            && one == two
            && rule != other
        {
            let name = one.map_or("all", Hazard::name);
            f.push(
                Finding::at(*second, format!("two rules for `{name}`"))
                    .label(format!("{} here", other.name()))
                    .other(*first, format!("{} here", rule.name()))
                    .help("keep one of them"),
            );
        }
    }
    for (hazard, rule, _) in rules {
        match hazard {
            None => policy.set_all(rule),
            Some(hazard) => policy.set(hazard, rule),
        }
    }
}

fn ignore(node: &mut Node<'_>, rules: &mut Vec<Ignore>, f: &mut Findings) {
    let reason = node.value("reason", f).map(|text| text.value);
    let patterns = node.properties(f);
    if patterns.is_empty() {
        f.push(
            Finding::at(node.span(), "`ignore` needs what it ignores")
                .help("write a kind and a pattern: `ignore table=\"public.events_p*\"`"),
        );
    }
    let kinds: Vec<&str> = KINDS.iter().map(|known| known.keyword).collect();
    for (kind, pattern) in patterns {
        // Kinds that are not modelled may be ignored as well, so only a slip is an error.
        if let Some(near) = suggest(&kind.value, &kinds).filter(|near| *near != kind.value) {
            f.push(Finding::at(kind.span, format!("there is no kind `{}`", kind.value)).help(format!("did you mean `{near}`?")));
        }
        if pattern.value.is_empty() {
            f.push(Finding::at(pattern.span, "an empty pattern matches nothing").help("write a name; `*` stands for any characters"));
        }
        rules.push(Ignore::new(&kind.value, &pattern.value, reason.clone()));
    }
}
