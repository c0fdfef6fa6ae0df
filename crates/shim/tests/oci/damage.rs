//! Records that something else has damaged: what runs is still found, and nothing is lost from sight.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;
use rustix::fs::{CWD, FileType, Mode};

use crate::support::{Lab, is_foreign, lab};

type Damage = fn(&Path) -> Result<()>;

const DAMAGES: &[Damage] = &[
    |path| Ok(fs::write(path, "{")?),
    |path| Ok(fs::write(path, "")?),
    |path| Ok(fs::write(path, "[]")?),
    |path| Ok(fs::write(path, "null")?),
    |path| Ok(fs::write(path, "{}")?),
    |path| Ok(fs::write(path, [0, 255, 1])?),
    |path| Ok(fs::remove_file(path)?),
    |path| {
        fs::remove_file(path)?;
        Ok(fs::create_dir(path)?)
    },
    |path| {
        fs::remove_file(path)?;
        Ok(symlink("/no/such/file", path)?)
    },
    |path| {
        fs::remove_file(path)?;
        Ok(rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
    },
];

fn is_listed(lab: &Lab, id: &str) -> Result<bool> {
    let ids = lab.verb(&["list", "--quiet"])?.ok()?;
    Ok(ids.lines().any(|line| line == id))
}

#[test]
fn a_container_with_a_damaged_record_is_listed_and_deleted_with_all_that_runs() -> Result<()> {
    let test = "a_container_with_a_damaged_record_is_listed_and_deleted_with_all_that_runs";
    let Some(lab) = lab(test)? else { return Ok(()) };
    if is_foreign() {
        return Ok(());
    }
    for damage in DAMAGES {
        let bundle = lab.start(&["sleep", "1000"], |_| {})?;
        let directory = lab.root().join(&bundle.id);
        damage(&directory.join("state.json"))?;
        assert!(is_listed(&lab, &bundle.id)?);
        lab.verb(&["delete", &bundle.id])?.err()?;
        assert!(directory.exists() && !lab.cgroups_left().is_empty());
        lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
        assert_eq!(lab.leftovers()?, Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn nothing_is_removed_when_both_records_are_damaged() -> Result<()> {
    let Some(lab) = lab("nothing_is_removed_when_both_records_are_damaged")? else { return Ok(()) };
    if is_foreign() {
        return Ok(());
    }
    for damage in DAMAGES {
        let bundle = lab.start(&["sleep", "1000"], |_| {})?;
        let directory = lab.root().join(&bundle.id);
        let (first, second) = (directory.join("state.json"), directory.join("state.json.copy"));
        let (one, other) = (fs::read(&first)?, fs::read(&second)?);
        damage(&first)?;
        damage(&second)?;
        let text = lab.verb(&["delete", "--force", &bundle.id])?.err()?;
        assert!(text.contains(&*first.to_string_lossy()), "{text}");
        assert!(is_listed(&lab, &bundle.id)?);
        assert!(!lab.cgroups_left().is_empty());
        // Whoever mends it can have it deleted.
        for (path, bytes) in [(&first, one), (&second, other)] {
            if path.is_dir() {
                fs::remove_dir(path)?;
            } else if path.symlink_metadata().is_ok() {
                fs::remove_file(path)?;
            }
            fs::write(path, bytes)?;
        }
        lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
        assert_eq!(lab.leftovers()?, Vec::<String>::new());
    }
    Ok(())
}
