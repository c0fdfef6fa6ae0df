//! The log as a reader of the file finds it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::frame::Stream::{Stderr, Stdout};

fn settings(path: PathBuf) -> Log {
    Log { path, max_size: None, max_files: 1, compress: false, attrs: BTreeMap::new() }
}

fn open_log(settings: Log) -> JsonLog {
    JsonLog::open(settings).expect("open the log")
}

/// Stream and text of every record.
fn records(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).expect("read the log");
    text.lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).expect("a record");
            let field = |name: &str| record[name].as_str().expect("a string").to_owned();
            assert!(field("time").ends_with('Z'));
            (field("stream"), field("log"))
        })
        .collect()
}

fn texts(path: &Path) -> Vec<String> {
    records(path).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn reads_are_cut_in_lines_wherever_they_end() {
    let table: [(&[&[u8]], &[&str]); 7] = [
        (&[b"one\ntwo\n"], &["one\n", "two\n"]),
        (&[b"o", b"ne\ntw", b"o\n"], &["one\n", "two\n"]),
        (&[b"\n\n"], &["\n", "\n"]),
        (&[b"no end"], &["no end"]),
        (&[b"a\nno", b" end"], &["a\n", "no end"]),
        (&["gr\u{fc}".as_bytes(), b"n\n"], &["gr\u{fc}n\n"]),
        (&[b"cut \xe4", b"\xb8\x96\n"], &["cut \u{4e16}\n"]),
    ];
    for (reads, expected) in table {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log");
        let mut log = open_log(settings(path.clone()));
        for read in reads {
            log.write(Stdout, read);
        }
        log.finish(Stdout);
        log.finish(Stderr);
        assert_eq!(texts(&path), expected);
    }
}

#[test]
fn long_lines_are_cut_in_partial_records() {
    let table = [
        (MAX_TEXT - 1, vec![MAX_TEXT]),
        (MAX_TEXT, vec![MAX_TEXT, 1]),
        (MAX_TEXT + 1, vec![MAX_TEXT, 2]),
        (5 * MAX_TEXT / 2, vec![MAX_TEXT, MAX_TEXT, MAX_TEXT / 2 + 1]),
    ];
    for (length, expected) in table {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log");
        let mut log = open_log(settings(path.clone()));
        let mut line = vec![b'x'; length];
        line.push(b'\n');
        for read in line.chunks(5000) {
            log.write(Stdout, read);
        }
        let texts = texts(&path);
        assert_eq!(texts.iter().map(String::len).collect::<Vec<_>>(), expected);
        assert!(texts.concat().into_bytes() == line, "the pieces are not the line");
    }
}

#[test]
fn a_cut_never_splits_a_character() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("log");
    let mut log = open_log(settings(path.clone()));
    let line = format!("a{}\n", "\u{1f980}".repeat(MAX_TEXT / 2));
    for read in line.as_bytes().chunks(16 * 1024) {
        log.write(Stdout, read);
    }
    assert!(texts(&path).concat() == line, "a character was lost");
}

#[test]
fn unfinished_lines_of_two_streams_do_not_mix() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("log");
    let mut log = open_log(settings(path.clone()));
    log.write(Stdout, b"out ");
    log.write(Stderr, b"err\n");
    log.write(Stdout, b"goes on\n");
    let expected = [("stderr", "err\n"), ("stdout", "out goes on\n")];
    let expected = expected.map(|(stream, text)| (stream.to_owned(), text.to_owned()));
    assert_eq!(records(&path), expected);
}

#[test]
fn it_rotates_when_an_entry_would_begin_beyond_the_size() {
    // Every record of one letter and a newline is longer than 60 bytes.
    type Row<'a> = (u32, &'a [&'a str], [Option<&'a str>; 3]);
    let table: [Row<'_>; 4] = [
        (1, &["a\n"], [Some("a\n"), None, None]),
        (1, &["a\n", "b\n"], [Some("b\n"), None, None]),
        (2, &["a\n", "b\n", "c\n"], [Some("c\n"), Some("b\n"), None]),
        (3, &["a\n", "b\n", "c\n", "d\n"], [Some("d\n"), Some("c\n"), Some("b\n")]),
    ];
    for (max_files, lines, expected) in table {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log");
        let settings = Log { max_size: Some(60), max_files, ..settings(path.clone()) };
        let mut log = open_log(settings);
        // All in one read: rotation must look at every entry.
        log.write(Stdout, lines.concat().as_bytes());
        let names = ["log", "log.1", "log.2"].map(|name| directory.path().join(name));
        for (name, expected) in names.iter().zip(expected) {
            let got = name.exists().then(|| texts(name).concat());
            assert_eq!(got.as_deref(), expected, "{max_files} files, {}", name.display());
        }
        assert!(!directory.path().join("log.3").exists());
    }
}

#[test]
fn an_existing_log_is_continued() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("log");
    for text in ["first\n", "second\n"] {
        open_log(settings(path.clone())).write(Stdout, text.as_bytes());
    }
    assert_eq!(texts(&path), ["first\n", "second\n"]);
}

#[test]
fn a_full_disk_loses_records_and_nothing_else() {
    // Writes to it fail with ENOSPC.
    let mut log = open_log(settings("/dev/full".into()));
    log.write(Stdout, b"lost\n");
    log.finish(Stdout);
}

#[test]
fn a_rotated_file_is_replaced_by_its_compressed_form() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("log.1");
    fs::write(&path, "text ".repeat(1000)).expect("write");
    rotate::compress(&path).expect("compress");
    assert!(!path.exists());
    let compressed = File::open(directory.path().join("log.1.gz")).expect("open");
    let text = io::read_to_string(flate2::read::GzDecoder::new(compressed)).expect("inflate");
    assert_eq!(text, "text ".repeat(1000));
}
