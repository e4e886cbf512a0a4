//! A section of a document that a program writes, between two markers.
//!
//! Goes in: a text with markers, the section. Comes out: the text with the section in its place;
//! everything outside the markers stays as it is.

/// Stands before the section.
pub const BEGIN: &str = "<!-- classifier-bench: begin -->";
/// Stands after it.
pub const END: &str = "<!-- classifier-bench: end -->";

/// The text with `section` between the markers. A text without both of them, in this order, gets
/// them at its end.
#[must_use]
pub fn with_section(text: &str, section: &str) -> String {
    let section = format!("{BEGIN}\n{}\n{END}", section.trim_end());
    if let Some((before, rest)) = text.split_once(BEGIN)
        && let Some((_, after)) = rest.split_once(END)
    {
        return format!("{before}{section}{after}");
    }
    let text = text.trim_end();
    let gap = if text.is_empty() { "" } else { "\n\n" };
    format!("{text}{gap}{section}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_replaces_the_one_between_the_markers_and_nothing_else() {
        let text = format!("# Figures\n\nfirst\n\n{BEGIN}\nold\n{END}\n\n## Rest\n");
        let new = with_section(&text, "new\n");
        assert_eq!(new, format!("# Figures\n\nfirst\n\n{BEGIN}\nnew\n{END}\n\n## Rest\n"));
        assert_eq!(with_section(&new, "new"), new);
    }

    #[test]
    fn document_without_markers_gets_the_section_at_its_end() {
        assert_eq!(
            with_section("# Figures\n", "new"),
            format!("# Figures\n\n{BEGIN}\nnew\n{END}\n")
        );
        assert_eq!(with_section("", "new"), format!("{BEGIN}\nnew\n{END}\n"));
        let half = format!("text {END}");
        assert_eq!(with_section(&half, "new"), format!("text {END}\n\n{BEGIN}\nnew\n{END}\n"));
    }
}
