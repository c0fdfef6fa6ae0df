//! What becomes of a query: answered from the tables, asked for elsewhere, or refused. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use davit_monitor::resolver::Container;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::tables::{Service, Tables};

/// Seconds that an answer may be kept, as with Docker.
const TTL: u32 = 600;
/// What fits without EDNS.
const PLAIN_LIMIT: usize = 512;
/// What we accept over UDP.
const EDNS_LIMIT: u16 = 1232;

/// A query, and what is to be done about it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The answer, to be sent.
    Answer(Box<Message>),
    /// Ask the servers.
    Forward,
    /// It is no query.
    Ignore,
}

/// Decides about the query `bytes` of `container`. `turn` changes the order of several addresses.
pub(super) fn decide(tables: &Tables, container: &Container, bytes: &[u8], turn: usize) -> Verdict {
    let Ok(query) = Message::from_vec(bytes) else {
        return malformed(bytes);
    };
    if query.metadata.message_type != MessageType::Query {
        return Verdict::Ignore;
    }
    let ([question], OpCode::Query) = (query.queries.as_slice(), query.metadata.op_code) else {
        return refusal(&query, ResponseCode::NotImp);
    };
    let full = question.name().to_ascii().to_lowercase();
    let name = full.trim_end_matches('.').to_owned();
    if question.query_class() == DNSClass::IN {
        if question.query_type() == RecordType::SRV
            && let Some(services) = tables.services(container, &name)
        {
            let mut answer = respond(&query, ResponseCode::NoError);
            add_services(&mut answer, question.name(), services);
            return Verdict::Answer(Box::new(answer));
        }
        let found = match question.query_type() {
            RecordType::PTR => pointer(tables, container, &name, question.name()),
            kind => by_name(tables, container, &name, (question.name(), kind), turn),
        };
        if let Some(records) = found {
            let mut answer = respond(&query, ResponseCode::NoError);
            answer.answers = records;
            return Verdict::Answer(Box::new(answer));
        }
    }
    let is_single = !name.contains('.');
    if !container.forwards || (is_single && !container.forwards_single_labels) {
        // A name without a dot is then asked for again, with a domain: it is no error.
        let code = if container.forwards { ResponseCode::NoError } else { ResponseCode::ServFail };
        return refusal(&query, code);
    }
    Verdict::Forward
}

/// An answer of this kind to a query of ours that can't be answered otherwise.
pub(super) fn failure(bytes: &[u8], code: ResponseCode) -> Option<Message> {
    let query = Message::from_vec(bytes).ok()?;
    Some(respond(&query, code))
}

/// Bytes of an answer that fits what the client takes; over UDP a longer one is cut.
pub(super) fn encode(message: &Message, query: &[u8], is_udp: bool) -> Option<Vec<u8>> {
    let bytes = message.to_vec().ok()?;
    if is_udp && bytes.len() > udp_limit(query) {
        return message.truncate().to_vec().ok();
    }
    Some(bytes)
}

/// An answer of a server that is too long for the client, cut.
pub(super) fn fit(answer: Vec<u8>, query: &[u8]) -> Option<Vec<u8>> {
    if answer.len() <= udp_limit(query) {
        return Some(answer);
    }
    Message::from_vec(&answer).ok()?.truncate().to_vec().ok()
}

fn udp_limit(query: &[u8]) -> usize {
    let edns = Message::from_vec(query).ok().and_then(|query| query.edns);
    edns.map_or(PLAIN_LIMIT, |edns| usize::from(edns.max_payload()).max(PLAIN_LIMIT))
}

fn refusal(query: &Message, code: ResponseCode) -> Verdict {
    Verdict::Answer(Box::new(respond(query, code)))
}

fn respond(query: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = code;
    answer.queries.clone_from(&query.queries);
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_LIMIT);
        answer.set_edns(edns);
    }
    answer
}

fn malformed(bytes: &[u8]) -> Verdict {
    // With a header it can be answered; an answer never is.
    match bytes {
        [a, b, flags, _, _, _, _, _, _, _, _, _, ..] if flags & 0x80 == 0 => {
            let id = u16::from_be_bytes([*a, *b]);
            let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
            Verdict::Answer(Box::new(message))
        }
        _ => Verdict::Ignore,
    }
}

/// The records of a name; none of this kind for a name that is known is an answer, too.
fn by_name(
    tables: &Tables,
    container: &Container,
    name: &str,
    (asked, kind): (&Name, RecordType),
    turn: usize,
) -> Option<Vec<Record>> {
    let is_ours = matches!(
        kind,
        RecordType::A | RecordType::AAAA | RecordType::MX | RecordType::SRV | RecordType::ANY
    );
    if !is_ours {
        return None;
    }
    let mut addresses = tables.addresses(container, name)?;
    addresses.retain(|ip| match kind {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    });
    if !addresses.is_empty() {
        let by = turn % addresses.len();
        addresses.rotate_left(by);
    }
    Some(addresses.into_iter().map(|ip| address(asked, ip)).collect())
}

fn address(name: &Name, ip: IpAddr) -> Record {
    let data = match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    Record::from_rdata(name.clone(), TTL, data)
}

/// Who serves, and besides, their addresses.
fn add_services(answer: &mut Message, asked: &Name, services: Vec<Service>) {
    for Service { host, port, addresses } in services {
        let Ok(host) = Name::from_str(&format!("{host}.")) else { continue };
        let data = RData::SRV(SRV::new(0, 0, port, host.clone()));
        answer.answers.push(Record::from_rdata(asked.clone(), TTL, data));
        answer.additionals.extend(addresses.into_iter().map(|ip| address(&host, ip)));
    }
}

fn pointer(
    tables: &Tables,
    container: &Container,
    name: &str,
    asked: &Name,
) -> Option<Vec<Record>> {
    let target = tables.name_of(container, reverse(name)?)?;
    let target = Name::from_str(&format!("{target}.")).ok()?;
    Some(vec![Record::from_rdata(asked.clone(), TTL, RData::PTR(PTR(target)))])
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let reversed: Vec<&str> = labels.rsplit('.').collect();
        return reversed.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let digits: Vec<&str> = labels.rsplit('.').collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    let bits = u128::from_str_radix(&digits.concat(), 16).ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(bits)))
}

#[cfg(test)]
mod tests {
    use davit_monitor::resolver::{Endpoint, Ports};
    use hickory_proto::op::Query;

    use super::*;

    fn setting() -> (Tables, Container) {
        let mut tables = Tables::default();
        tables.set_endpoint(Endpoint {
            id: "e".into(),
            network: "n".into(),
            network_name: "net".into(),
            names: vec!["web".into(), "al".into()],
            addresses: vec!["10.0.0.2".parse().expect("one"), "10.0.0.3".parse().expect("one")],
            ports: vec![Ports { protocol: "tcp".into(), first: 80, last: 80 }],
        });
        let container = Container {
            networks: vec!["n".into()],
            forwards: true,
            forwards_single_labels: true,
            ..Container::default()
        };
        (tables, container)
    }

    fn query(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 77;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        message.to_vec().expect("bytes")
    }

    fn answered(container: &Container, name: &str, kind: RecordType) -> Option<Message> {
        let (tables, _) = setting();
        match decide(&tables, container, &query(name, kind), 1) {
            Verdict::Answer(message) => Some(*message),
            Verdict::Forward => None,
            Verdict::Ignore => panic!("it is a query"),
        }
    }

    #[test]
    fn known_names_are_answered_and_others_forwarded() {
        let (_, container) = setting();
        let web = answered(&container, "WEB.", RecordType::A).expect("known");
        assert_eq!((web.metadata.id, web.answers.len()), (77, 2));
        assert!(web.metadata.recursion_available && web.metadata.recursion_desired);
        assert_eq!(web.answers[0].name.to_ascii(), "WEB.", "as it was asked for");
        let first = web.answers[0].data.clone();
        assert_eq!(first, RData::A(A(Ipv4Addr::new(10, 0, 0, 3))), "in turn");
        let v6 = answered(&container, "web.net.", RecordType::AAAA).expect("known");
        assert_eq!(v6.metadata.response_code, ResponseCode::NoError);
        assert!(v6.answers.is_empty());
        let back = answered(&container, "2.0.0.10.in-addr.arpa.", RecordType::PTR).expect("known");
        let expected = RData::PTR(PTR(Name::from_str("web.net.").expect("a name")));
        assert_eq!(back.answers[0].data, expected);
        assert!(answered(&container, "example.com.", RecordType::A).is_none());
        assert!(answered(&container, "nosuch.", RecordType::A).is_none());
        assert!(answered(&container, "web.", RecordType::TXT).is_none());
    }

    #[test]
    fn ports_that_are_exposed_have_service_records() {
        let (_, container) = setting();
        let found = answered(&container, "_80._tcp.Web.", RecordType::SRV).expect("known");
        let host = Name::from_str("web.net.").expect("a name");
        assert_eq!(found.answers[0].data, RData::SRV(SRV::new(0, 0, 80, host.clone())));
        assert_eq!((found.answers.len(), found.additionals.len()), (1, 2));
        assert_eq!(found.additionals[0].name, host);
        let empty = answered(&container, "_81._tcp.web.", RecordType::SRV).expect("known");
        assert_eq!(empty.metadata.response_code, ResponseCode::NoError);
        assert!(empty.answers.is_empty());
        assert!(answered(&container, "_80._tcp.example.com.", RecordType::SRV).is_none());
    }

    #[test]
    fn without_servers_unknown_names_fail() {
        let (_, mut container) = setting();
        container.forwards_single_labels = false;
        let code = |container: &Container, name| {
            answered(container, name, RecordType::A).map(|message| message.metadata.response_code)
        };
        assert_eq!(code(&container, "nosuch."), Some(ResponseCode::NoError));
        assert_eq!(code(&container, "example.com."), None);
        container.forwards = false;
        assert_eq!(code(&container, "example.com."), Some(ResponseCode::ServFail));
        assert_eq!(code(&container, "web."), Some(ResponseCode::NoError));
    }

    #[test]
    fn long_answers_are_cut_for_udp_and_nonsense_is_refused() {
        let (mut tables, container) = setting();
        let addresses = (0..100).map(|n| IpAddr::V4(Ipv4Addr::new(10, 1, 0, n))).collect();
        tables.set_endpoint(Endpoint {
            id: "many".into(),
            network: "n".into(),
            network_name: "net".into(),
            names: vec!["many".into()],
            addresses,
            ports: Vec::new(),
        });
        let bytes = query("many.", RecordType::A);
        let Verdict::Answer(message) = decide(&tables, &container, &bytes, 0) else {
            panic!("known");
        };
        let cut = encode(&message, &bytes, true).expect("bytes");
        assert!(cut.len() <= 512 && Message::from_vec(&cut).expect("valid").metadata.truncation);
        let whole = encode(&message, &bytes, false).expect("bytes");
        assert_eq!(Message::from_vec(&whole).expect("valid").answers.len(), 100);
        let nonsense = [0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 255];
        assert!(matches!(decide(&tables, &container, &nonsense, 0), Verdict::Answer(_)));
        assert!(matches!(decide(&tables, &container, &nonsense[..5], 0), Verdict::Ignore));
    }

    #[test]
    fn reverse_names_are_read() {
        let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.d.f.ip6.arpa";
        assert_eq!(reverse(v6), "fd80::2".parse().ok());
        assert_eq!(reverse("4.3.2.1.in-addr.arpa"), "1.2.3.4".parse().ok());
        assert_eq!(reverse("3.2.1.in-addr.arpa"), None);
    }
}
