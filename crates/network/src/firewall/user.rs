//! The administrator's chain: what it drops doesn't reach containers, whatever our rules say.
//!
//! Docker makes a chain `DOCKER-USER` in iptables' filter table and calls it first of all that is
//! forwarded; its rules are the administrator's. Ours are in tables of their own at the same hook,
//! where a packet has to be accepted by every table: a drop there is final, a return leads on to us.
//! So the chain only has to be there and to be called. What is there already stays as it is.

use std::io;

use super::expression;
use super::message::{Attributes, attributes};
use super::nft::{GETCHAIN, GETRULE, NEWCHAIN, NEWRULE, NEWTABLE};
use super::nft::{chain_definition, named, transaction};
use super::table::{Action, Chain, Family, Hook, Point, Rule};
use crate::netlink::{CREATE, Connection, EXCLUSIVE};

/// iptables' names.
const TABLE: &str = "filter";
const FORWARD: &str = "FORWARD";
const CHAIN: &str = "DOCKER-USER";

const RULE_EXPRESSIONS: u16 = 4;
const EXPRESSION_DATA: u16 = 2;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CHAIN: u16 = 2;

/// Makes the chain and has it called, unless it is called already.
pub(crate) fn ensure(connection: &Connection, family: Family) -> io::Result<()> {
    let forwards = has_chain(connection, family, FORWARD)?;
    if forwards && is_called(connection, family)? {
        return Ok(());
    }
    let at = (family, TABLE);
    transaction(connection, |batch| {
        batch.push(NEWTABLE, CREATE, named(family, TABLE).as_bytes());
        if !forwards {
            let hook = Hook { kind: "filter", point: Point::Forward, priority: 0 };
            let chain = Chain { name: FORWARD, hook: Some(hook), rules: Vec::new() };
            // One that somebody made meanwhile must not lose its policy.
            batch.push(NEWCHAIN, CREATE | EXCLUSIVE, chain_definition(at, &chain).as_bytes());
        }
        let chain = Chain { name: CHAIN, hook: None, rules: Vec::new() };
        batch.push(NEWCHAIN, CREATE, chain_definition(at, &chain).as_bytes());
        let jump = Rule { matches: Vec::new(), action: Action::Jump(CHAIN) };
        let expressions = expression::of_rule(family, &jump);
        let rule = named(family, TABLE).text(2, FORWARD).nested(RULE_EXPRESSIONS, expressions);
        // Before all others.
        batch.push(NEWRULE, CREATE, rule.as_bytes());
    })
}

fn has_chain(connection: &Connection, family: Family, name: &str) -> io::Result<bool> {
    match connection.get(GETCHAIN, named(family, TABLE).text(3, name).as_bytes()) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a rule for what is forwarded leads to the chain, under whatever condition.
fn is_called(connection: &Connection, family: Family) -> io::Result<bool> {
    let request = named(family, TABLE).text(2, FORWARD);
    let rules = connection.dump(GETRULE, request.as_bytes())?;
    Ok(rules.iter().any(|rule| leads_to_chain(rule)))
}

fn leads_to_chain(rule: &[u8]) -> bool {
    let expressions = inner(Attributes::after_header(rule), RULE_EXPRESSIONS);
    attributes(expressions).any(|(_, expression)| {
        let verdict = [EXPRESSION_DATA, IMMEDIATE_DATA, DATA_VERDICT]
            .into_iter()
            .fold(expression, |bytes, kind| inner(bytes, kind));
        inner(verdict, VERDICT_CHAIN).strip_suffix(&[0]) == Some(CHAIN.as_bytes())
    })
}

/// What the first attribute of that kind holds; nothing without one.
fn inner(bytes: &[u8], wanted: u16) -> &[u8] {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map_or(&[], |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: Action) -> Vec<u8> {
        let rule = Rule { matches: Vec::new(), action };
        let expressions = expression::of_rule(Family::V4, &rule);
        let message = named(Family::V4, TABLE).text(2, FORWARD);
        message.nested(RULE_EXPRESSIONS, expressions).as_bytes().to_vec()
    }

    #[test]
    fn a_jump_to_the_chain_is_recognised() {
        assert!(leads_to_chain(&rule(Action::Jump(CHAIN))));
        assert!(!leads_to_chain(&rule(Action::Jump("DOCKER-USER-2"))));
        assert!(!leads_to_chain(&rule(Action::Drop)));
        assert!(!leads_to_chain(&[]));
    }
}
