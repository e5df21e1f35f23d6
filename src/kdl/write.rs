//! Writing nodes: what comes out reads back equal, to the byte.

use indexmap::IndexMap;

use super::lex::is_newline;

/// One step of indentation.
pub const INDENT: &str = "    ";

/// Beyond this many characters a header goes on in the next line.
const WIDTH: usize = 100;

/// A value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOut {
    /// A text: bare where KDL permits, else quoted.
    Text(String),
    /// A number's source text. What is no KDL number is written as a text.
    Number(String),
    /// `#true` or `#false`.
    Bool(bool),
}

impl ValueOut {
    /// An SQL text: a number or a boolean stands for itself.
    #[must_use]
    pub fn sql(text: &str) -> Self {
        Self::plain(text)
    }

    /// The plainest spelling that reads back as `text`: a number or a boolean where the text is one, so that `0` is written as `0` and not as `"0"`.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        match text {
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            _ if is_number(text) => Self::Number(text.to_owned()),
            _ => Self::Text(text.to_owned()),
        }
    }
}

impl From<&str> for ValueOut {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for ValueOut {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for ValueOut {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for ValueOut {
    fn from(value: i64) -> Self {
        Self::Number(value.to_string())
    }
}

/// A node to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeOut {
    /// The node's name.
    pub name: String,
    /// The positional arguments.
    pub args: Vec<ValueOut>,
    /// The properties, in the order they are written.
    pub props: IndexMap<String, ValueOut>,
    /// The nodes of its block.
    pub children: Vec<NodeOut>,
    /// Lines of comment above it, without the `//`.
    pub leading_comment: Option<String>,
    /// Whether the block goes on the node's own line where it fits: `{ references models id; }`.
    pub inline_block: bool,
}

impl NodeOut {
    /// A node without anything.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, value: impl Into<ValueOut>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<V: Into<ValueOut>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.args.extend(values.into_iter().map(Into::into));
        self
    }

    /// Sets a property.
    #[must_use]
    pub fn prop(mut self, name: impl Into<String>, value: impl Into<ValueOut>) -> Self {
        self.props.insert(name.into(), value.into());
        self
    }

    /// Sets a property if there is a value.
    #[must_use]
    pub fn opt_prop<V: Into<ValueOut>>(self, name: &str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.prop(name, value),
            None => self,
        }
    }

    /// Adds the bare argument `name` if `set`.
    #[must_use]
    pub fn flag(self, name: &str, set: bool) -> Self {
        if set { self.arg(name) } else { self }
    }

    /// Adds a child.
    #[must_use]
    pub fn child(mut self, child: NodeOut) -> Self {
        self.children.push(child);
        self
    }

    /// Sets a property in place.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<ValueOut>) {
        self.props.insert(name.into(), value.into());
    }

    /// Adds a child and gives it, so that more can be put into it.
    ///
    /// # Panics
    /// Never: the child was pushed just before.
    #[allow(clippy::should_implement_trait, reason = "adds a child, not a number")]
    pub fn add(&mut self, child: NodeOut) -> &mut NodeOut {
        self.children.push(child);
        self.children.last_mut().expect("the child was pushed just before")
    }

    /// Whether there is nothing beyond the name and one argument.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.args.len() <= 1 && self.props.is_empty() && self.children.is_empty()
    }

    /// Puts the block on the node's own line where it fits.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.inline_block = true;
        self
    }

    /// Sets the comment above the node.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.leading_comment = Some(comment.into());
        self
    }
}

/// The nodes as a text that ends with a line break; the empty text for no nodes.
#[must_use]
pub fn render(nodes: &[NodeOut]) -> String {
    render_at(nodes, "")
}

/// Like [`render`], every line indented by `indent` (spaces and tabs) besides.
#[must_use]
pub fn render_at(nodes: &[NodeOut], indent: &str) -> String {
    let mut out = String::new();
    for node in nodes {
        write_node(&mut out, node, indent);
    }
    out
}

/// Name, arguments and properties in one line, as they stand before the block, at the indentation `indent`.
#[must_use]
pub fn render_header(node: &NodeOut, indent: &str) -> String {
    pieces(node, indent).join(" ")
}

fn write_node(out: &mut String, node: &NodeOut, indent: &str) {
    for line in node.leading_comment.iter().flat_map(|comment| comment.split(is_newline)) {
        // Control and direction characters may not stand in a KDL text.
        let line: String = line.chars().filter(|c| !must_escape(*c) || *c == '\t').collect();
        out.push_str(format!("{indent}// {line}").trim_end());
        out.push('\n');
    }
    out.push_str(indent);
    let inline = if node.inline_block { inline(node, indent) } else { None };
    if let Some(line) = inline {
        out.push_str(&line);
    } else {
        write_header(out, &pieces(node, indent), indent);
        if !node.children.is_empty() {
            out.push_str(" {\n");
            let deeper = format!("{indent}{INDENT}");
            for child in &node.children {
                write_node(out, child, &deeper);
            }
            out.push_str(indent);
            out.push('}');
        }
    }
    out.push('\n');
}

/// The whole node on one line, if it fits.
fn inline(node: &NodeOut, indent: &str) -> Option<String> {
    let mut line = render_header(node, indent);
    if !node.children.is_empty() {
        line.push_str(" {");
        for child in &node.children {
            if child.leading_comment.is_some() {
                return None;
            }
            line.push(' ');
            line.push_str(&inline(child, indent)?);
            line.push(';');
        }
        line.push_str(" }");
    }
    let fits = !line.contains('\n') && indent.chars().count() + line.chars().count() <= WIDTH;
    fits.then_some(line)
}

/// The pieces on one line, or on several with `\` where they do not fit.
fn write_header(out: &mut String, pieces: &[String], indent: &str) {
    let one_line = pieces.iter().all(|piece| !piece.contains('\n'));
    let mut column = indent.chars().count();
    for (index, piece) in pieces.iter().enumerate() {
        let width = piece.chars().count();
        // The first argument is the object's name: it stays beside the keyword.
        if index > 1 && one_line && column + 1 + width > WIDTH {
            out.push_str(" \\\n");
            out.push_str(indent);
            out.push_str(INDENT);
            column = indent.chars().count() + INDENT.len();
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(piece);
        column += width;
    }
}

fn pieces(node: &NodeOut, indent: &str) -> Vec<String> {
    let mut pieces = vec![spell_on_line(&node.name)];
    pieces.extend(node.args.iter().map(|value| spell(value, indent)));
    pieces.extend(node.props.iter().map(|(name, value)| format!("{}={}", spell_on_line(name), spell(value, indent))));
    pieces
}

fn spell(value: &ValueOut, indent: &str) -> String {
    match value {
        ValueOut::Bool(true) => "#true".to_owned(),
        ValueOut::Bool(false) => "#false".to_owned(),
        ValueOut::Number(number) if is_number(number) => number.clone(),
        ValueOut::Number(text) | ValueOut::Text(text) => spell_text(text, indent),
    }
}

/// The spelling of a text inside a node that is indented by `indent`; it may take several lines.
fn spell_text(text: &str, indent: &str) -> String {
    if text.contains('\n') { raw_lines(text, indent).unwrap_or_else(|| escaped(text)) } else { spell_on_line(text) }
}

/// The spelling of a text on one line.
#[must_use]
pub fn spell_on_line(text: &str) -> String {
    if is_bare(text) {
        text.to_owned()
    } else if text.contains(['"', '\\']) {
        raw_line(text).unwrap_or_else(|| escaped(text))
    } else {
        escaped(text)
    }
}

/// Whether the text can stand without quotes and nobody would take it for anything else. Narrower than KDL, which permits `<>` and `-` as well.
fn is_bare(text: &str) -> bool {
    let starts = text.starts_with(|first: char| first.is_alphabetic() || first == '_');
    let goes_on = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | ':' | ',' | '@' | '+' | '%' | '*'));
    starts && goes_on && !matches!(text, "true" | "false" | "null" | "inf" | "nan")
}

/// Whether KDL reads the text as a number: a decimal, as PostgreSQL writes them.
fn is_number(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let exponent_ok = exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    // The parser keeps integers in 128 bits; beyond them the text is quoted.
    digits(whole) && fraction.is_none_or(digits) && exponent_ok && unsigned.len() <= 37
}

/// What may not stand literally in a KDL text, or what nobody would see there.
fn must_escape(c: char) -> bool {
    c.is_control()
        || is_newline(c)
        || matches!(c, '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}')
}

/// The text in quotes on one line, with escapes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if must_escape(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// As many `#` as no quote in the text is followed by.
fn hashes(text: &str) -> String {
    let longest = text.split('"').skip(1).map(|after| after.len() - after.trim_start_matches('#').len()).max().unwrap_or(0);
    "#".repeat(longest + 1)
}

/// `#"…"#`, if the text reads back from it.
fn raw_line(text: &str) -> Option<String> {
    let hashes = hashes(text);
    // Three quotes in a row would begin a multi-line string.
    if text.starts_with('"') && (text.len() == 1 || text[1..].starts_with('"')) {
        return None;
    }
    reads_back(format!("{hashes}\"{text}\"{hashes}"), text)
}

/// A raw multi-line string, if the text reads back from it: trailing spaces on blank lines, `\r\n` and control characters do not survive one.
fn raw_lines(text: &str, indent: &str) -> Option<String> {
    let hashes = hashes(text);
    let prefix = format!("{indent}{INDENT}");
    let mut out = format!("{hashes}\"\"\"\n");
    for line in text.split('\n') {
        if !line.is_empty() {
            out.push_str(&prefix);
            out.push_str(line);
        }
        out.push('\n');
    }
    reads_back(format!("{out}{prefix}\"\"\"{hashes}"), text)
}

/// `spelling`, if KDL reads `text` from it and it shows all of it.
fn reads_back(spelling: String, text: &str) -> Option<String> {
    if text.chars().any(|c| must_escape(c) && c != '\n' && c != '\t') {
        return None;
    }
    let document = super::syntax::parse(&format!("x {spelling}")).ok()?;
    let [node] = document.nodes() else { return None };
    let [entry] = node.entries() else { return None };
    (entry.name().is_none() && entry.value().as_string() == Some(text)).then_some(spelling)
}
