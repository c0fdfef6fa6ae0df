//! What the tests of this crate share: hand-made tars, and being told what they lack.

pub(crate) mod registry;

/// Whether the test may go on. Without root it says so and is skipped; under CI=true it fails.
pub(crate) fn needs_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    lacks(test, "root", is_root)
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
/// Whether `present`; if not, says what `test` lacks.
pub(crate) fn lacks(test: &str, what: &str, present: bool) -> bool {
    if !present {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!in_ci, "{test} needs {what}");
        eprintln!("skipped: {test} needs {what}");
    }
    present
}

/// Writes tars by hand: hostile ones are what libraries refuse to make.
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

struct Entry<'a> {
    name: &'a [u8],
    kind: u8,
    mode: u32,
    owner: (u64, u64),
    link: &'a [u8],
    device: (u32, u32),
    data: &'a [u8],
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            name: b"",
            kind: b'0',
            mode: 0o644,
            owner: (0, 0),
            link: b"",
            device: (0, 0),
            data: b"",
        }
    }
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    pub(crate) fn directory(self, name: &str, mode: u32) -> Self {
        self.add(Entry { name: name.as_bytes(), kind: b'5', mode, ..Entry::default() })
    }

    pub(crate) fn file(self, name: &str, mode: u32, data: &[u8]) -> Self {
        self.add(Entry { name: name.as_bytes(), mode, data, ..Entry::default() })
    }

    pub(crate) fn owned_file(self, name: &str, mode: u32, uid: u64, gid: u64, data: &[u8]) -> Self {
        let owner = (uid, gid);
        self.add(Entry { name: name.as_bytes(), mode, owner, data, ..Entry::default() })
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        let link = target.as_bytes();
        self.add(Entry { name: name.as_bytes(), kind: b'2', mode: 0o777, link, ..Entry::default() })
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Self {
        let link = target.as_bytes();
        self.add(Entry { name: name.as_bytes(), kind: b'1', link, ..Entry::default() })
    }

    pub(crate) fn device(self, name: &str, kind: u8, major: u32, minor: u32) -> Self {
        let device = (major, minor);
        self.add(Entry { name: name.as_bytes(), kind, device, ..Entry::default() })
    }

    /// PAX records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let digits = |length: usize| length.to_string().len();
            let mut length = rest + digits(rest);
            length = rest + digits(length);
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.add(Entry { name: b"pax", kind: b'x', data: &data, ..Entry::default() })
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }

    fn add(mut self, entry: Entry<'_>) -> Self {
        if entry.name.len() > 100 || entry.link.len() > 100 {
            let (name, link) = (entry.name, entry.link);
            let records = [("path", name), ("linkpath", link)];
            let long = records.iter().filter(|(_, value)| value.len() > 100).copied();
            self = self.pax(&long.collect::<Vec<_>>());
        }
        let mut head = [0_u8; 512];
        let mut put = |at: usize, room: usize, text: &[u8]| {
            let count = text.len().min(room);
            head[at..at + count].copy_from_slice(&text[..count]);
        };
        put(0, 100, entry.name);
        put(100, 8, format!("{:07o}", entry.mode).as_bytes());
        put(108, 8, format!("{:07o}", entry.owner.0).as_bytes());
        put(116, 8, format!("{:07o}", entry.owner.1).as_bytes());
        put(124, 12, format!("{:011o}", entry.data.len()).as_bytes());
        put(136, 12, format!("{:011o}", 1_500_000_000).as_bytes());
        put(148, 8, b"        ");
        put(156, 1, &[entry.kind]);
        put(157, 100, entry.link);
        put(257, 8, b"ustar\x0000");
        put(329, 8, format!("{:07o}", entry.device.0).as_bytes());
        put(337, 8, format!("{:07o}", entry.device.1).as_bytes());
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(entry.data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }
}
