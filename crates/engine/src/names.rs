//! Names of containers: the rules, and the names of those who got none.

use davit_types::Result;

use crate::error;

const ADJECTIVES: &[&str] = &[
    "agile", "amber", "ample", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid",
    "cheerful", "clever", "cosy", "crisp", "curious", "daring", "deft", "eager", "earnest", "fair",
    "fearless", "fluent", "frank", "fresh", "gentle", "glad", "golden", "happy", "hardy", "honest",
    "humble", "jolly", "keen", "kind", "lively", "lucid", "lucky", "merry", "mellow", "modest",
    "neat", "nimble", "noble", "patient", "placid", "plucky", "polite", "proud", "prudent",
    "quick", "quiet", "ready", "robust", "serene", "sharp", "silent", "sincere", "smart", "steady",
    "sturdy", "sunny", "swift", "tidy", "tranquil", "trusty", "upbeat", "vivid", "warm", "wise",
    "witty",
];

/// People of the sea, of ships and of what is lifted onto them.
const SURNAMES: &[&str] = &[
    "amundsen",
    "anson",
    "archimedes",
    "barents",
    "beaufort",
    "bering",
    "bligh",
    "brunel",
    "cabot",
    "cartier",
    "cochrane",
    "columbus",
    "cook",
    "cousteau",
    "dampier",
    "davis",
    "diaz",
    "drake",
    "earle",
    "eriksson",
    "fitzroy",
    "flinders",
    "franklin",
    "frobisher",
    "fulton",
    "gilbert",
    "grenfell",
    "halley",
    "harrison",
    "hawkins",
    "heyerdahl",
    "hudson",
    "humboldt",
    "jellicoe",
    "jones",
    "laperouse",
    "macarthur",
    "magellan",
    "mahan",
    "maury",
    "mercator",
    "nansen",
    "nelson",
    "nemo",
    "otis",
    "parsons",
    "pytheas",
    "raleigh",
    "ross",
    "scoresby",
    "shackleton",
    "slocum",
    "tasman",
    "tharp",
    "torres",
    "vancouver",
    "vespucci",
    "wegener",
    "wilkes",
    "zheng",
];

/// Checks a name chosen by the user and takes off its leading slash.
pub(crate) fn check(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let first_fits = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest_fits = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first_fits && rest_fits && bare.len() > 1 {
        return Ok(bare);
    }
    Err(error::invalid_name(name))
}

/// A name made of two words picked by `random`.
pub(crate) fn generate(random: u64) -> String {
    let [adjectives, surnames] = [ADJECTIVES.len() as u64, SURNAMES.len() as u64];
    let adjective = ADJECTIVES[(random % adjectives) as usize];
    let surname = SURNAMES[(random / adjectives % surnames) as usize];
    format!("{adjective}_{surname}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rules() {
        for good in ["web", "/web", "a1", "A_b.c-d", "0x"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "-a", "_a", "a b", "a/b", "//ab", "é1"] {
            let error = check(bad).expect_err(bad);
            assert_eq!(
                error.to_string(),
                format!(
                    "Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
                )
            );
        }
        assert_eq!(check("/web").expect("valid"), "web");
    }

    #[test]
    fn generated_names_are_valid_and_differ() {
        for random in 0..(ADJECTIVES.len() as u64 * 2) {
            assert!(check(&generate(random)).is_ok());
        }
        assert_ne!(generate(0), generate(1));
        assert_ne!(generate(0), generate(ADJECTIVES.len() as u64));
    }
}
