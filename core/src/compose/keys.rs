//! Which key a misspelt one was meant to be.

/// The known key that is nearest to `word`, if one is near enough to be meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let normal = normal(word);
    let limit = (normal.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|key| (distance(&normal, &self::normal(key)), *key))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, key)| key)
}

/// Lower case with `_` between words, so that `dependsOn` and `depends-on` are near.
fn normal(word: &str) -> String {
    let mut text = String::with_capacity(word.len() + 4);
    for (index, c) in word.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            text.push('_');
        }
        text.push(if c == '-' {
            '_'
        } else {
            c.to_ascii_lowercase()
        });
    }
    text
}

/// Edits between two words; swapped neighbours are one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn misspelt_keys_find_their_key() {
        let known = ["ports", "depends_on", "environment", "image", "volumes"];
        for (wrong, right) in [
            ("prots", "ports"),
            ("port", "ports"),
            ("dependsOn", "depends_on"),
            ("depends-on", "depends_on"),
            ("enviroment", "environment"),
            ("Image", "image"),
        ] {
            assert_eq!(nearest(wrong, &known), Some(right), "{wrong}");
        }
        assert_eq!(nearest("zebra", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
