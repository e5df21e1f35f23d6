//! What people write on a column who think in SQL, and what they should write.

use super::{Lowering, sql_type};
use crate::kdl::{Finding, Node, Text};

/// Reports arguments behind the type: words of SQL, each with its KDL.
pub(super) fn check(node: &mut Node<'_>, data_type: &Text, out: &mut Lowering) {
    let asked: Vec<&str> = node.asked().to_vec();
    let words = node.args();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let rest: Vec<String> = words[at..].iter().map(|word| word.value.to_uppercase()).collect();
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let whole = words[..=at].iter().fold(data_type.value.clone(), |whole, word| format!("{whole} {}", word.value));
        // `double precision`, `timestamp with time zone`: as long as the words go on making a type.
        let longest = (at == 0).then(|| (1..=words.len()).rev().find(|count| is_type(&data_type.value, &words[..*count]))).flatten();
        let (used, help) = match (longest, &rest[..]) {
            (Some(count), _) => (count, format!("a type of several words is quoted: `\"{}\"`", join(&data_type.value, &words[..count]))),
            (None, ["NOT", "NULL", ..]) => (2, "write `not-null`".to_owned()),
            (None, ["NULL", ..]) => (1, "columns may be null unless they are `not-null`: take it out".to_owned()),
            (None, ["PRIMARY", "KEY", ..]) => (2, "a key is a node of the table: `primary-key` and the names of its columns".to_owned()),
            (None, ["PRIMARY-KEY" | "UNIQUE" | "CHECK", ..]) => {
                (1, format!("`{}` is a node of the table, beside the column", rest[0].to_lowercase()))
            }
            (None, ["DEFAULT", value, ..]) => {
                (2, format!("write `default={value}`, as KDL spells the expression", value = quoted(&words[at + 1].value, value)))
            }
            (None, ["REFERENCES", ..]) => {
                (words.len() - at, "write a node of the table: `foreign-key column { references table column; }`".to_owned())
            }
            _ => {
                let help = match crate::kdl::suggest(&word.value, &asked) {
                    Some(same) if same == word.value => format!("`{same}` needs a value: write `{same}=…`"),
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a column has a name and a type; a type of several words is quoted: `\"{whole}\"`"),
                };
                (1, help)
            }
        };
        let used = used.min(words.len() - at);
        let last = &words[at + used - 1];
        let span = crate::kdl::Span::new(word.span.file, word.span.range().start, last.span.range().end);
        let text = join("", &words[at..at + used]);
        out.findings
            .push(Finding::at(span, format!("unexpected argument `{}` on column", text.trim_start())).label("not known here").help(help));
        at += used;
    }
}

fn join(first: &str, words: &[Text]) -> String {
    words.iter().fold(first.to_owned(), |whole, word| format!("{whole} {}", word.value))
}

fn is_type(first: &str, words: &[Text]) -> bool {
    let whole = join(first, words);
    let canonical = sql_type::canonical(&whole);
    sql_type::is_builtin(&canonical) && !sql_type::base(&canonical).eq_ignore_ascii_case("unknown")
}

/// A value as a property spells it: quoted unless it is a number.
fn quoted(value: &str, upper: &str) -> String {
    if value.parse::<f64>().is_ok() {
        value.to_owned()
    } else if matches!(upper, "TRUE" | "FALSE") {
        format!("#{}", value.to_lowercase())
    } else {
        format!("\"{value}\"")
    }
}
