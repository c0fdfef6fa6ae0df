//! Content digests, written `algorithm:hex`.
//!
//! A value says what content should hash to; hashing is the job of whoever holds the bytes. Only
//! sha256 is made by Davit, the others are accepted because references and manifests may name them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{SHORT_LENGTH, hex};

/// A content digest, such as `sha256:e3b0…`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest with the 32 bytes that SHA-256 gave.
    pub fn from_sha256(hash: impl AsRef<[u8]>) -> Self {
        Self(format!("sha256:{}", hex(hash.as_ref())))
    }

    /// Checks and takes `algorithm:hex`.
    ///
    /// # Errors
    /// An unknown algorithm, or digits that do not fit it.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((algorithm, digits)) = text.split_once(':') else {
            return Err(Error::invalid("invalid checksum digest format"));
        };
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return Err(Error::invalid("unsupported digest algorithm")),
        };
        if digits.len() != length {
            return Err(Error::invalid("invalid checksum digest length"));
        }
        if !digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return Err(Error::invalid("invalid checksum digest format"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The part before the colon.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The digits after the colon.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, digits)| digits)
    }

    /// The first 12 digits, as `docker images` shows them.
    pub fn short(&self) -> &str {
        &self.hex()[..SHORT_LENGTH]
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_checked_against_their_algorithm() {
        let digest = Digest::from_sha256([0xab; 32]);
        assert_eq!(digest.short(), "abababababab");
        assert_eq!(Digest::parse(digest.as_str()).expect("its own text"), digest);
        assert!(Digest::parse(&format!("sha512:{}", "0".repeat(128))).is_ok());
        for (text, message) in [
            ("abc", "invalid checksum digest format"),
            ("md5:00", "unsupported digest algorithm"),
            ("sha256:00", "invalid checksum digest length"),
            (&format!("sha256:{}", "AB".repeat(32)), "invalid checksum digest format"),
        ] {
            assert_eq!(Digest::parse(text).expect_err("bad digest").message(), message, "{text}");
        }
    }
}
