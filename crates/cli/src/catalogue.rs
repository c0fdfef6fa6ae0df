//! Every command under every name it has, in one table.

use std::future::Future;
use std::pin::Pin;

use clap::{ArgMatches, Args, Command};

use crate::commands::{container, image, network, system, volume};
use crate::failure::{Failure, Outcome};
use crate::session::Session;

/// One command: what it is called with and what it does.
///
/// The implementing struct holds the flags; its positional arguments are one field `operands: Vec<String>`.
pub(crate) trait Verb: Args + Sized + 'static {
    /// One line for lists and the help page.
    const ABOUT: &'static str;
    /// What follows the command's name in the usage line.
    const USAGE: &'static str;
    /// How many positional arguments it takes.
    const ARITY: Arity;

    /// Does it.
    fn run(self, session: &Session) -> impl Future<Output = Outcome>;
}

/// How many positional arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arity {
    /// None.
    None,
    /// Exactly this many.
    Exactly(usize),
    /// This many or more.
    AtLeast(usize),
    /// At most this many.
    AtMost(usize),
    /// Between these two, both included.
    Between(usize, usize),
}

impl Arity {
    /// What is wrong with `count` arguments, if anything.
    pub(crate) fn complaint(self, count: usize) -> Option<String> {
        let noun = |n: usize| if n == 1 { "argument" } else { "arguments" };
        match self {
            Self::None if count > 0 => Some("accepts no arguments".to_owned()),
            Self::Exactly(n) if count != n => Some(format!("requires {n} {}", noun(n))),
            Self::AtLeast(n) if count < n => Some(format!("requires at least {n} {}", noun(n))),
            Self::AtMost(n) if count > n => Some(format!("requires at most {n} {}", noun(n))),
            Self::Between(low, high) if !(low..=high).contains(&count) => {
                Some(format!("requires at least {low} and at most {high} {}", noun(high)))
            }
            _ => None,
        }
    }
}

/// A running command.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// A row of the table.
pub(crate) struct Entry {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// Other words for it.
    pub(crate) aliases: &'static [&'static str],
    /// One line of description.
    pub(crate) about: &'static str,
    /// What follows the name in the usage line.
    pub(crate) usage: &'static str,
    /// How many positional arguments.
    pub(crate) arity: Arity,
    /// Adds the flags to a clap command.
    pub(crate) augment: fn(Command) -> Command,
    /// Runs it with the parsed flags.
    pub(crate) run: for<'a> fn(&ArgMatches, &'a Session) -> Running<'a>,
}

impl Entry {
    const fn or(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    fn is_called(&self, word: &str) -> bool {
        self.name == word || self.aliases.contains(&word)
    }

    /// Whether two rows are one command under two names.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.about == other.about && self.usage == other.usage
    }
}

/// A noun with its verbs: `davit container ...`.
pub(crate) struct Group {
    /// The noun.
    pub(crate) name: &'static str,
    /// One line of description.
    pub(crate) about: &'static str,
    /// The verbs.
    pub(crate) entries: &'static [Entry],
}

const fn verb<T: Verb>(name: &'static str) -> Entry {
    Entry {
        name,
        aliases: &[],
        about: T::ABOUT,
        usage: T::USAGE,
        arity: T::ARITY,
        augment: T::augment_args,
        run: |matches, session| match T::from_arg_matches(matches) {
            Ok(verb) => Box::pin(verb.run(session)),
            Err(error) => {
                let failure = Failure::new(error.to_string());
                Box::pin(std::future::ready(Err(failure)))
            }
        },
    }
}

/// The commands that stand alone.
pub(crate) static TOP: &[Entry] = &[
    verb::<container::attach::Attach>("attach"),
    verb::<container::commit::Commit>("commit"),
    verb::<container::cp::Cp>("cp"),
    verb::<container::create::Create>("create"),
    verb::<container::diff::Diff>("diff"),
    verb::<system::events::Events>("events"),
    verb::<container::exec::Exec>("exec"),
    verb::<container::export::Export>("export"),
    verb::<image::history::History>("history"),
    verb::<image::ls::List>("images"),
    verb::<image::load::Import>("import"),
    verb::<system::info::Info>("info"),
    verb::<system::inspect::Inspect>("inspect"),
    verb::<container::kill::Kill>("kill"),
    verb::<image::load::Load>("load"),
    verb::<system::login::Login>("login"),
    verb::<system::login::Logout>("logout"),
    verb::<container::logs::Logs>("logs"),
    verb::<container::pause::Pause>("pause"),
    verb::<container::port::Port>("port"),
    verb::<container::ps::List>("ps"),
    verb::<image::pull::Pull>("pull"),
    verb::<image::push::Push>("push"),
    verb::<container::rename::Rename>("rename"),
    verb::<container::stop::Restart>("restart"),
    verb::<container::rm::Remove>("rm"),
    verb::<image::rm::Remove>("rmi"),
    verb::<container::run::Run>("run"),
    verb::<image::save::Save>("save"),
    verb::<container::start::Start>("start"),
    verb::<container::stats::Stats>("stats"),
    verb::<container::stop::Stop>("stop"),
    verb::<image::tag::Tag>("tag"),
    verb::<container::top::Top>("top"),
    verb::<container::pause::Unpause>("unpause"),
    verb::<container::update::Update>("update"),
    verb::<system::version::Version>("version"),
    verb::<container::wait::Wait>("wait"),
];

/// The management commands.
pub(crate) static GROUPS: &[Group] = &[
    Group { name: "container", about: "Manage containers", entries: CONTAINER },
    Group { name: "image", about: "Manage images", entries: IMAGE },
    Group { name: "network", about: "Manage networks", entries: NETWORK },
    Group { name: "system", about: "Manage the engine", entries: SYSTEM },
    Group { name: "volume", about: "Manage volumes", entries: VOLUME },
];

static CONTAINER: &[Entry] = &[
    verb::<container::attach::Attach>("attach"),
    verb::<container::commit::Commit>("commit"),
    verb::<container::cp::Cp>("cp"),
    verb::<container::create::Create>("create"),
    verb::<container::diff::Diff>("diff"),
    verb::<container::exec::Exec>("exec"),
    verb::<container::export::Export>("export"),
    verb::<container::inspect::Inspect>("inspect"),
    verb::<container::kill::Kill>("kill"),
    verb::<container::logs::Logs>("logs"),
    verb::<container::ps::List>("ls").or(&["list", "ps"]),
    verb::<container::pause::Pause>("pause"),
    verb::<container::port::Port>("port"),
    verb::<container::prune::Prune>("prune"),
    verb::<container::rename::Rename>("rename"),
    verb::<container::stop::Restart>("restart"),
    verb::<container::rm::Remove>("rm").or(&["remove"]),
    verb::<container::run::Run>("run"),
    verb::<container::start::Start>("start"),
    verb::<container::stats::Stats>("stats"),
    verb::<container::stop::Stop>("stop"),
    verb::<container::top::Top>("top"),
    verb::<container::pause::Unpause>("unpause"),
    verb::<container::update::Update>("update"),
    verb::<container::wait::Wait>("wait"),
];

static IMAGE: &[Entry] = &[
    verb::<image::history::History>("history"),
    verb::<image::load::Import>("import"),
    verb::<image::inspect::Inspect>("inspect"),
    verb::<image::load::Load>("load"),
    verb::<image::ls::List>("ls").or(&["list"]),
    verb::<image::prune::Prune>("prune"),
    verb::<image::pull::Pull>("pull"),
    verb::<image::push::Push>("push"),
    verb::<image::rm::Remove>("rm").or(&["remove"]),
    verb::<image::save::Save>("save"),
    verb::<image::tag::Tag>("tag"),
];

static NETWORK: &[Entry] = &[
    verb::<network::connect::Connect>("connect"),
    verb::<network::create::Create>("create"),
    verb::<network::connect::Disconnect>("disconnect"),
    verb::<network::inspect::Inspect>("inspect"),
    verb::<network::ls::List>("ls").or(&["list"]),
    verb::<network::rm::Prune>("prune"),
    verb::<network::rm::Remove>("rm").or(&["remove"]),
];

static SYSTEM: &[Entry] = &[
    verb::<system::check::Check>("check"),
    verb::<system::df::DiskUsage>("df"),
    verb::<system::events::Events>("events"),
    verb::<system::info::Info>("info"),
    verb::<system::prune::Prune>("prune"),
];

static VOLUME: &[Entry] = &[
    verb::<volume::create::Create>("create"),
    verb::<volume::inspect::Inspect>("inspect"),
    verb::<volume::ls::List>("ls").or(&["list"]),
    verb::<volume::rm::Prune>("prune"),
    verb::<volume::rm::Remove>("rm").or(&["remove"]),
];

/// Docker commands that Davit doesn't have yet; said so instead of "unknown".
static MISSING: &[&str] = &[
    "build",
    "builder",
    "buildx",
    "checkpoint",
    "commit",
    "compose",
    "config",
    "context",
    "import",
    "load",
    "login",
    "logout",
    "manifest",
    "node",
    "plugin",
    "push",
    "save",
    "search",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
];

/// What the words after the global flags name.
pub(crate) enum Named {
    /// A command, its full name, and how many words the name took.
    Command(&'static Entry, String, usize),
    /// A noun without a verb.
    Group(&'static Group),
}

/// Finds the command that `words` begin with.
pub(crate) fn find(words: &[String]) -> Result<Named, Failure> {
    let first = words.first().map(String::as_str).unwrap_or_default();
    if let Some(entry) = TOP.iter().find(|entry| entry.is_called(first)) {
        return Ok(Named::Command(entry, entry.name.to_owned(), 1));
    }
    let Some(group) = GROUPS.iter().find(|group| group.name == first) else {
        return Err(unknown(first));
    };
    match words.get(1).map(String::as_str) {
        None | Some("--help" | "-h" | "help") => Ok(Named::Group(group)),
        Some(word) => match group.entries.iter().find(|entry| entry.is_called(word)) {
            Some(entry) => Ok(Named::Command(entry, format!("{first} {}", entry.name), 2)),
            None if word.starts_with('-') => Err(Failure::new(format!(
                "unknown flag: {word}\n\nUsage:  davit {first}\n\nRun 'davit {first} --help' for more information"
            ))
            .with_code(crate::failure::CLI_ERROR)),
            None if MISSING.contains(&word) => Err(missing(&format!("{first} {word}"))),
            None => Err(Failure::new(format!(
                "davit: unknown command: davit {first} {word}\n\nUsage:  davit {first}\n\n\
                 Run 'davit {first} --help' for more information"
            ))),
        },
    }
}

fn unknown(word: &str) -> Failure {
    if MISSING.contains(&word) {
        return missing(word);
    }
    Failure::new(format!(
        "davit: unknown command: davit {word}\n\nRun 'davit --help' for more information"
    ))
}

fn missing(name: &str) -> Failure {
    Failure::new(format!("davit: 'davit {name}' is not supported by this version of davit"))
}
