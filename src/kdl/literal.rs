//! From a character of a string's value back to its place in the string's spelling.

/// The range of bytes in `source` (the spelling) of the word that starts at the character `offset` of `value`; nothing where escapes hide it.
pub(super) fn place(source: &str, value: &str, offset: usize) -> Option<(usize, usize)> {
    let at = value.char_indices().nth(offset).map_or(value.len(), |(at, _)| at);
    let start = if source == value { at } else { quoted(source, value, at)? };
    let rest = source.get(start..)?;
    let word = value.get(at..)?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum::<usize>();
    let length = if word == 0 { value.get(at..)?.chars().next().map_or(0, char::len_utf8) } else { word };
    rest.get(..length).map(|_| (start, start + length))
}

fn quoted(source: &str, value: &str, at: usize) -> Option<usize> {
    let hashes = source.len() - source.trim_start_matches('#').len();
    let inner = source.get(hashes..source.len().checked_sub(hashes)?)?;
    if hashes == 0 && inner.contains('\\') {
        return None;
    }
    if let Some(body) = inner.strip_prefix("\"\"\"").and_then(|body| body.strip_suffix("\"\"\"")) {
        return multi_line(body, value, at).map(|place| hashes + 3 + place);
    }
    let body = inner.strip_prefix('"')?.strip_suffix('"')?;
    (body == value).then_some(hashes + 1 + at)
}

/// `body` is what stands between the triple quotes: a newline, the indented lines, the indentation of the closing quotes.
fn multi_line(body: &str, value: &str, at: usize) -> Option<usize> {
    let prefix = body.rsplit('\n').next()?;
    let line_number = value[..at].matches('\n').count();
    let line_start = value[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let value_line = value[line_start..].split('\n').next()?;
    let source_line = body.split('\n').nth(line_number + 1)?;
    let source_start: usize = body.split('\n').take(line_number + 1).map(|line| line.len() + 1).sum();
    let dedented = source_line.strip_suffix('\r').unwrap_or(source_line).strip_prefix(prefix)?;
    (dedented == value_line).then_some(source_start + prefix.len() + at - line_start)
}
