//! Elements of HTML and of the SVG inside it. Texts and values of attributes are escaped wherever
//! they come from; only the style sheet, which is part of this program, goes in as it is.

use std::fmt::{self, Display, Write};

/// Elements that have no end tag.
const VOID: [&str; 2] = ["meta", "br"];

/// Elements that stand within a line of text: no line break may be added after them.
const INLINE: [&str; 7] = ["a", "b", "code", "span", "strong", "text", "title"];

/// An element with what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    content: Vec<Content>,
}

#[derive(Clone, Debug)]
enum Content {
    Element(Element),
    Text(String),
    Verbatim(&'static str),
}

impl Element {
    /// An empty one.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new(), content: Vec::new() }
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }

    /// Names its class.
    pub(crate) fn class(self, name: impl Display) -> Self {
        self.with("class", name)
    }

    /// Adds text.
    pub(crate) fn text(mut self, text: impl Display) -> Self {
        self.content.push(Content::Text(text.to_string()));
        self
    }

    /// Adds an element.
    pub(crate) fn child(mut self, child: Self) -> Self {
        self.add(child);
        self
    }

    /// Adds elements.
    pub(crate) fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.content.extend(children.into_iter().map(Content::Element));
        self
    }

    /// Adds text of this program that must not be escaped.
    pub(crate) fn verbatim(mut self, text: &'static str) -> Self {
        self.content.push(Content::Verbatim(text));
        self
    }

    /// Adds an element in place.
    pub(crate) fn add(&mut self, child: Self) {
        self.content.push(Content::Element(child));
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(f, " {name}=\"{}\"", Escaped(value))?;
        }
        f.write_char('>')?;
        for content in &self.content {
            match content {
                Content::Element(element) => write!(f, "{element}")?,
                Content::Text(text) => write!(f, "{}", Escaped(text))?,
                Content::Verbatim(text) => f.write_str(text)?,
            }
        }
        if !VOID.contains(&self.name) {
            write!(f, "</{}>", self.name)?;
        }
        if INLINE.contains(&self.name) { Ok(()) } else { f.write_char('\n') }
    }
}

/// A text whose every character stands for itself, between tags and in quoted values.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // No text of HTML may have them.
                other if other.is_control() && !matches!(other, '\n' | '\t') => {
                    f.write_char('\u{fffd}')?;
                }
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_put_in_stays_text() {
        let hostile = "</p><script>alert('\"&amp;\")</script>\u{0}\u{1b}[1m";
        let element = Element::new("p").with("title", hostile).text(hostile);
        let escaped = "&lt;/p&gt;&lt;script&gt;alert(&#39;&quot;&amp;amp;&quot;)&lt;/script&gt;\
                       \u{fffd}\u{fffd}[1m";
        assert_eq!(element.to_string(), format!("<p title=\"{escaped}\">{escaped}</p>\n"));
    }

    #[test]
    fn elements_nest_and_void_ones_do_not_end() {
        let head = Element::new("head").child(Element::new("meta").with("charset", "utf-8"));
        let page = Element::new("html").child(head).child(Element::new("b").text(1));
        let expected = "<html><head><meta charset=\"utf-8\">\n</head>\n<b>1</b></html>\n";
        assert_eq!(page.to_string(), expected);
    }
}
