//! What the configuration says of every process of the container: execution domain and memory policy.

use davit_types::oci::runtime::{
    Linux, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, MemoryPolicyFlagType,
    MemoryPolicyModeType,
};
use serde::{Deserialize, Serialize};

use super::config;
use super::schedule::number_list;
use crate::Failure;

/// Of every process of a container, also of one that is executed in it later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Domain {
    /// `PER_*` for `personality(2)`; absent: the caller's.
    pub personality: Option<u64>,
    /// Where its memory comes from; absent: the caller's.
    pub memory_policy: Option<MemoryPolicy>,
}

/// Arguments of `set_mempolicy(2)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*` with flags.
    pub mode: u32,
    /// Memory nodes.
    pub nodes: Vec<usize>,
}

impl MemoryPolicy {
    /// The nodes as the kernel reads them.
    pub(crate) fn mask(&self) -> Vec<u64> {
        let words = self.nodes.iter().max().map_or(0, |last| last / 64 + 1);
        let mut mask = vec![0; words];
        for node in &self.nodes {
            mask[node / 64] |= 1 << (node % 64);
        }
        mask
    }
}

impl Domain {
    pub(super) fn new(linux: &Linux) -> Result<Self, Failure> {
        Ok(Self {
            personality: linux.personality().as_ref().map(personality).transpose()?,
            memory_policy: linux.memory_policy().as_ref().map(memory_policy).transpose()?,
        })
    }
}

fn personality(wanted: &LinuxPersonality) -> Result<u64, Failure> {
    if let Some(flag) = wanted.flags().iter().flatten().next() {
        // The specification knows none yet.
        let text = format!("linux.personality: unknown flag {flag:?}");
        return Err(config("linux.personality", text));
    }
    Ok(match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

fn memory_policy(wanted: &LinuxMemoryPolicy) -> Result<MemoryPolicy, Failure> {
    const OBJECT: &str = "linux.memoryPolicy";
    let (mode, needs_nodes) = match wanted.mode() {
        MemoryPolicyModeType::MpolDefault => (0, Some(false)),
        // Without nodes: wherever the process runs.
        MemoryPolicyModeType::MpolPreferred => (1, None),
        MemoryPolicyModeType::MpolBind => (2, Some(true)),
        MemoryPolicyModeType::MpolInterleave => (3, Some(true)),
        MemoryPolicyModeType::MpolLocal => (4, Some(false)),
        MemoryPolicyModeType::MpolPreferredMany => (5, Some(true)),
        MemoryPolicyModeType::MpolWeightedInterleave => (6, Some(true)),
    };
    let nodes = number_list(wanted.nodes().as_deref().unwrap_or_default(), OBJECT)?;
    if needs_nodes.is_some_and(|needs| needs == nodes.is_empty()) {
        let verb = if nodes.is_empty() { "needs" } else { "takes no" };
        return Err(config(OBJECT, format!("linux.memoryPolicy: this mode {verb} nodes")));
    }
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    let flags = wanted.flags().iter().flatten().fold(0, |bits, entry| bits | flag(entry));
    Ok(MemoryPolicy { mode: mode | flags, nodes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn domain(linux: Value) -> Result<Domain, Failure> {
        let linux: Linux = serde_json::from_value(linux).expect("a configuration");
        Domain::new(&linux)
    }

    #[test]
    fn personality_and_memory_policy_are_numbers_for_the_kernel() {
        let planned = domain(json!({
            "personality": {"domain": "LINUX32"},
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0,65", "flags": ["MPOL_F_STATIC_NODES"]},
        }))
        .expect("a domain");
        assert_eq!(planned.personality, Some(8));
        let policy = planned.memory_policy.expect("a policy");
        assert_eq!((policy.mode, policy.mask()), (2 | 1 << 15, vec![1, 2]));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let cases = [
            (json!({"personality": {"domain": "LINUX", "flags": ["X"]}}), "unknown flag \"X\""),
            (json!({"memoryPolicy": {"mode": "MPOL_BIND"}}), "needs nodes"),
            (json!({"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}}), "takes no nodes"),
            (json!({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "a"}}), "invalid list"),
        ];
        for (linux, expected) in cases {
            let failure = domain(linux).expect_err(expected);
            assert!(failure.message.contains(expected), "{failure}");
        }
    }
}
