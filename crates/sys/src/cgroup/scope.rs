//! How systemd names cgroups: a scope in a slice, and the directory that comes of it.

use std::io;

/// A scope unit and the slice it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `docker-4711.scope`.
    pub unit: String,
    /// `system.slice`.
    pub slice: String,
    /// `/system.slice/docker-4711.scope`, below the cgroup of the systemd that is asked.
    pub path: String,
}

impl Scope {
    /// Reads `SLICE:PREFIX:NAME`; without a slice it is `default_slice`.
    ///
    /// # Errors
    /// `InvalidInput` when it is written otherwise.
    pub fn parse(text: &str, default_slice: &str) -> io::Result<Self> {
        let invalid = |why: &str| {
            let text = format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} instead{why}"
            );
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(invalid(""));
        };
        if name.is_empty() || name.contains('/') || prefix.contains('/') {
            return Err(invalid(": no name of a unit"));
        }
        let slice = if slice.is_empty() { default_slice } else { slice };
        let above = expand_slice(slice).ok_or_else(|| invalid(": no name of a slice"))?;
        let unit = match prefix {
            _ if name.ends_with(".slice") => return Err(invalid(": a slice has no processes")),
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        let path = format!("{above}/{unit}");
        Ok(Self { unit, slice: slice.to_owned(), path })
    }
}

/// `/a.slice/a-b.slice` for `a-b.slice`: the dashes are levels. `-.slice` is the root.
fn expand_slice(slice: &str) -> Option<String> {
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty())?;
    if name == "-" {
        return Some(String::new());
    }
    if name.contains('/') || name.split('-').any(str::is_empty) {
        return None;
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Some(ends.map(|end| format!("/{}.slice", &name[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_in_slices_are_levels() {
        let path = |text| Scope::parse(text, "system.slice").map(|scope| scope.path).ok();
        assert_eq!(path(":docker:c1").as_deref(), Some("/system.slice/docker-c1.scope"));
        assert_eq!(
            path("a-b-c.slice:cri:c1").as_deref(),
            Some("/a.slice/a-b.slice/a-b-c.slice/cri-c1.scope")
        );
        assert_eq!(path("-.slice::c1").as_deref(), Some("/c1.scope"));
        for wrong in ["/a/b", "a.slice:b", "a:b:c", "a--b.slice:p:n", "a/b.slice:p:n", "a.slice:p:"]
        {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }
}
