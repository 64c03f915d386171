//! Text of backends made safe to stand in a document.

/// The text with everything written out that cannot be seen: control characters, those that turn
/// the direction of writing, and those that no XML document may hold. Lines and tabs stay.
pub(super) fn visible(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

fn is_hidden(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_no_character = u32::from(c) & 0xfffe == 0xfffe || matches!(c, '\u{fdd0}'..='\u{fdef}');
    (c.is_control() && !matches!(c, '\n' | '\t')) || turns || is_no_character
}

/// Text between tags, or a quoted attribute, of HTML and XML alike.
pub(super) fn marked_up(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// The first line alone, for attributes: whoever reads them makes spaces of line ends.
pub(super) fn first_line(text: &str) -> String {
    let first = text.lines().find(|line| !line.trim().is_empty());
    marked_up(first.unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::{first_line, marked_up, visible};

    #[test]
    fn nothing_breaks_out_and_nothing_hides() {
        let bad = "</td><script>\u{0}\u{1b}[2J\u{85}\u{202e}\u{fffe}\r\n\t'\"&é";
        assert_eq!(
            marked_up(bad),
            "&lt;/td&gt;&lt;script&gt;\\u{0}\\u{1b}[2J\\u{85}\\u{202e}\\u{fffe}\\u{d}\n\t&#39;&quot;&amp;é"
        );
        assert_eq!(visible("plain ü 字\n"), "plain ü 字\n");
        assert_eq!(first_line("\n a < b\nmore"), "a &lt; b");
    }
}
