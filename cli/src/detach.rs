//! The keys that leave a session and let the program go on.

use std::str::FromStr;

/// A sequence of keys, as `ctrl-p,ctrl-q`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were the last bytes seen.
    seen: usize,
}

impl FromStr for DetachKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no sequence of keys: write it as `ctrl-p,ctrl-q` or `a,b`");
        let key = |word: &str| match word.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => {
                Ok(letter & 0x1f)
            }
            None => match word.as_bytes() {
                [byte] => Ok(*byte),
                _ => Err(wrong()),
            },
            Some(_) => Err(wrong()),
        };
        let keys = text
            .split(',')
            .map(key)
            .collect::<Result<Vec<u8>, String>>()?;
        Ok(Self { keys, seen: 0 })
    }
}

impl DetachKeys {
    /// What of these bytes goes to the program; the flag says whether the keys were among them.
    ///
    /// Keys of a sequence that has begun are held back until it is clear what they belong to.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut through = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte == self.keys[self.seen] {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    self.seen = 0;
                    return (through, true);
                }
                continue;
            }
            through.extend(&self.keys[..self.seen]);
            self.seen = usize::from(*byte == self.keys[0]);
            if self.seen == 0 {
                through.push(*byte);
            }
        }
        (through, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_found_across_reads_and_the_rest_passes() {
        let mut keys: DetachKeys = "ctrl-p,ctrl-q".parse().expect("keys");
        assert_eq!(keys.pass(b"ls\n"), (b"ls\n".to_vec(), false));
        assert_eq!(keys.pass(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.pass(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.pass(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.pass(b"\x11rest"), (Vec::new(), true));
        for bad in ["", "ctrl-", "ctrl-pp", "ab", "ctrl-p,", "ctrl-é"] {
            assert!(bad.parse::<DetachKeys>().is_err(), "{bad}");
        }
    }
}
