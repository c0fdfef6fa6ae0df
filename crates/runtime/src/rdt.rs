//! Groups of the resctrl file system, through which the kernel shares out caches and memory bandwidth.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::failure::{Step, text};
use crate::plan::RdtPlan;

const STAGE: &str = "intelRdt";
const SCHEMATA: &str = "schemata";

/// The group of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rdt {
    directory: PathBuf,
    /// It was made for the container and goes with it.
    is_made: bool,
    /// Others may be in it.
    is_named: bool,
    /// Where the container is counted on its own.
    monitor: Option<PathBuf>,
}

impl Rdt {
    /// Where the container `id` is going to be, in the file system at `root`; nothing is made yet.
    pub(crate) fn new(plan: &RdtPlan, id: &str, root: Option<&Path>) -> Result<Self, Failure> {
        let object = plan.group.as_deref().unwrap_or_default();
        let root = root.ok_or_else(|| {
            let mut failure =
                text(STAGE, object, "linux.intelRdt: no resctrl file system is mounted");
            failure.hint = "the kernel has it on processors with RDT: mount -t resctrl resctrl \
                            /sys/fs/resctrl"
                .into();
            failure
        })?;
        let directory = plan.group.as_ref().map_or_else(|| root.to_owned(), |name| root.join(name));
        let exists = directory.is_dir();
        if exists && !plan.is_named {
            let message = format!("linux.intelRdt: the group {object} exists already");
            return Err(text(STAGE, object, message));
        }
        if !exists && plan.is_named && plan.schemata.is_empty() {
            let message =
                format!("linux.intelRdt: there is no group {object}, and no schemata for one");
            return Err(text(STAGE, object, message));
        }
        let monitor = plan.is_monitored.then(|| directory.join("mon_groups").join(id));
        Ok(Self { directory, is_made: !exists, is_named: plan.is_named, monitor })
    }

    /// Makes what isn't there, or finds that what is there is as it should be.
    pub(crate) fn make(&self, plan: &RdtPlan) -> Result<(), Failure> {
        let file = self.directory.join(SCHEMATA);
        let shown = file.to_string_lossy();
        if self.is_made {
            create(&self.directory)?;
            for schemata in &plan.schemata {
                fs::write(&file, schemata).step("write", &shown)?;
            }
        } else if !plan.schemata.is_empty() {
            let present = fs::read_to_string(&file).step("read", &shown)?;
            let wanted = plan.schemata.concat();
            if !covers(&present, &wanted) {
                let message = format!(
                    "linux.intelRdt: the group {} has other schemata than the configuration",
                    self.directory.display()
                );
                return Err(text(STAGE, &shown, message));
            }
        }
        self.monitor.as_deref().map_or(Ok(()), create)
    }

    /// Puts a process in, with what it starts later.
    pub(crate) fn join(&self, pid: i32) -> Result<(), Failure> {
        for directory in [Some(&self.directory), self.monitor.as_ref()].into_iter().flatten() {
            let file = directory.join("tasks");
            fs::write(&file, pid.to_string()).step("write", file.to_string_lossy())?;
        }
        Ok(())
    }

    /// Removes what was made, but no group that others have joined meanwhile.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        if let Some(monitor) = &self.monitor {
            remove(monitor)?;
        }
        let others = || {
            let tasks = fs::read_to_string(self.directory.join("tasks"));
            tasks.is_ok_and(|tasks| !tasks.trim().is_empty())
        };
        if !self.is_made || self.is_named && others() {
            return Ok(());
        }
        remove(&self.directory)
    }

    /// What its processes share in, a line for each resource.
    ///
    /// # Errors
    /// What reading says.
    pub fn schemata(&self) -> io::Result<String> {
        fs::read_to_string(self.directory.join(SCHEMATA))
    }

    fn change(&self, schema: &str) -> Result<(), Failure> {
        let file = self.directory.join(SCHEMATA);
        fs::write(&file, format!("{schema}\n")).step("write", file.to_string_lossy())
    }
}

/// Other shares, of the level 3 cache and of memory bandwidth, for the group of a container.
pub(crate) fn change(
    root: Option<&Path>,
    rdt: Option<&Rdt>,
    cache: Option<&str>,
    bandwidth: Option<&str>,
) -> Result<(), Failure> {
    let schemas =
        [("L3", "CAT: l3 cache schema", cache), ("MB", "MBA: memory bandwidth schema", bandwidth)];
    for (resource, name, schema) in schemas {
        let Some(schema) = schema else { continue };
        if !root.is_some_and(|root| root.join("info").join(resource).is_dir()) {
            return Err(text("update", resource, format!("Intel RDT/{name} is not enabled")));
        }
        let without = || {
            let message = "the container is in no group of Intel RDT (linux.intelRdt)";
            text("update", resource, message)
        };
        rdt.ok_or_else(without)?.change(schema)?;
    }
    Ok(())
}

/// Where the resctrl file system is mounted.
pub(crate) fn root() -> Result<Option<PathBuf>, Failure> {
    const TABLE: &str = "/proc/self/mountinfo";
    Ok(mounted(&fs::read_to_string(TABLE).step("read", TABLE)?))
}

fn mounted(table: &str) -> Option<PathBuf> {
    let mount = |line: &str| {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        // Of a part of it that is bound elsewhere the rest is missing.
        let is_whole = source.starts_with("resctrl ") && root == "/";
        is_whole.then(|| PathBuf::from(place.replace("\\040", " ")))
    };
    table.lines().find_map(mount)
}

/// Whether every domain of every line that is wanted has its value; later lines count.
fn covers(present: &str, wanted: &str) -> bool {
    let present = shares(present);
    shares(wanted).iter().all(|(domain, value)| present.get(domain) == Some(value))
}

/// `L3:0=7f0;1=1f` as shares of domains of resources.
fn shares(schemata: &str) -> BTreeMap<(String, String), String> {
    let mut shares = BTreeMap::new();
    for (resource, domains) in schemata.lines().filter_map(|line| line.split_once(':')) {
        for (domain, value) in domains.split(';').filter_map(|domain| domain.split_once('=')) {
            let key = (resource.trim().to_owned(), plain(domain));
            shares.insert(key, plain(value));
        }
    }
    shares
}

/// The kernel fills numbers with zeros or with spaces.
fn plain(number: &str) -> String {
    number.trim().trim_start_matches('0').to_ascii_lowercase()
}

fn create(directory: &Path) -> Result<(), Failure> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.step("create", directory.to_string_lossy()),
    }
}

fn remove(directory: &Path) -> Result<(), Failure> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.step("remove", directory.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory in the place of the file system; the kernel's files in a group are made by hand.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("davit-rdt-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("info/L3")).expect("a directory");
            Self(path)
        }

        fn group(&self, name: &str, schemata: &str) {
            fs::create_dir_all(self.0.join(name).join("mon_groups")).expect("a group");
            fs::write(self.0.join(name).join(SCHEMATA), schemata).expect("schemata");
            fs::write(self.0.join(name).join("tasks"), "").expect("tasks");
        }

        fn read(&self, file: &str) -> String {
            fs::read_to_string(self.0.join(file)).expect(file)
        }

        /// What the kernel does by itself when a group is removed.
        fn empty(&self, group: &str) {
            for file in [SCHEMATA, "tasks"] {
                fs::remove_file(self.0.join(group).join(file)).expect(file);
            }
        }

        fn rdt(&self, plan: &RdtPlan) -> Result<Rdt, Failure> {
            Rdt::new(plan, "c1", Some(&self.0))
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn plan(group: Option<&str>, is_named: bool, schemata: &[&str]) -> RdtPlan {
        RdtPlan {
            group: group.map(str::to_owned),
            is_named,
            schemata: schemata.iter().map(|text| (*text).to_owned()).collect(),
            is_monitored: false,
        }
    }

    #[test]
    fn a_group_of_its_own_is_made_changed_and_removed() {
        let fake = Fake::new("own");
        let plan = plan(Some("c1"), false, &["L3:0=f\n", "L3:0=3\n"]);
        let rdt = fake.rdt(&plan).expect("planned");
        assert!(!fake.0.join("c1").exists());
        rdt.make(&plan).expect("made");
        assert_eq!(rdt.schemata().expect("schemata"), "L3:0=3\n");
        rdt.join(42).expect("joined");
        assert_eq!(fake.read("c1/tasks"), "42");
        let again = fake.rdt(&plan).expect_err("taken");
        assert!(again.message.contains("the group c1 exists already"), "{again}");

        change(Some(&fake.0), Some(&rdt), Some("L3:0=1"), None).expect("changed");
        assert_eq!(fake.read("c1/schemata"), "L3:0=1\n");
        let failure = change(Some(&fake.0), Some(&rdt), None, Some("MB:0=10")).expect_err("no MB");
        assert!(failure.message.contains("memory bandwidth schema is not enabled"), "{failure}");
        let failure = change(Some(&fake.0), None, Some("L3:0=1"), None).expect_err("no group");
        assert!(failure.message.contains("in no group"), "{failure}");
        let failure = change(None, Some(&rdt), Some("L3:0=1"), None).expect_err("not mounted");
        assert!(failure.message.contains("l3 cache schema is not enabled"), "{failure}");

        fake.empty("c1");
        rdt.remove().expect("removed");
        rdt.remove().expect("gone already");
        assert!(!fake.0.join("c1").exists());
    }

    #[test]
    fn a_named_group_that_exists_is_joined_if_it_is_as_wanted() {
        let fake = Fake::new("named");
        fake.group("gold", "    L3:0=07f;1=0ff\n    MB:0= 20;1=100\n");
        for wanted in [&[][..], &["L3:0=7F\nMB:0=20\n"], &["L3:1=1\n", "L3:1=ff\n"]] {
            let plan = plan(Some("gold"), true, wanted);
            fake.rdt(&plan).expect("planned").make(&plan).expect("as wanted");
        }
        for wanted in ["L3:0=7\n", "L2:0=7\n", "MB:2=10\n"] {
            let plan = plan(Some("gold"), true, &[wanted]);
            let failure = fake.rdt(&plan).expect("planned").make(&plan).expect_err(wanted);
            assert!(failure.message.contains("has other schemata"), "{failure}");
        }
        let mut plan = plan(Some("gold"), true, &[]);
        plan.is_monitored = true;
        let rdt = fake.rdt(&plan).expect("planned");
        rdt.make(&plan).expect("made");
        rdt.join(42).expect("joined");
        assert_eq!(fake.read("gold/tasks"), "42");
        assert_eq!(fake.read("gold/mon_groups/c1/tasks"), "42");
        fs::remove_file(fake.0.join("gold/mon_groups/c1/tasks")).expect("as the kernel does");
        rdt.remove().expect("removed");
        assert!(fake.0.join("gold").exists() && !fake.0.join("gold/mon_groups/c1").exists());
    }

    #[test]
    fn a_named_group_goes_with_the_last_process() {
        let fake = Fake::new("last");
        let failure = fake.rdt(&plan(Some("new"), true, &[])).expect_err("not there");
        assert!(failure.message.contains("there is no group new"), "{failure}");
        let plan = plan(Some("new"), true, &["L3:0=f\n"]);
        let rdt = fake.rdt(&plan).expect("planned");
        rdt.make(&plan).expect("made");
        fs::write(fake.0.join("new/tasks"), "43\n").expect("another container's");
        rdt.remove().expect("left");
        assert!(fake.0.join("new").exists());
        fake.empty("new");
        rdt.remove().expect("removed");
        assert!(!fake.0.join("new").exists());
    }

    #[test]
    fn everybodys_group_is_neither_made_nor_removed() {
        let fake = Fake::new("root");
        let plan = plan(None, true, &[]);
        let rdt = fake.rdt(&plan).expect("planned");
        rdt.make(&plan).expect("there");
        rdt.join(42).expect("joined");
        assert_eq!(fake.read("tasks"), "42");
        rdt.remove().expect("left");
        assert!(fake.0.exists());
        let failure = Rdt::new(&plan, "c1", None).expect_err("not mounted");
        assert!(failure.message.contains("no resctrl file system is mounted"), "{failure}");
    }

    #[test]
    fn the_file_system_is_found_in_the_table_of_mounts() {
        let table = "22 1 0:21 / /sys rw - sysfs sysfs rw\n\
                     40 22 0:50 /c1 /mnt rw shared:1 - resctrl resctrl rw\n\
                     41 22 0:50 / /sys/fs/resctrl rw shared:2 - resctrl resctrl rw\n";
        assert_eq!(mounted(table), Some("/sys/fs/resctrl".into()));
        assert_eq!(mounted(table.lines().next().expect("a line")), None);
    }
}
