//! Answers of servers, kept for as long as they say.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsCode;
use hickory_proto::rr::{DNSClass, RData, RecordType};

const MOST: usize = 4096;
const LONGEST: Duration = Duration::from_secs(3600);
/// That there is nothing isn't believed for longer.
const LONGEST_NOTHING: Duration = Duration::from_secs(30);

/// Answers by what was asked.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The container, if its servers are its own.
    scope: Option<Rc<str>>,
    /// In lower case.
    name: String,
    kind: (RecordType, DNSClass),
    /// Whether somebody else is to be asked, and isn't to check signatures.
    recursion_and_checking: (bool, bool),
    /// Whether signatures are wanted; `None` without EDNS.
    dnssec: Option<bool>,
}

#[derive(Debug)]
struct Entry {
    answer: Message,
    since: Instant,
    until: Instant,
}

impl Cache {
    /// The answer to a query, with what is left of its time.
    pub(super) fn get(
        &self,
        scope: Option<&Rc<str>>,
        query: &[u8],
        now: Instant,
    ) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let entry = self.entries.get(&Key::new(scope.cloned(), &query)?)?;
        if now >= entry.until {
            return None;
        }
        let age = u32::try_from((now - entry.since).as_secs()).unwrap_or(u32::MAX);
        let mut answer = entry.answer.clone();
        let sections = [&mut answer.answers, &mut answer.authorities, &mut answer.additionals];
        for record in sections.into_iter().flatten() {
            record.ttl = record.ttl.saturating_sub(age);
        }
        answer.metadata.id = query.metadata.id;
        answer.queries = query.queries;
        answer.to_vec().ok()
    }

    /// Keeps an answer, if it may be.
    pub(super) fn put(&mut self, scope: Option<Rc<str>>, query: &[u8], bytes: &[u8], now: Instant) {
        let (Ok(mut answer), Ok(query)) = (Message::from_vec(bytes), Message::from_vec(query))
        else {
            return;
        };
        let (Some(key), Some(time)) = (Key::new(scope, &query), lifetime(&answer)) else { return };
        if let Some(edns) = &mut answer.edns {
            // Its options are for the one who asked.
            let mut plain = Edns::new();
            plain.set_max_payload(edns.max_payload()).set_dnssec_ok(edns.flags().dnssec_ok);
            *edns = plain;
        }
        if self.entries.len() >= MOST {
            self.entries.retain(|_, entry| now < entry.until);
        }
        if self.entries.len() >= MOST {
            self.entries.clear();
        }
        self.entries.insert(key, Entry { answer, since: now, until: now + time });
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

impl Key {
    /// `None` for what has no other answer than its own.
    fn new(scope: Option<Rc<str>>, query: &Message) -> Option<Self> {
        let [question] = query.queries.as_slice() else { return None };
        let is_harmless = |code: EdnsCode| matches!(code, EdnsCode::Cookie | EdnsCode::Padding);
        if let Some(edns) = &query.edns
            && !edns.options().options.iter().all(|(code, _)| is_harmless(*code))
        {
            return None;
        }
        let flags = &query.metadata;
        Some(Self {
            scope,
            name: name(question),
            kind: (question.query_type(), question.query_class()),
            recursion_and_checking: (flags.recursion_desired, flags.checking_disabled),
            dnssec: query.edns.as_ref().map(|edns| edns.flags().dnssec_ok),
        })
    }
}

fn name(question: &Query) -> String {
    question.name().to_ascii().to_lowercase()
}

/// How long an answer may be kept, if at all.
fn lifetime(answer: &Message) -> Option<Duration> {
    let header = &answer.metadata;
    let is_complete = !header.truncation && answer.signature.is_none();
    let code = header.response_code;
    if !is_complete || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let is_something = code == ResponseCode::NoError && !answer.answers.is_empty();
    let (seconds, longest) = if is_something {
        (answer.answers.iter().map(|record| record.ttl).min()?, LONGEST)
    } else {
        let ends = answer.authorities.iter().filter_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        (ends.min()?, LONGEST_NOTHING)
    };
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(longest))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::OpCode;
    use hickory_proto::rr::rdata::opt::EdnsOption;
    use hickory_proto::rr::rdata::{A, SOA};
    use hickory_proto::rr::{Name, Record};

    use super::*;

    #[test]
    fn answers_age_and_end() {
        let name = Name::from_str("example.com.").expect("a name");
        let mut query = Message::query();
        query.add_query(Query::query(name.clone(), RecordType::A));
        let mut answer = Message::response(1, OpCode::Query);
        answer.queries.clone_from(&query.queries);
        answer.add_answer(Record::from_rdata(name, 10, RData::A(A::new(1, 2, 3, 4))));
        let (query, answer) = (query.to_vec().expect("bytes"), answer.to_vec().expect("bytes"));
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert!(cache.get(None, &query, start).is_none());
        cache.put(None, &query, &answer, start);
        let again = cache.get(None, &query, start + Duration::from_secs(4)).expect("kept");
        let again = Message::from_vec(&again).expect("valid");
        assert_eq!(
            (again.metadata.id.to_be_bytes(), again.answers[0].ttl),
            ([query[0], query[1]], 6)
        );
        assert!(cache.get(None, &query, start + Duration::from_secs(10)).is_none());
        assert!(cache.get(Some(&Rc::from("c")), &query, start).is_none(), "of other servers");
    }
    fn asked(name: &str, option: Option<(u16, u8)>) -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
        if let Some((code, value)) = option {
            let mut edns = Edns::new();
            edns.options_mut().insert(EdnsOption::Unknown(code, vec![value; 8]));
            query.set_edns(edns);
        }
        query
    }

    #[test]
    fn cookies_and_capitals_make_no_difference_and_other_options_do() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let mut give = |query: &Message| {
            let mut answer = Message::response(query.metadata.id, OpCode::Query);
            answer.queries.clone_from(&query.queries);
            let name = query.queries[0].name().clone();
            answer.add_answer(Record::from_rdata(name, 10, RData::A(A::new(1, 2, 3, 4))));
            answer.edns.clone_from(&query.edns);
            let (query, answer) = (query.to_vec().expect("bytes"), answer.to_vec().expect("bytes"));
            cache.put(None, &query, &answer, now);
        };
        give(&asked("a.example.", Some((10, 1))));
        give(&asked("b.example.", Some((8, 1))));
        let get = |query: &Message| {
            let bytes = cache.get(None, &query.to_vec().expect("bytes"), now)?;
            Some(Message::from_vec(&bytes).expect("valid"))
        };
        let found = get(&asked("A.example.", Some((10, 2)))).expect("kept");
        assert_eq!(found.queries[0].name().to_ascii(), "A.example.");
        assert!(found.edns.expect("as asked").options().options.is_empty(), "another's cookie");
        assert!(get(&asked("a.example.", None)).is_none(), "without EDNS");
        assert!(get(&asked("b.example.", Some((8, 1)))).is_none(), "for one place");
    }

    #[test]
    fn that_there_is_nothing_is_kept_as_long_as_the_zone_says() {
        let zone = Name::from_ascii("example.").expect("a name");
        let nothing = |code, ttl, minimum| {
            let mut answer = Message::response(1, OpCode::Query);
            answer.metadata.response_code = code;
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 1, 1, 1, minimum);
            answer.authorities.push(Record::from_rdata(zone.clone(), ttl, RData::SOA(soa)));
            lifetime(&answer).map(|time| time.as_secs())
        };
        assert_eq!(nothing(ResponseCode::NXDomain, 20, 5), Some(5));
        assert_eq!(nothing(ResponseCode::NoError, 20, 500), Some(20));
        assert_eq!(nothing(ResponseCode::NXDomain, 900, 900), Some(30));
        assert_eq!(nothing(ResponseCode::ServFail, 20, 20), None);
        assert_eq!(lifetime(&Message::response(1, OpCode::Query)), None, "nobody says");
    }
}
