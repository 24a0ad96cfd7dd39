//! What the tests of a removal's steps share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disposition, MoveTarget, NotRemoved, Staged, set_aside};
use crate::file::lease::Writers;
use crate::file::{Root, Settled};

/// A watched folder in a folder of its own.
pub(super) struct Scratch {
    pub(super) dir: tempfile::TempDir,
    pub(super) root: Arc<Root>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let watched = dir.path().join("watched");
        fs::create_dir_all(watched.join("sub")).unwrap();
        let root = Arc::new(Root::open(&watched).unwrap());
        Self { dir, root }
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    pub(super) fn write(&self, relative: &str, content: &str) -> Settled {
        fs::write(self.path(relative), content).unwrap();
        Settled::new(Arc::clone(&self.root), PathBuf::from(relative))
    }

    pub(super) fn read(&self, relative: impl AsRef<Path>) -> String {
        fs::read_to_string(self.root.path().join(relative)).unwrap()
    }
}

/// Opens, leases and sets aside, as an upload does, with something happening after the read.
pub(super) fn stage(settled: &Settled, then: impl FnOnce()) -> Result<Staged, NotRemoved> {
    let opened = settled.root.open_file(&settled.relative).unwrap();
    let Writers::None(lease) = opened.writers() else { panic!("nobody writes it") };
    let sha256 = opened.sha256().ok();
    then();
    set_aside(settled, &opened, Some(&lease), sha256)
}

/// Moves files to this folder.
pub(super) fn to(folder: &Path) -> Disposition {
    Disposition::MoveTo(Arc::new(MoveTarget::open(folder).unwrap()))
}
