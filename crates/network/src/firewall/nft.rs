//! Writes the table: a [`Ruleset`] as nf_tables' netlink messages, applied in one transaction.
//!
//! Each function makes a batch the kernel carries out as a whole or not at all. Every message asks
//! for an answer of its own, as kernels before 6.10 don't acknowledge the batch's end.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use super::entry::{self, Entry};
use super::expression;
use super::message::{Attributes, attributes};
use super::table::{Chain, Element, Family, Hook, Map, Point, Ruleset};
use crate::netlink::{APPEND, Batch, CREATE, Connection, NETLINK_NETFILTER};

// linux/netfilter/nfnetlink.h, nf_tables.h; names as there, without their prefixes.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
pub(super) const NEWTABLE: u16 = SUBSYSTEM << 8;
const GETTABLE: u16 = SUBSYSTEM << 8 | 1;
const DELTABLE: u16 = SUBSYSTEM << 8 | 2;
pub(super) const NEWCHAIN: u16 = SUBSYSTEM << 8 | 3;
pub(super) const GETCHAIN: u16 = SUBSYSTEM << 8 | 4;
pub(super) const NEWRULE: u16 = SUBSYSTEM << 8 | 6;
pub(super) const GETRULE: u16 = SUBSYSTEM << 8 | 7;
const DELRULE: u16 = SUBSYSTEM << 8 | 8;
const NEWSET: u16 = SUBSYSTEM << 8 | 9;
const NEWSETELEM: u16 = SUBSYSTEM << 8 | 12;
const GETSETELEM: u16 = SUBSYSTEM << 8 | 13;
const DELSETELEM: u16 = SUBSYSTEM << 8 | 14;
/// `NF_ACCEPT`, a chain's policy.
const ACCEPT: u32 = 1;
/// Everything in this module names its table by attribute 1.
const TABLE: u16 = 1;
const LIST_ELEM: u16 = 1;
const TABLE_USERDATA: u16 = 6;

/// Far below the 64 KiB an attribute can hold.
const ENTRIES_PER_MESSAGE: usize = 400;
/// How the maps are laid out; part of the table's comment.
const MAPS: &str = "published_at, published: hashes; published_ranges, open: ranges";

/// Whether a message of this kind tells that something was deleted.
pub(crate) fn is_deletion(kind: u16) -> bool {
    const DELCHAIN: u16 = SUBSYSTEM << 8 | 5;
    const DELSET: u16 = SUBSYSTEM << 8 | 11;
    matches!(kind, DELTABLE | DELCHAIN | DELRULE | DELSET | DELSETELEM)
}

/// The table that a message is about.
pub(crate) fn table_of(message: &[u8]) -> Option<String> {
    let mut all = attributes(Attributes::after_header(message));
    let (_, name) = all.find(|(kind, _)| *kind == TABLE)?;
    let text = name.strip_suffix(&[0]).unwrap_or(name);
    Some(String::from_utf8_lossy(text).into_owned())
}

/// A connection for this module's functions. To be kept: closing one waits for the kernel to clean
/// up after former transactions (about 10 ms). Not to be used after an error: a batch that failed
/// may leave answers unread.
pub(crate) fn connect() -> io::Result<Connection> {
    Connection::open(NETLINK_NETFILTER)
}

/// The comment of the table of that name, if there is one.
pub(crate) fn find(
    connection: &Connection,
    family: Family,
    table: &str,
) -> io::Result<Option<String>> {
    match connection.get(GETTABLE, named(family, table).as_bytes()) {
        Ok(answer) => Ok(Some(comment(&answer))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the table what `ruleset` says without touching elements that are right already.
///
/// A map that is replaced is empty for a moment on the packets' side, even inside a transaction:
/// range maps of concatenated keys publish their elements after the new rules are in force. So the
/// maps stay, and only what differs is changed. Rules have no such moment and are written anew.
pub(crate) fn update_table(connection: &Connection, ruleset: &Ruleset) -> io::Result<()> {
    if find(connection, ruleset.family, &ruleset.table)?.as_deref()
        != Some(layout(ruleset).as_str())
    {
        return replace_table(connection, ruleset);
    }
    let present = present_entries(connection, ruleset.family, &ruleset.table)?;
    let wanted: HashSet<Entry> = entries(&ruleset.elements).into_iter().collect();
    let surplus: Vec<Entry> = present.difference(&wanted).cloned().collect();
    let missing: Vec<Entry> = wanted.difference(&present).cloned().collect();
    let at = (ruleset.family, ruleset.table.as_str());
    transaction(connection, |batch| {
        push_entries(batch, DELSETELEM, 0, at, &surplus);
        for chain in &ruleset.chains {
            let all_rules = named(at.0, at.1).text(2, chain.name);
            batch.push(DELRULE, 0, all_rules.as_bytes());
        }
        push_rules(batch, ruleset);
        push_entries(batch, NEWSETELEM, CREATE, at, &missing);
    })
}

/// Makes the table what `ruleset` says; no packet sees anything in between.
pub(crate) fn replace_table(connection: &Connection, ruleset: &Ruleset) -> io::Result<()> {
    let at = (ruleset.family, ruleset.table.as_str());
    let table = named(at.0, at.1);
    let entries = entries(&ruleset.elements);
    transaction(connection, |batch| {
        // Deleting needs it to be there.
        batch.push(NEWTABLE, CREATE, table.as_bytes());
        batch.push(DELTABLE, 0, table.as_bytes());
        let comment = comment_data(&layout(ruleset));
        batch.push(NEWTABLE, CREATE, named(at.0, at.1).bytes(TABLE_USERDATA, &comment).as_bytes());
        for (id, map) in (1..).zip(ruleset.maps.iter().copied()) {
            let definition = named(at.0, at.1).append(&entry::map_definition(at.0, map, id));
            batch.push(NEWSET, CREATE, definition.as_bytes());
        }
        for chain in &ruleset.chains {
            batch.push(NEWCHAIN, CREATE, chain_definition(at, chain).as_bytes());
        }
        push_rules(batch, ruleset);
        push_entries(batch, NEWSETELEM, CREATE, at, &entries);
    })
}

/// Adds elements to the maps of an existing table.
pub(crate) fn add_elements(
    connection: &Connection,
    at: (Family, &str),
    elements: &[Element],
) -> io::Result<()> {
    transaction(connection, |batch| push_entries(batch, NEWSETELEM, CREATE, at, &entries(elements)))
}

/// Deletes elements of the maps.
pub(crate) fn delete_elements(
    connection: &Connection,
    at: (Family, &str),
    elements: &[Element],
) -> io::Result<()> {
    transaction(connection, |batch| push_entries(batch, DELSETELEM, 0, at, &entries(elements)))
}

/// Has the kernel carry out the messages that `fill` writes, all or none.
pub(super) fn transaction(
    connection: &Connection,
    fill: impl FnOnce(&mut Batch),
) -> io::Result<()> {
    let mut batch = Batch::default();
    let edge = Attributes::message(0, SUBSYSTEM);
    batch.push_silent(BATCH_BEGIN, 0, edge.as_bytes());
    fill(&mut batch);
    batch.push_silent(BATCH_END, 0, edge.as_bytes());
    connection.send_all(&batch)
}

fn push_rules(batch: &mut Batch, ruleset: &Ruleset) {
    let at = (ruleset.family, ruleset.table.as_str());
    for chain in &ruleset.chains {
        for rule in &chain.rules {
            let expressions = expression::of_rule(at.0, rule);
            let message = named(at.0, at.1).text(2, chain.name).nested(4, expressions);
            batch.push(NEWRULE, CREATE | APPEND, message.as_bytes());
        }
    }
}

fn push_entries(batch: &mut Batch, kind: u16, flags: u16, at: (Family, &str), entries: &[Entry]) {
    for map in Map::ALL {
        let own: Vec<&Entry> = entries.iter().filter(|entry| entry.map == map).collect();
        for some in own.chunks(ENTRIES_PER_MESSAGE) {
            let list = some.iter().fold(Attributes::default(), |list, entry| {
                list.nested(LIST_ELEM, entry.attributes())
            });
            let message = named(at.0, at.1).text(2, map.name()).nested(3, list);
            batch.push(kind, flags, message.as_bytes());
        }
    }
}

fn entries(elements: &[Element]) -> Vec<Entry> {
    elements.iter().map(Entry::of).collect()
}

/// What the table's maps hold now.
fn present_entries(
    connection: &Connection,
    family: Family,
    table: &str,
) -> io::Result<HashSet<Entry>> {
    let mut present = HashSet::new();
    for map in Map::ALL {
        let request = named(family, table).text(2, map.name());
        for answer in connection.dump(GETSETELEM, request.as_bytes())? {
            let lists =
                attributes(Attributes::after_header(&answer)).filter(|(kind, _)| *kind == 3);
            let elements = lists.flat_map(|(_, list)| attributes(list));
            present.extend(elements.filter_map(|(_, element)| Entry::parse(map, element)));
        }
    }
    Ok(present)
}

/// Names what can't be changed while the table stands: its maps and chains.
fn layout(ruleset: &Ruleset) -> String {
    let mut hasher = DefaultHasher::new();
    MAPS.hash(&mut hasher);
    for chain in &ruleset.chains {
        (chain.name, chain.hook).hash(&mut hasher);
    }
    format!("davit {:016x}", hasher.finish())
}

/// A comment as nft(8) writes and shows it: type 0, length, text and NUL.
fn comment_data(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).expect("a short text");
    [&[0, length], text.as_bytes(), &[0]].concat()
}

/// The comment in the kernel's description of a table; empty if it has none.
fn comment(table: &[u8]) -> String {
    let data =
        attributes(Attributes::after_header(table)).find(|(kind, _)| *kind == TABLE_USERDATA);
    let text = data.and_then(|(_, data)| data.get(2..data.len().checked_sub(1)?));
    text.map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

/// The start of every message: its table.
pub(super) fn named(family: Family, table: &str) -> Attributes {
    Attributes::message(family.number(), 0).text(TABLE, table)
}

/// The message that makes a chain, without its rules.
pub(super) fn chain_definition(at: (Family, &str), chain: &Chain) -> Attributes {
    let message = named(at.0, at.1).text(3, chain.name);
    let Some(Hook { kind, point, priority }) = chain.hook else { return message };
    let number = match point {
        Point::Prerouting => 0,
        Point::Forward => 2,
        Point::Output => 3,
        Point::Postrouting => 4,
    };
    let hook = Attributes::default().u32(1, number).bytes(2, &priority.to_be_bytes());
    message.nested(4, hook).u32(5, ACCEPT).text(7, kind)
}
