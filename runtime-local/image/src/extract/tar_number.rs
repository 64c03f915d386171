//! Numbers and records of tar headers; what could be read in two ways is refused.

use crate::error::{LayerProblem, shown};

/// An octal or base-256 field.
pub(crate) fn number(field: &[u8], what: &str) -> Result<i64, LayerProblem> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field, what),
        _ => octal(field, what),
    }
}

fn octal(field: &[u8], what: &str) -> Result<i64, LayerProblem> {
    let refused = || LayerProblem::format(format!("its {what} field is not a number"));
    let start = field.iter().position(|b| *b != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits
        .iter()
        .position(|b| matches!(b, 0 | b' '))
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if !rest.iter().all(|b| matches!(b, 0 | b' ')) {
        return Err(refused());
    }
    let mut value: i64 = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return Err(refused());
        }
        value = value.checked_mul(8).ok_or_else(refused)? + i64::from(digit - b'0');
    }
    Ok(value)
}

fn base_256(field: &[u8], what: &str) -> Result<i64, LayerProblem> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in field.iter().enumerate() {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = (value << 8) | i128::from(byte);
        if i64::try_from(value).is_err() {
            return Err(LayerProblem::format(format!(
                "its {what} field is too large"
            )));
        }
    }
    i64::try_from(value).map_err(|_| LayerProblem::format(format!("its {what} field is too large")))
}

/// Text up to the first NUL of a header field.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A decimal number of an extended header.
pub(crate) fn decimal(value: &[u8], what: &str) -> Result<u64, LayerProblem> {
    let refused = || LayerProblem::format(format!("its {what} record is not a number"));
    if value.is_empty() || value.len() > 20 || !value.iter().all(u8::is_ascii_digit) {
        return Err(refused());
    }
    let text = std::str::from_utf8(value).map_err(|_| refused())?;
    text.parse().map_err(|_| refused())
}

/// Seconds and nanoseconds of an extended header, for example `-1.25`.
pub(crate) fn time(value: &[u8]) -> Result<(i64, u32), LayerProblem> {
    let refused = || LayerProblem::format("its time record is not a number");
    let text = std::str::from_utf8(value).map_err(|_| refused())?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
        return Err(refused());
    }
    let seconds: i64 = whole.parse().map_err(|_| refused())?;
    let mut nanoseconds: u32 = 0;
    for digit in fraction.bytes().chain(std::iter::repeat(b'0')).take(9) {
        nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
    }
    match (negative, nanoseconds) {
        (false, _) => Ok((seconds, nanoseconds)),
        (true, 0) => Ok((-seconds, 0)),
        (true, _) => Ok((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

/// Keys and values of an extended header.
pub(crate) type Records<'a> = Vec<(&'a [u8], &'a [u8])>;

/// The records of an extended header: `length key=value newline`, nothing else.
pub(crate) fn records(mut data: &[u8]) -> Result<Records<'_>, LayerProblem> {
    let refused = || LayerProblem::format("an extended header before it is malformed");
    let mut records = Vec::new();
    while !data.is_empty() {
        let space = data
            .iter()
            .take(20)
            .position(|b| *b == b' ')
            .ok_or_else(refused)?;
        let length = decimal(&data[..space], "length").map_err(|_| refused())?;
        let length = usize::try_from(length).map_err(|_| refused())?;
        if length > data.len() || length < space + 3 || data[length - 1] != b'\n' {
            return Err(refused());
        }
        let record = &data[space + 1..length - 1];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(refused)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(refused());
        }
        let is_xattr = key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.");
        if value.contains(&0) && !is_xattr {
            let key = shown(key);
            return Err(LayerProblem::format(format!(
                "its {key} record has a NUL byte"
            )));
        }
        records.push((key, value));
        data = &data[length..];
    }
    Ok(records)
}
