//! As much of Markdown as the documents' rules need: sections, code blocks, code spans, links.

/// The text below a heading of the second level, up to the next of the same or a higher level.
#[must_use]
pub fn section<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    let mut start = None;
    let mut fenced = false;
    let mut place = 0;
    for line in text.split_inclusive('\n') {
        fenced ^= line.trim_start().starts_with("```");
        let is_heading = !fenced && (line.starts_with("# ") || line.starts_with("## "));
        if is_heading {
            if let Some(start) = start {
                return Some(&text[start..place]);
            }
            if line.trim() == heading {
                start = Some(place + line.len());
            }
        }
        place += line.len();
    }
    start.map(|start| &text[start..])
}

/// The contents of fenced code blocks.
#[must_use]
pub fn code_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            match open.take() {
                Some(block) => blocks.push(block),
                None => open = Some(String::new()),
            }
        } else if let Some(block) = &mut open {
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}

/// The text without fenced code blocks, whose content is no prose.
#[must_use]
pub fn prose(text: &str) -> String {
    let mut fenced = false;
    let keep = text.split_inclusive('\n').filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    keep.collect()
}

/// The code spans of a piece of prose.
#[must_use]
pub fn code_spans(prose: &str) -> Vec<&str> {
    prose.split('`').skip(1).step_by(2).collect()
}

/// Symbols named as a bare link on a code span: `` [`Client::spawn`] ``.
#[must_use]
pub fn symbols(prose: &str) -> Vec<&str> {
    prose
        .split("[`")
        .skip(1)
        .filter_map(|rest| {
            let (symbol, after) = rest.split_once("`]")?;
            (!after.starts_with('(') && !symbol.contains('\n')).then_some(symbol)
        })
        .collect()
}

/// The targets of inline links.
#[must_use]
pub fn link_targets(prose: &str) -> Vec<&str> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "# T\n\n## One\n\na [`X::y`] and [`z`](z.md)\n```sh\n## not a heading\n```\n\n## Two\nb\n";

    #[test]
    fn a_section_ends_at_the_next_heading() {
        let one = section(PAGE, "## One").expect("a section");
        assert!(one.contains("not a heading") && !one.contains("## Two"));
        assert_eq!(code_blocks(one), ["## not a heading\n"]);
        assert_eq!(section(PAGE, "## Two"), Some("b\n"));
        assert_eq!(section(PAGE, "## Three"), None);
    }

    #[test]
    fn symbols_and_links_are_told_apart() {
        let prose = prose(PAGE);
        assert_eq!(symbols(&prose), ["X::y"]);
        assert_eq!(link_targets(&prose), ["z.md"]);
        assert_eq!(code_spans(&prose), ["X::y", "z"]);
        assert!(!prose.contains("not a heading"));
    }
}
