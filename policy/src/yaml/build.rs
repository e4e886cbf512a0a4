//! From the scanner's events to nodes.

use super::Limits;
use super::input::{Feed, Mark};
use super::node::{Node, Value};
use crate::diag::{Fault, codes};
use crate::source::Span;
use saphyr_parser::{Event, Input, Parser, ScalarStyle, ScanError};

/// How far back a fault looks for the bracket that it is inside of.
const BACK: usize = 64 << 10;

/// A parsed text, or a part of one.
pub(super) struct Part<'a> {
    /// The root; an empty scalar for a text without content.
    pub(super) root: Node<'a>,
    /// Where in the part the root's first token is; `None` without content.
    pub(super) start: Option<usize>,
    /// Whether the root is in brackets or braces.
    pub(super) flow: bool,
    /// Nodes in the tree.
    pub(super) nodes: usize,
}

/// Parses a whole text.
pub(super) fn parse<'a>(text: &'a str, base: u32, limits: &Limits) -> Result<Node<'a>, Fault> {
    part(text, base, limits, 0).map(|part| part.root)
}

/// Parses a text that stands for itself, as if it were `depth` collections deep.
pub(super) fn part<'a>(
    text: &'a str,
    base: u32,
    limits: &Limits,
    depth: usize,
) -> Result<Part<'a>, Fault> {
    let mark = Mark::new(limits.flow);
    let builder = Builder {
        text,
        base,
        limits,
        depth,
        cursor: Cursor { text, ascii: text.is_ascii(), char: 0, byte: 0 },
        nodes: 0,
        documents: 0,
        done: Vec::new(),
        open: Vec::new(),
        root: None,
    };
    if builder.cursor.ascii {
        builder.run(Parser::new(Feed::<true>::new(text, &mark)), &mark)
    } else {
        builder.run(Parser::new(Feed::<false>::new(text, &mark)), &mark)
    }
}

struct Builder<'a, 'l> {
    text: &'a str,
    base: u32,
    limits: &'l Limits,
    depth: usize,
    cursor: Cursor<'a>,
    nodes: usize,
    documents: usize,
    /// Finished nodes of the collections that are open.
    done: Vec<Node<'a>>,
    open: Vec<Open>,
    /// First byte of the root and whether it is in brackets.
    root: Option<(usize, bool)>,
}

/// A collection whose end has not come yet.
struct Open {
    /// Byte of its first token.
    start: usize,
    /// Index in `done` of its first node.
    first: usize,
    flow: bool,
    map: bool,
}

impl<'a> Builder<'a, '_> {
    fn run<T: Input>(mut self, events: Parser<'a, T>, mark: &Mark) -> Result<Part<'a>, Fault> {
        let mut last = 0;
        for event in events {
            if mark.was_passed() {
                return Err(self.too_long(last));
            }
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            let start = self.cursor.byte(span.start.index());
            let end = self.cursor.byte(span.end.index());
            mark.set(end.saturating_add(self.limits.flow));
            last = end;
            self.event(event, start, end)?;
        }
        if mark.was_passed() {
            return Err(self.too_long(last));
        }
        let nodes = self.nodes;
        let (start, flow) = self.root.unzip();
        let nothing = Node { span: self.span(0, 0), value: Value::Plain("") };
        let root = self.done.pop().unwrap_or(nothing);
        Ok(Part { root, start, flow: flow.unwrap_or(false), nodes })
    }

    fn event(&mut self, event: Event<'a>, start: usize, end: usize) -> Result<(), Fault> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.document(start, end),
            Event::Alias(_) => Err(self.refused("aliases", start, end)),
            Event::Scalar(text, style, anchor, tag) => {
                self.plain_node(anchor, tag.is_some(), start, end)?;
                self.scalar(&text, style, start, end)
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain_node(anchor, tag.is_some(), start, end)?;
                self.begin(start, end, false)
            }
            Event::MappingStart(anchor, tag) => {
                self.plain_node(anchor, tag.is_some(), start, end)?;
                self.begin(start, end, true)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(start);
                Ok(())
            }
        }
    }

    fn document(&mut self, start: usize, end: usize) -> Result<(), Fault> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(self.refused("several documents in one file", start, end));
        }
        let before = self.text.get(..start).unwrap_or("");
        if let Some(line) = before.lines().find(|line| line.starts_with('%')) {
            let at = before.find(line).unwrap_or(0);
            return Err(self.refused("directives", at, at + line.len()));
        }
        Ok(())
    }

    fn plain_node(&self, anchor: usize, tag: bool, start: usize, end: usize) -> Result<(), Fault> {
        if anchor != 0 {
            return Err(self.refused("anchors", start, end));
        }
        if tag {
            return Err(self.refused("tags", start, end));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        value: &str,
        style: ScalarStyle,
        start: usize,
        end: usize,
    ) -> Result<(), Fault> {
        if value.len() > self.limits.scalar {
            let message = format!(
                "a value of {} bytes; the limit is {} bytes",
                value.len(),
                self.limits.scalar
            );
            let span = self.span(start, start + 1);
            return Err(Fault::error(codes::TOO_LARGE, message).at(span, "begins here"));
        }
        let slice = |from: usize, to: usize| self.text.get(from..to);
        if value.is_empty() && style == ScalarStyle::Plain {
            return self.nothing(start);
        }
        let (end, value) = match style {
            ScalarStyle::Plain => match slice(start, end) {
                Some(text) if text == value => (end, Value::Plain(text)),
                _ => (end, Value::Owned(value.into())),
            },
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                let end = closing_quote(self.text, start).unwrap_or(end);
                match slice(start + 1, end.saturating_sub(1)) {
                    Some(text) if text == value => (end, Value::Quoted(text)),
                    _ => (end, Value::Owned(value.into())),
                }
            }
            ScalarStyle::Literal | ScalarStyle::Folded => {
                return Err(self.refused("block scalars", start, start));
            }
        };
        self.root.get_or_insert((start, false));
        self.count(start)?;
        let span = self.span(start, end);
        self.done.push(Node { span, value });
        Ok(())
    }

    /// A value that is not there. It is placed behind its key: where the scanner places it depends on
    /// what comes next.
    fn nothing(&mut self, start: usize) -> Result<(), Fault> {
        if self.next_is_key() {
            return Err(self.bad_key("nothing as key", start));
        }
        self.root.get_or_insert((start, false));
        self.count(start)?;
        let span = match (self.open.last(), self.done.last()) {
            (Some(parent), Some(key)) if parent.map => Span::new(key.span.end, key.span.end),
            _ => self.span(start, start),
        };
        self.done.push(Node { span, value: Value::Plain("") });
        Ok(())
    }

    /// Whether the next node is the key of a mapping.
    fn next_is_key(&self) -> bool {
        self.open.last().is_some_and(|parent| {
            parent.map && self.done.len().saturating_sub(parent.first).is_multiple_of(2)
        })
    }

    fn bad_key(&self, label: &str, start: usize) -> Fault {
        let fault = Fault::error(codes::YAML_FEATURE, "a key has to be a single value");
        fault.at(self.span(start, start + 1), label)
    }

    fn begin(&mut self, start: usize, end: usize, map: bool) -> Result<(), Fault> {
        let bracket = matches!(self.text.as_bytes().get(start), Some(b'[' | b'{'));
        let flow = bracket && end > start;
        self.root.get_or_insert((start, flow));
        self.count(start)?;
        if self.next_is_key() {
            return Err(self.bad_key("a list or mapping as key", start));
        }
        if self.depth + self.open.len() >= self.limits.depth {
            let message = format!("lists and mappings nested more than {} deep", self.limits.depth);
            let span = self.span(start, start + 1);
            return Err(Fault::error(codes::TOO_LARGE, message).at(span, ""));
        }
        self.open.push(Open { start, first: self.done.len(), flow, map });
        Ok(())
    }

    fn end(&mut self, close: usize) {
        let Some(open) = self.open.pop() else { return };
        let entries = self.done.split_off(open.first.min(self.done.len())).into_boxed_slice();
        let span = match (entries.first(), entries.last()) {
            (Some(first), Some(last)) if !open.flow => Span::new(first.span.start, last.span.end),
            _ => self.span(open.start, close + 1),
        };
        let value = if open.map { Value::Map(entries) } else { Value::List(entries) };
        self.done.push(Node { span, value });
    }

    fn count(&mut self, start: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            let message = format!("more than {} values in one file", self.limits.nodes);
            let span = self.span(start, start + 1);
            return Err(Fault::error(codes::TOO_LARGE, message).at(span, "from here on"));
        }
        Ok(())
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let place = |at: usize| {
            self.base.saturating_add(u32::try_from(at.min(self.text.len())).unwrap_or(u32::MAX))
        };
        Span::new(place(start), place(end))
    }

    fn refused(&self, what: &str, start: usize, end: usize) -> Fault {
        let fault = Fault::error(codes::YAML_FEATURE, format!("{what} are not used here"));
        fault.at(self.span(start, end.max(start + 1)), "")
    }

    fn too_long(&self, last: usize) -> Fault {
        let blank = |c: char| c.is_whitespace() || matches!(c, ',' | ':' | '-');
        let rest = self.text.get(last..).unwrap_or("");
        let at = last + rest.len() - rest.trim_start_matches(blank).len();
        let message = format!(
            "a value in brackets, braces or quotes of more than {} bytes",
            self.limits.flow
        );
        Fault::error(codes::TOO_LARGE, message)
            .at(self.span(at, at + 1), "begins here")
            .help("write long lists and mappings with one entry a line, without brackets")
    }

    /// The last bracket before a byte that seems not to be closed; quotes are not looked at.
    fn opening(&self, at: usize) -> Option<usize> {
        let mut closed = 0_usize;
        let before = self.text.as_bytes().get(at.saturating_sub(BACK)..at)?;
        for (place, byte) in (0..at).rev().zip(before.iter().rev()) {
            match byte {
                b']' | b'}' => closed += 1,
                b'[' | b'{' if closed == 0 => return Some(place),
                b'[' | b'{' => closed -= 1,
                _ => {}
            }
        }
        None
    }

    fn syntax(&mut self, error: &ScanError) -> Fault {
        let at = self.cursor.byte(error.marker().index());
        // An error at the end of the text is shown where the text ends, not lines further down.
        let at = at.min(self.text.trim_end().len());
        let width = self.text.get(at..).and_then(|t| t.chars().next()).map_or(1, char::len_utf8);
        let fault = Fault::error(codes::YAML_SYNTAX, "this is not valid YAML");
        let fault = fault.at(self.span(at, at + width), error.info());
        let opened = error.info().contains("flow").then(|| self.opening(at)).flatten();
        let fault = match opened {
            Some(open) => fault.at(self.span(open, open + 1), "opened here"),
            None => fault,
        };
        let line = self.text.get(..at).unwrap_or("").rsplit('\n').next().unwrap_or("");
        let rest = self.text.get(at..).unwrap_or("");
        if line.trim_matches(' ').starts_with('\t') || rest.starts_with('\t') {
            return fault.help("indent with blanks, not with tabs");
        }
        fault
    }
}

/// One past the quote that ends the scalar beginning at `start`.
fn closing_quote(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.get(start)?;
    let mut at = start + 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote => {
                if quote == b'\'' && bytes.get(at + 1) == Some(&quote) {
                    at += 2;
                } else {
                    return Some(at + 1);
                }
            }
            _ => at += 1,
        }
    }
}

/// Turns the scanner's positions, which count characters, into bytes. They come in rising order
/// but for a step back now and then, so walking from the last one is quick.
struct Cursor<'a> {
    text: &'a str,
    ascii: bool,
    char: usize,
    byte: usize,
}

impl Cursor<'_> {
    fn byte(&mut self, char: usize) -> usize {
        if self.ascii {
            return char.min(self.text.len());
        }
        while self.char < char {
            let Some(next) = self.text.get(self.byte..).and_then(|rest| rest.chars().next()) else {
                break;
            };
            self.char += 1;
            self.byte += next.len_utf8();
        }
        while self.char > char {
            let before = self.text.get(..self.byte).and_then(|text| text.chars().next_back());
            let Some(before) = before else { break };
            self.char -= 1;
            self.byte -= before.len_utf8();
        }
        self.byte
    }
}
