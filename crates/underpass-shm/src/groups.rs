//! The control groups that a process is in, of either version: what is granted to a group is granted to all below it.

use std::path::{Path, PathBuf};

/// Where they are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// A group, as a controller has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    directory: PathBuf,
    /// Of the second version, where all controllers have one directory.
    pub is_unified: bool,
}

impl Group {
    /// What one of its files says.
    #[must_use]
    pub fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.directory.join(file)).ok()
    }

    /// The number that is all that a file says; none where it says `max`.
    #[must_use]
    pub fn number(&self, file: &str) -> Option<u64> {
        self.read(file)?.trim().parse().ok()
    }
}

/// Those of this process that a controller has, and their parents.
#[must_use]
pub fn of_this_process(controller: &str) -> Vec<Group> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    all(&groups, Path::new(ROOT), controller)
}

/// Those that `/proc/self/cgroup` says, under that root.
pub(crate) fn all(groups: &str, root: &Path, controller: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (base, is_unified) = match controllers {
            "" => (root.to_path_buf(), true),
            list if list.split(',').any(|name| name == controller) => (root.join(controller), false),
            _ => continue,
        };
        let group = base.join(path.trim_start_matches('/'));
        let levels = group.ancestors().take_while(|level| level.starts_with(&base));
        found.extend(levels.map(|level| Group { directory: level.to_path_buf(), is_unified }));
    }
    found
}
