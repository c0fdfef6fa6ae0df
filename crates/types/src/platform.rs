//! Platforms of images: `os/architecture[/variant]`, and which of several fits best.
//!
//! Names are normalised (`x86_64` is `amd64`, `aarch64` is `arm64/v8`), so two spellings of one
//! platform compare equal. A platform asked for by name matches strictly; the host's own also takes
//! the older variants of its architecture.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An operating system, an architecture and perhaps a variant of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Platform {
    /// Architecture by Go's name, such as `amd64`.
    pub architecture: String,
    /// Operating system by Go's name; Davit runs `linux` only.
    pub os: String,
    /// Variant of the architecture, such as `v8`; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// A platform of these parts, normalised.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "" => "linux".to_owned(),
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = architecture.to_ascii_lowercase();
        let (architecture, variant) = normalise(&architecture, &variant.to_ascii_lowercase());
        Self { architecture, os, variant }
    }

    /// The platform of this machine, with the x86-64 level of its processor.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, host_variant())
    }

    /// Parses `os`, `architecture`, `os/architecture` or `os/architecture/variant`.
    ///
    /// # Errors
    /// Empty or unknown parts, or too many of them.
    pub fn parse(text: &str) -> Result<Self> {
        let fine = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| fine(part)) {
            return Err(invalid(text, "components must be letters, digits, _, - and ."));
        }
        match parts.as_slice() {
            [os] if is_known_os(os) => Ok(Self::new(os, std::env::consts::ARCH, "")),
            [architecture] => {
                let platform = Self::new("linux", architecture, "");
                let known = is_known_architecture(&platform.architecture);
                known
                    .then_some(platform)
                    .ok_or_else(|| invalid(text, "unknown operating system or architecture"))
            }
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(invalid(text, "must have at most os/architecture/variant")),
        }
    }

    /// How well `candidate` serves a request for this platform: 0 is exact, larger is an older
    /// variant, `None` does not run.
    pub fn rank(&self, candidate: &Self) -> Option<u32> {
        let candidate = Self::new(&candidate.os, &candidate.architecture, &candidate.variant);
        if self.os != candidate.os {
            return None;
        }
        let wanted = level(&self.architecture, &self.variant);
        let offered = level(&candidate.architecture, &candidate.variant);
        if self.architecture == candidate.architecture {
            if self.variant == candidate.variant {
                return Some(0);
            }
            return match (wanted, offered) {
                (Some(wanted), Some(offered)) if offered <= wanted => Some(wanted - offered),
                _ => None,
            };
        }
        // 64-bit ARM runs the 32-bit kinds as well, as containerd allows it.
        if self.architecture == "arm64" && candidate.architecture == "arm" {
            return offered.map(|offered| 100u32.saturating_sub(offered));
        }
        None
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

fn invalid(text: &str, why: &str) -> Error {
    Error::invalid(format!("{text:?}: {why}: invalid platform"))
}

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le", variant) => ("ppc64le", variant),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// The variant as a number that grows with what the processor must be able to do.
fn level(architecture: &str, variant: &str) -> Option<u32> {
    let number = variant.strip_prefix('v').unwrap_or(variant);
    match (architecture, number) {
        ("amd64", "") => Some(1),
        ("arm64", "") => Some(80),
        ("arm64", number) => {
            let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
            Some(major.parse::<u32>().ok()? * 10 + minor.parse::<u32>().ok()?)
        }
        ("amd64" | "arm", number) => number.parse().ok(),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
fn host_variant() -> &'static str {
    macro_rules! has {
        ($($feature:tt),+) => { $(std::arch::is_x86_feature_detected!($feature))&&+ };
    }
    if !has!("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cmpxchg16b") {
        ""
    } else if !has!("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe") {
        "v2"
    } else if !has!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl") {
        "v3"
    } else {
        "v4"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn host_variant() -> &'static str {
    ""
}

fn is_known_os(name: &str) -> bool {
    matches!(
        name,
        "linux"
            | "windows"
            | "darwin"
            | "macos"
            | "freebsd"
            | "netbsd"
            | "openbsd"
            | "solaris"
            | "aix"
    )
}

fn is_known_architecture(name: &str) -> bool {
    matches!(
        name,
        "386"
            | "amd64"
            | "arm"
            | "arm64"
            | "ppc64"
            | "ppc64le"
            | "riscv64"
            | "s390x"
            | "loong64"
            | "mips64le"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_platform_are_equal() {
        for (text, shown) in [
            ("linux/x86_64", "linux/amd64"),
            ("x86_64", "linux/amd64"),
            ("linux/aarch64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
        ] {
            assert_eq!(Platform::parse(text).expect(text).to_string(), shown);
        }
        for bad in ["", "linux/", "a/b/c/d", "nonsense", "linux/am d64"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_newer_processor_takes_older_variants_but_not_the_reverse() {
        let rank = |wanted: &str, offered: &str| {
            let parse = |text: &str| Platform::parse(text).expect(text);
            parse(wanted).rank(&parse(offered))
        };
        assert_eq!(rank("linux/amd64/v3", "linux/amd64/v3"), Some(0));
        assert_eq!(rank("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(rank("linux/amd64", "linux/amd64/v2"), None);
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert!(rank("linux/arm64", "linux/arm/v7") < rank("linux/arm64", "linux/arm/v6"));
        assert_eq!(rank("linux/riscv64", "linux/riscv64"), Some(0));
        assert!(
            Platform::host().rank(&Platform::new("linux", std::env::consts::ARCH, "")).is_some()
        );
    }
}
