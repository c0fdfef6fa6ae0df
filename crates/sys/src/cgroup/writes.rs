//! From limits to the list of values for files: pure, but for the files' present content, of which
//! the order depends.

use std::io;

use super::{Limits, writes_v1, writes_v2};

/// A value for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) controller: &'static str,
    pub(super) file: String,
    pub(super) value: String,
}

/// The content of a controller's file; absent when there is no such file.
pub(super) type Present<'a> = &'a dyn Fn(&'static str, &str) -> Option<String>;

/// The writes, in the order in which the kernel takes them.
pub(super) fn plan(limits: &Limits, v2: bool, present: Present<'_>) -> io::Result<Vec<Write>> {
    if limits.swappiness.is_some_and(|value| value > 100) {
        return refuse("memory swappiness must be between 0 and 100");
    }
    let mut writes = Writes { list: Vec::new(), present };
    if v2 {
        writes_v2::plan(&mut writes, limits)?
    } else {
        writes_v1::plan(&mut writes, limits)?
    }
    Ok(writes.list)
}

pub(super) fn refuse<T>(why: impl Into<String>) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, why.into()))
}

/// The list as it grows.
pub(super) struct Writes<'a> {
    list: Vec<Write>,
    present: Present<'a>,
}

impl Writes<'_> {
    pub(super) fn set(
        &mut self,
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) {
        self.list.push(Write { controller, file: file.into(), value: value.to_string() });
    }

    pub(super) fn maybe(
        &mut self,
        controller: &'static str,
        file: &str,
        value: Option<impl ToString>,
    ) {
        if let Some(value) = value {
            self.set(controller, file, value);
        }
    }

    pub(super) fn read(&self, controller: &'static str, file: &str) -> Option<String> {
        (self.present)(controller, file).map(|text| text.trim().to_owned())
    }

    pub(super) fn number(&self, controller: &'static str, file: &str) -> Option<i64> {
        // A limit of version 1 that is none may be above what fits.
        self.read(controller, file)?
            .parse::<u64>()
            .ok()
            .map(|n| i64::try_from(n).unwrap_or(i64::MAX))
    }

    pub(super) fn has(&self, controller: &'static str, file: &str) -> bool {
        self.read(controller, file).is_some()
    }

    /// Huge pages and their reservations, which fail early instead of with SIGBUS.
    pub(super) fn hugepages(&mut self, limits: &Limits, suffix: &str) {
        for page in &limits.hugepages {
            let plain = format!("hugetlb.{}.{suffix}", page.size);
            let reserved = format!("hugetlb.{}.rsvd.{suffix}", page.size);
            self.set("hugetlb", plain, page.limit);
            if self.has("hugetlb", &reserved) {
                self.set("hugetlb", reserved, page.limit);
            }
        }
    }

    pub(super) fn rdma(&mut self, limits: &Limits) {
        let number = |limit: Option<u32>| limit.map_or("max".to_owned(), |n| n.to_string());
        for rdma in &limits.rdma {
            let (handles, objects) = (number(rdma.handles), number(rdma.objects));
            let value = format!("{} hca_handle={handles} hca_object={objects}", rdma.device);
            self.set("rdma", "rdma.max", value);
        }
    }

    /// The burst has to be at most the quota at every moment: lowered before it, raised after it.
    pub(super) fn with_burst(
        &mut self,
        limits: &Limits,
        file: &str,
        quota: impl FnOnce(&mut Self),
    ) {
        let lowered = limits.cpu_burst.is_some_and(|burst| {
            let now = self.read("cpu", file).and_then(|text| text.parse::<u64>().ok());
            now.is_some_and(|now| burst < now)
        });
        if lowered {
            self.maybe("cpu", file, limits.cpu_burst);
        }
        quota(self);
        if !lowered {
            self.maybe("cpu", file, limits.cpu_burst);
        }
    }

    /// A group of `SCHED_IDLE` has no weight of its own: it stops being one before it gets a weight.
    pub(super) fn with_idle(&mut self, limits: &Limits, weight: impl FnOnce(&mut Self)) {
        if limits.cpu_idle == Some(0) {
            self.set("cpu", "cpu.idle", 0);
        }
        weight(self);
        if limits.cpu_idle != Some(0) {
            self.maybe("cpu", "cpu.idle", limits.cpu_idle);
        }
    }
}

/// `limit` may not be below what is used when the caller wants that checked.
pub(super) fn check_usage(writes: &Writes<'_>, limits: &Limits, file: &str) -> io::Result<()> {
    let Some(limit) = limits.memory.filter(|&limit| limits.check_before_update && limit > 0) else {
        return Ok(());
    };
    match writes.number("memory", file) {
        Some(usage) if limit <= usage => {
            refuse(format!("memory limit {limit} is not above the present usage of {usage} bytes"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// The writes as `file=value`, on a host whose files have `content`.
    pub(in super::super) fn planned(
        limits: &Limits,
        v2: bool,
        content: &[(&str, &str)],
    ) -> Result<Vec<String>, String> {
        let present = |_: &'static str, file: &str| {
            content.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned())
        };
        let line = |write: Write| format!("{}={}", write.file, write.value);
        plan(limits, v2, &present)
            .map(|list| list.into_iter().map(line).collect())
            .map_err(|error| error.to_string())
    }
}
