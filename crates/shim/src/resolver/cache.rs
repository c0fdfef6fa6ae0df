//! Answers of servers, kept for as long as they say.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};

const MOST: usize = 4096;
const LONGEST: Duration = Duration::from_secs(3600);

/// Answers by who asked (for servers of its own) and the query without its number.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<(Option<Rc<str>>, Vec<u8>), Entry>,
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
        let [a, b, rest @ ..] = query else { return None };
        let entry = self.entries.get(&(scope.cloned(), rest.to_vec()))?;
        if now >= entry.until {
            return None;
        }
        let age = u32::try_from((now - entry.since).as_secs()).unwrap_or(u32::MAX);
        let mut answer = entry.answer.clone();
        let sections = [&mut answer.answers, &mut answer.authorities, &mut answer.additionals];
        for record in sections.into_iter().flatten() {
            record.ttl = record.ttl.saturating_sub(age);
        }
        answer.metadata.id = u16::from_be_bytes([*a, *b]);
        answer.to_vec().ok()
    }

    /// Keeps an answer, if it may be.
    pub(super) fn put(&mut self, scope: Option<Rc<str>>, query: &[u8], bytes: &[u8], now: Instant) {
        let (Ok(answer), Some(rest)) = (Message::from_vec(bytes), query.get(2..)) else { return };
        let is_good = answer.metadata.response_code == ResponseCode::NoError
            && !answer.metadata.truncation
            && answer.signature.is_none();
        let shortest = answer.answers.iter().map(|record| record.ttl).min();
        let (true, Some(seconds)) = (is_good, shortest.filter(|seconds| *seconds > 0)) else {
            return;
        };
        if self.entries.len() >= MOST {
            self.entries.retain(|_, entry| now < entry.until);
        }
        if self.entries.len() >= MOST {
            self.entries.clear();
        }
        let until = now + Duration::from_secs(seconds.into()).min(LONGEST);
        self.entries.insert((scope, rest.to_vec()), Entry { answer, since: now, until });
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::{OpCode, Query};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, Record, RecordType};

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
}
