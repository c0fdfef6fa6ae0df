//! Recognising the detach keys in a client's input.

/// Follows one client's input byte by byte. A prefix of the sequence is held back until it is known
/// whether the rest follows.
#[derive(Debug, Default)]
pub struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

/// What a piece of input came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Filtered {
    /// What the process shall get.
    pub input: Vec<u8>,
    /// The sequence was completed; what the client sent after it is dropped.
    pub detached: bool,
}

impl DetachKeys {
    /// Looks for `keys`; an empty sequence is never found.
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Whether there is a sequence to look for.
    pub fn is_active(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Takes the next piece of input.
    pub fn filter(&mut self, bytes: &[u8]) -> Filtered {
        let mut input = Vec::with_capacity(bytes.len() + self.matched);
        for &byte in bytes {
            if self.advance(byte, &mut input) {
                return Filtered { input, detached: true };
            }
        }
        Filtered { input, detached: false }
    }

    fn advance(&mut self, byte: u8, input: &mut Vec<u8>) -> bool {
        if !self.is_active() {
            input.push(byte);
            return false;
        }
        // The longest part of the sequence that the input ends with may begin inside what is held.
        while self.keys[self.matched] != byte {
            let held = &self.keys[..self.matched];
            if held.is_empty() {
                input.push(byte);
                return false;
            }
            let keep = (0..held.len()).rev().find(|&keep| held.ends_with(&self.keys[..keep]));
            let keep = keep.unwrap_or(0);
            input.extend_from_slice(&held[..held.len() - keep]);
            self.matched = keep;
        }
        self.matched += 1;
        if self.matched < self.keys.len() {
            return false;
        }
        self.matched = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CTRL_P: u8 = 16;
    const CTRL_Q: u8 = 17;

    #[test]
    fn the_sequence_is_found_and_everything_else_passes() {
        let default: &[u8] = &[CTRL_P, CTRL_Q];
        type Row<'a> = (&'a [u8], &'a [&'a [u8]], &'a [u8], bool);
        let table: [Row<'_>; 9] = [
            (default, &[b"ls\n"], b"ls\n", false),
            (default, &[&[CTRL_P, CTRL_Q]], b"", true),
            (default, &[&[CTRL_P], &[CTRL_Q], b"more"], b"", true),
            (default, &[b"a", &[CTRL_P], b"b"], &[b'a', CTRL_P, b'b'], false),
            (default, &[&[CTRL_P, CTRL_P, CTRL_Q]], &[CTRL_P], true),
            (default, &[&[CTRL_Q, CTRL_P]], &[CTRL_Q], false),
            (b"aab", &[b"aaab"], b"a", true),
            (b"abac", &[b"ababac-"], b"ab", true),
            (b"", &[&[CTRL_P, CTRL_Q]], default, false),
        ];
        for (keys, pieces, expected, detaches) in table {
            let mut matcher = DetachKeys::new(keys.to_vec());
            let mut got = Filtered { input: Vec::new(), detached: false };
            for piece in pieces {
                let filtered = matcher.filter(piece);
                got.input.extend(filtered.input);
                got.detached = filtered.detached;
                if got.detached {
                    break;
                }
            }
            assert_eq!((&got.input[..], got.detached), (expected, detaches), "{keys:?} {pieces:?}");
        }
    }
}
