//! One record of the json-file log: `{"log":…,"stream":…,"attrs":…,"time":…}` and a newline.
//!
//! Strings are escaped as Docker does: `<`, `>`, `&`, U+2028 and U+2029 as `\uXXXX`, every byte that is
//! not UTF-8 as `\ufffd`, control characters except newline and carriage return as `\u00XX`.

use std::collections::BTreeMap;

use crate::clock;
use crate::frame::Stream;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte stands for itself inside a JSON string.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        table[byte] = !matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        byte += 1;
    }
    table
};

/// Appends a record. `tail` is made by [`tail`]; `newline` belongs to the text.
pub(crate) fn append(out: &mut Vec<u8>, text: &[u8], newline: bool, tail: &[u8]) {
    out.extend_from_slice(b"{\"log\":\"");
    append_escaped(out, text);
    if newline {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(tail);
}

/// Replaces `out` by everything that follows the text in the records of `stream` at the time `now`.
pub(crate) fn tail(out: &mut Vec<u8>, stream: Stream, attrs: &[u8], now: i64) {
    out.clear();
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.push(b'"');
    out.extend_from_slice(attrs);
    out.extend_from_slice(b",\"time\":\"");
    clock::append_rfc3339(out, now);
    out.extend_from_slice(b"\"}\n");
}

/// The `attrs` member with a comma before it; empty when there are none.
pub(crate) fn attrs(attrs: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in attrs {
        out.extend_from_slice(if out.is_empty() { b",\"attrs\":{\"" } else { b",\"" });
        append_escaped(&mut out, key.as_bytes());
        out.extend_from_slice(b"\":\"");
        append_escaped(&mut out, value.as_bytes());
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

fn append_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(position) = rest.iter().position(|&byte| !PLAIN[usize::from(byte)]) {
        out.extend_from_slice(&rest[..position]);
        rest = &rest[position..];
        if rest[0] < 0x80 {
            append_ascii(out, rest[0]);
            rest = &rest[1..];
        } else {
            let end = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
            append_non_ascii(out, &rest[..end]);
            rest = &rest[end..];
        }
    }
    out.extend_from_slice(rest);
}

fn append_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

fn append_non_ascii(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(position) = rest.find(['\u{2028}', '\u{2029}']) {
            out.extend_from_slice(&rest.as_bytes()[..position]);
            let last = rest.as_bytes()[position + 2];
            out.extend_from_slice(if last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            rest = &rest[position + 3..];
        }
        out.extend_from_slice(rest.as_bytes());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_docker_does() {
        let table: [(&[u8], &str); 12] = [
            (b"plain text", "plain text"),
            (b"", ""),
            (br#"say "hi" \o/"#, r#"say \"hi\" \\o/"#),
            (b"<a href='x'>&</a>", r"\u003ca href='x'\u003e\u0026\u003c/a\u003e"),
            (b"tab\there\r", r"tab\u0009here\r"),
            (b"\x1b[0m\0\x7f", "\\u001b[0m\\u0000\x7f"),
            ("grüße, 世界 🦀".as_bytes(), "grüße, 世界 🦀"),
            ("a\u{2028}b\u{2029}".as_bytes(), r"a\u2028b\u2029"),
            (b"bad \xff\xfe end", r"bad \ufffd\ufffd end"),
            (b"cut \xe4\xb8", r"cut \ufffd\ufffd"),
            (b"\xed\xa0\x80", r"\ufffd\ufffd\ufffd"),
            (b"\xc3\xa4\xc3(", "ä\\ufffd("),
        ];
        for (text, expected) in table {
            let mut out = Vec::new();
            append_escaped(&mut out, text);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
        }
    }

    #[test]
    fn a_record_has_the_members_in_dockers_order() {
        let labels = BTreeMap::from([
            ("tag".to_owned(), "a&b".to_owned()),
            ("env".to_owned(), "prod".to_owned()),
        ]);
        let (mut out, mut end) = (Vec::new(), Vec::new());
        tail(&mut end, Stream::Stderr, &attrs(&labels), 1_000_000_000);
        append(&mut out, b"x", true, &end);
        let expected = "{\"log\":\"x\\n\",\"stream\":\"stderr\",\"attrs\":{\"env\":\"prod\",\
                        \"tag\":\"a\\u0026b\"},\"time\":\"1970-01-01T00:00:01Z\"}\n";
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }
}
