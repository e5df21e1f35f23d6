//! A cursor over one node that remembers what its reader used: what is left over is an error at its place.
//!
//! A reader asks for what it knows and calls [`Node::finish`]. `x=V` and a child `x V` mean the same everywhere, so a property is read as a node with one
//! argument ([`Node::child`]). Read what stands first first: name, then flags, then optional arguments — a flag is a bare positional word.

use ::kdl::{KdlEntry, KdlNode};

use super::document::{Document, Spelling, Text};
use super::source::{Finding, Findings, Span};

/// A list of all that is possible helps up to this many.
const MOST_CANDIDATES: usize = 24;

/// A cursor over one node of a [`Document`].
#[derive(Debug)]
#[must_use = "call `finish`, else what the reader did not ask for is passed over silently"]
pub struct Node<'d> {
    document: &'d Document,
    name: &'d str,
    name_span: Span,
    /// Where the node begins; a property read as a node has its whole place here.
    place: Place,
    annotation: Option<&'d ::kdl::KdlIdentifier>,
    entries: &'d [KdlEntry],
    children: &'d [KdlNode],
    used_entries: Vec<bool>,
    used_children: Vec<bool>,
    /// The names that the reader asked for: the candidates of suggestions.
    asked: Vec<&'static str>,
    annotations: &'static [&'static str],
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Node { start: usize },
    Property(Span),
}

/// A property or a child of the same name.
enum Form<'d> {
    Property(&'d KdlEntry),
    Child(&'d KdlNode),
}

impl<'d> Node<'d> {
    pub(super) fn new(document: &'d Document, node: &'d KdlNode, annotations: &'static [&'static str]) -> Self {
        let children = node.children().map_or(&[][..], ::kdl::KdlDocument::nodes);
        Self {
            document,
            name: node.name().value(),
            name_span: span_of(document, node.name().span()),
            place: Place::Node { start: node.span().offset() },
            annotation: node.ty(),
            entries: node.entries(),
            children,
            used_entries: vec![false; node.entries().len()],
            used_children: vec![false; children.len()],
            asked: Vec::new(),
            annotations,
        }
    }

    /// The property `x=V` as the node `x V`.
    fn of_property(document: &'d Document, entry: &'d KdlEntry, annotations: &'static [&'static str]) -> Self {
        let span = span_of(document, entry.span());
        Self {
            document,
            name: entry.name().map_or("", |name| name.value()),
            name_span: entry.name().map_or(span, |name| span_of(document, name.span())),
            place: Place::Property(span),
            annotation: None,
            entries: std::slice::from_ref(entry),
            children: &[],
            used_entries: vec![false],
            used_children: Vec::new(),
            asked: Vec::new(),
            annotations,
        }
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &'d str {
        self.name
    }

    /// The place of the node's name.
    #[must_use]
    pub fn span(&self) -> Span {
        self.name_span
    }

    /// The place of the node's name and its first argument: what a person calls the object.
    #[must_use]
    pub fn title(&self) -> Span {
        let first = self.entries.iter().find(|entry| self.is_arg(entry)).map(|entry| span_of(self.document, entry.span()));
        match (self.place, first) {
            (Place::Property(span), _) => span,
            (Place::Node { .. }, Some(first)) if !self.document.text[self.name_span.range().end..first.range().end].contains('\n') => {
                Span::new(first.file, self.name_span.range().start, first.range().end)
            }
            _ => self.name_span,
        }
    }

    /// The names that the reader asked for so far.
    #[must_use]
    pub fn asked(&self) -> &[&'static str] {
        &self.asked
    }

    /// The place of the whole node with its children, without what ends it (`;`, newline). It is found by scanning the node's text: ask only when needed.
    #[must_use]
    pub fn whole_span(&self) -> Span {
        match self.place {
            Place::Property(span) => span,
            Place::Node { start } => Span::new(self.document.file, start, super::lex::node_end(&self.document.text, start)),
        }
    }

    /// Whether this is a property `x=V` that is read as a node.
    #[must_use]
    pub fn is_property(&self) -> bool {
        matches!(self.place, Place::Property(_))
    }

    /// Whether the node has a block of children that is not empty.
    #[must_use]
    pub fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    /// Allows the type annotations `(one)of these` on this node's values and on those of the children read from it; others are findings.
    pub fn allow_annotations(&mut self, annotations: &'static [&'static str]) {
        self.annotations = annotations;
    }

    /// The next positional argument. `what` completes the message: `a name` gives "column needs a name".
    pub fn arg(&mut self, what: &str, f: &mut Findings) -> Option<Text> {
        let arg = self.opt_arg();
        if arg.is_none() {
            f.push(Finding::at(self.title(), format!("`{}` needs {what}", self.name)).label(format!("{what} is missing after this")));
        }
        arg
    }

    /// The next positional argument, if there is one.
    pub fn opt_arg(&mut self) -> Option<Text> {
        let index = self.free_args().next()?;
        self.used_entries[index] = true;
        Some(self.text(index))
    }

    /// All remaining positional arguments.
    pub fn args(&mut self) -> Vec<Text> {
        std::iter::from_fn(|| self.opt_arg()).collect()
    }

    /// The number of positional arguments that are not read yet.
    #[must_use]
    pub fn args_left(&self) -> usize {
        self.free_args().count()
    }

    /// The one value of the property `name=V` or of the child `name V`.
    pub fn value(&mut self, name: &'static str, f: &mut Findings) -> Option<Text> {
        let mut part = self.child(name, f)?;
        let value = part.arg("a value", f);
        part.finish(f);
        value
    }

    /// The values of the property `name=V` or of the child `name V W …`, at least one.
    pub fn values(&mut self, name: &'static str, f: &mut Findings) -> Option<Vec<Text>> {
        let mut part = self.child(name, f)?;
        let first = part.arg("at least one value", f);
        let mut values = part.args();
        part.finish(f);
        values.insert(0, first?);
        Some(values)
    }

    /// Whether the flag is set: a bare argument `name`, a bare child `name`, or `name=#true`.
    pub fn flag(&mut self, name: &'static str, f: &mut Findings) -> bool {
        self.opt_flag(name, f).unwrap_or(false)
    }

    /// Like [`Node::flag`]; nothing if the flag is not mentioned at all.
    pub fn opt_flag(&mut self, name: &'static str, f: &mut Findings) -> Option<bool> {
        let bare: Vec<usize> = self
            .free_args()
            .filter(|&index| {
                let entry = &self.entries[index];
                entry.ty().is_none() && entry.format().is_some_and(|format| format.value_repr == name)
            })
            .collect();
        let mut places: Vec<Span> = Vec::new();
        let mut set = None;
        for index in bare {
            self.used_entries[index] = true;
            places.push(span_of(self.document, self.entries[index].span()));
            set = Some(true);
        }
        for mut part in self.take_forms(name) {
            places.push(part.whole_or_name());
            let value = part.opt_arg();
            set = set.or(match &value {
                None => Some(true),
                Some(text) if text.spelling == Spelling::Boolean => Some(text.value == "true"),
                Some(text) => {
                    f.push(
                        Finding::at(text.span, format!("`{name}` is a flag: it is `#true` or `#false`"))
                            .label("not a boolean")
                            .help(format!("write `{name}=#true`, or `{name}=#false`")),
                    );
                    None
                }
            });
            part.finish(f);
        }
        self.only_once(name, &places, f);
        set
    }

    /// Whether `name=#true` or the bare child `name` is there. For nodes whose arguments are names or
    /// SQL, so that a bare word is never taken for the flag.
    pub fn property_flag(&mut self, name: &'static str, f: &mut Findings) -> bool {
        let Some(mut part) = self.child(name, f) else { return false };
        let value = part.opt_arg();
        part.finish(f);
        match value {
            None => true,
            Some(text) if text.spelling == Spelling::Boolean => text.value == "true",
            Some(text) => {
                f.push(
                    Finding::at(text.span, format!("`{name}` is a flag: it is `#true` or `#false`"))
                        .label("not a boolean")
                        .help(format!("write `{name}=#true`")),
                );
                false
            }
        }
    }

    /// Every value of the node and of the children that are no objects of their own: arguments,
    /// properties, and the arguments of childless or block children one level down.
    #[must_use]
    pub fn texts(&self) -> Vec<Text> {
        let mut texts: Vec<Text> = self.entries.iter().map(|entry| Text::of(self.document, entry)).collect();
        for child in self.children {
            texts.extend(child.entries().iter().map(|entry| Text::of(self.document, entry)));
        }
        texts
    }

    /// The integer of `name=1` or `name 1`.
    pub fn number(&mut self, name: &'static str, f: &mut Findings) -> Option<i64> {
        let value = self.value(name, f)?;
        let number = value.integer();
        if number.is_none() {
            let help = if value.value.parse::<i64>().is_ok() {
                format!("write it without quotes: `{name}={}`", value.value)
            } else {
                format!("write a number, as in `{name}=10`")
            };
            f.push(Finding::at(value.span, format!("`{name}` must be an integer")).label("not an integer").help(help));
        }
        number
    }

    /// The word of `name=word`, one of `allowed`.
    pub fn word(&mut self, name: &'static str, allowed: &[&str], f: &mut Findings) -> Option<Text> {
        let value = self.value(name, f)?;
        one_of(&value, name, allowed, f).then_some(value)
    }

    /// The one child `name`, or the property `name=V` as a node with one argument. Several are a finding; the first counts.
    pub fn child(&mut self, name: &'static str, f: &mut Findings) -> Option<Node<'d>> {
        let mut forms = self.take_forms(name);
        let places: Vec<Span> = forms.iter().map(Node::whole_or_name).collect();
        self.only_once(name, &places, f);
        if forms.is_empty() { None } else { Some(forms.remove(0)) }
    }

    /// All children `name` and properties `name=V`, each as a node: properties first, else in order.
    pub fn children(&mut self, name: &'static str) -> Vec<Node<'d>> {
        self.take_forms(name)
    }

    /// All children that are not used yet, in order, for a reader that dispatches on their names (see [`Node::unknown`]).
    pub fn rest(&mut self) -> Vec<Node<'d>> {
        let mut rest = Vec::new();
        for (used, child) in self.used_children.iter_mut().zip(self.children) {
            if !std::mem::replace(used, true) {
                rest.push(Node::new(self.document, child, self.annotations));
            }
        }
        rest
    }

    /// All remaining properties as (name, value), in order. A repeated one is a finding; the first counts.
    pub fn properties(&mut self, f: &mut Findings) -> Vec<(Text, Text)> {
        let mut properties: Vec<(Text, Text)> = Vec::new();
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            let Some(name) = entry.name().filter(|_| !self.used_entries[index] && !self.is_property()) else { continue };
            self.used_entries[index] = true;
            let name = Text {
                value: name.value().to_owned(),
                span: span_of(self.document, name.span()),
                annotation: None,
                spelling: if name.repr().is_some_and(|repr| repr.contains('"')) { Spelling::Quoted } else { Spelling::Word },
            };
            let value = self.text(index);
            self.check(entry, &value, f);
            match properties.iter().find(|(earlier, _)| earlier.value == name.value) {
                Some((earlier, _)) => f.push(twice(&name.value, self.name, earlier.span, name.span)),
                None => properties.push((name, value)),
            }
        }
        properties
    }

    /// Reports this node as one that its parent does not know; `candidates` are the names that would do. Instead of [`Node::finish`].
    pub fn unknown(self, parent: &str, candidates: &[&str], f: &mut Findings) {
        f.push(unknown(self.name_span, "", self.name, parent, candidates));
    }

    /// Reports what looks like a slip of something that the reader asked for. Instead of [`Node::finish`] where the reader gave up.
    pub fn slips(self, f: &mut Findings) {
        let properties = self.entries.iter().zip(&self.used_entries).filter(|(entry, used)| !**used && !self.is_arg(entry));
        let properties = properties.filter_map(|(entry, _)| entry.name()).map(|name| ("property ", name));
        let children = self.children.iter().zip(&self.used_children).filter(|(_, used)| !**used).map(|(child, _)| ("", child.name()));
        for (sort, name) in properties.chain(children) {
            if suggest(name.value(), &self.asked).is_some_and(|near| near != name.value()) {
                f.push(unknown(span_of(self.document, name.span()), sort, name.value(), self.name, &self.asked));
            }
        }
    }

    /// Reports what the reader did not ask for.
    pub fn finish(self, f: &mut Findings) {
        let node = self.name;
        if let Some(annotation) = self.annotation {
            f.push(annotated(span_of(self.document, annotation.span()), annotation.value(), &[]));
        }
        for (index, entry) in self.entries.iter().enumerate() {
            // A used property was checked where it was read.
            if self.used_entries[index] && !self.is_arg(entry) {
                continue;
            }
            let text = self.text(index);
            self.check(entry, &text, f);
            if self.used_entries[index] {
                continue;
            }
            match entry.name().filter(|_| !self.is_property()) {
                Some(name) => f.push(unknown(span_of(self.document, name.span()), "property ", name.value(), node, &self.asked)),
                None => f.push(self.unexpected(&text)),
            }
        }
        for (child, used) in self.children.iter().zip(&self.used_children) {
            if !used {
                f.push(unknown(span_of(self.document, child.name().span()), "", child.name().value(), node, &self.asked));
            }
        }
    }

    /// What no reader takes: KDL's null, infinities and NaN, and annotations that nobody allowed.
    fn check(&self, entry: &KdlEntry, text: &Text, f: &mut Findings) {
        if text.spelling == Spelling::Keyword {
            let word = &text.value;
            f.push(
                Finding::at(text.span, format!("`#{word}` has no meaning here"))
                    .help(format!("write `\"{word}\"` for the word, or leave it out")),
            );
        }
        if let Some(annotation) = text.annotation.as_deref().filter(|one| !self.annotations.contains(one)) {
            f.push(annotated(entry.ty().map_or(text.span, |ty| span_of(self.document, ty.span())), annotation, self.annotations));
        }
    }

    /// An argument that nobody asked for.
    fn unexpected(&self, text: &Text) -> Finding {
        let finding = Finding::at(text.span, format!("unexpected argument `{}` on {}", text.value, self.name)).label("not known here");
        match suggest(&text.value, &self.asked) {
            Some(same) if same == text.value => finding.help(format!("`{same}` needs a value: write `{same}=…`")),
            Some(near) => finding.help(format!("did you mean `{near}`?")),
            None => finding,
        }
    }

    fn is_arg(&self, entry: &KdlEntry) -> bool {
        entry.name().is_none() || self.is_property()
    }

    fn free_args(&self) -> impl Iterator<Item = usize> {
        (0..self.entries.len()).filter(|&index| !self.used_entries[index] && self.is_arg(&self.entries[index]))
    }

    fn text(&self, index: usize) -> Text {
        Text::of(self.document, &self.entries[index])
    }

    /// The place that names this part: the property, or the child's name.
    fn whole_or_name(&self) -> Span {
        match self.place {
            Place::Property(span) => span,
            Place::Node { .. } => self.name_span,
        }
    }

    /// Marks every property and child `name` as used and gives them as nodes.
    fn take_forms(&mut self, name: &'static str) -> Vec<Node<'d>> {
        if !self.asked.contains(&name) {
            self.asked.push(name);
        }
        let mut forms = Vec::new();
        if !self.is_property() {
            for (used, entry) in self.used_entries.iter_mut().zip(self.entries) {
                if !*used && entry.name().is_some_and(|one| one.value() == name) {
                    *used = true;
                    forms.push(Form::Property(entry));
                }
            }
        }
        for (used, child) in self.used_children.iter_mut().zip(self.children) {
            if !*used && child.name().value() == name {
                *used = true;
                forms.push(Form::Child(child));
            }
        }
        forms
            .into_iter()
            .map(|form| match form {
                Form::Property(entry) => Node::of_property(self.document, entry, self.annotations),
                Form::Child(child) => Node::new(self.document, child, self.annotations),
            })
            .collect()
    }

    fn only_once(&self, name: &str, places: &[Span], f: &mut Findings) {
        if let [first, more @ ..] = places {
            for second in more {
                f.push(twice(name, self.name, *first, *second));
            }
        }
    }
}

/// Whether `value` is one of the `allowed` words, else a finding with a suggestion. `name` is what it is a value of.
pub fn one_of(value: &Text, name: &str, allowed: &[&str], f: &mut Findings) -> bool {
    if allowed.contains(&value.value.as_str()) {
        return true;
    }
    let list = allowed.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let help = match suggest(&value.value, allowed) {
        Some(near) => format!("did you mean `{near}`? Possible are {list}"),
        None => format!("possible are {list}"),
    };
    let message =
        if name.contains(' ') { format!("`{}` is no {name}", value.value) } else { format!("`{name}` cannot be `{}`", value.value) };
    f.push(Finding::at(value.span, message).label("not one of the known words").help(help));
    false
}

/// The candidate that `word` was probably meant to be: equal up to case and `_`, or at most a third of its letters away.
#[must_use]
pub fn suggest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let word = plain(word);
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn span_of(document: &Document, span: miette::SourceSpan) -> Span {
    Span::new(document.file, span.offset(), span.offset() + span.len())
}

fn unknown(span: Span, sort: &str, name: &str, parent: &str, candidates: &[&str]) -> Finding {
    let near = suggest(name, candidates).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let place = if parent.starts_with("the ") { "at" } else { "on" };
    let finding = Finding::at(span, format!("unknown {sort}`{name}` {place} {parent}{near}")).label("not known here");
    if !near.is_empty() || candidates.is_empty() {
        return finding;
    }
    let list: Vec<String> = candidates.iter().take(MOST_CANDIDATES).map(|one| format!("`{one}`")).collect();
    finding.help(format!("possible are {}{}", list.join(", "), if list.len() < candidates.len() { ", …" } else { "" }))
}

fn twice(name: &str, node: &str, first: Span, second: Span) -> Finding {
    Finding::at(second, format!("`{name}` stands twice on {node}"))
        .label("a second time here")
        .other(first, "the first time here")
        .help("keep one of them")
}

fn annotated(span: Span, annotation: &str, allowed: &[&str]) -> Finding {
    let near = suggest(annotation, allowed).map(|near| format!("; did you mean `({near})`?")).unwrap_or_default();
    Finding::at(span, format!("unexpected type annotation `({annotation})`{near}")).help("leave it out")
}
