//! How an object that is used with another finds it again: by its file in the same space, and its nonce.

use pyo3::prelude::*;
use underpass_shm::header::Kind;

use super::Handle;
use crate::error::{is, plain};
use crate::space::Space;

impl Handle {
    /// What it is called in its space.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Refuses a closed handle, where the operation's own scheduling point is another object's.
    #[inline]
    pub fn refuse_closed(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_closed() {
            return Ok(());
        }
        Err(plain(py, "ClosedError", &format!("{}: this handle was closed here; open it anew to use it", self.title)))
    }

    /// Where an object lives that is to be used with it; none: in the lab.
    pub fn space(&self) -> Option<Space> {
        self.home.clone().map(|linux| Space { linux })
    }

    /// Both are in one space, or in one lab.
    pub fn is_beside(&self, space: &Space) -> bool {
        self.home.as_ref().is_some_and(|home| home.space().path() == space.linux.space().path())
    }

    /// Opens an object of the same space that its own words name: its file, nonce, and the life and pid of its creator.
    pub fn beside(&self, py: Python<'_>, file: &str, kind: Kind, nonce: u64, creator: (u32, u32)) -> PyResult<Self> {
        let opened = match (self.space(), &self.lab) {
            (None, Some(_)) => Self::open_in_lab(py, file, kind, nonce),
            (Some(space), _) => Self::open_file(py, &space, file, kind, nonce, creator),
            (None, None) => unreachable!("an object lives in the lab or in a space"),
        };
        opened.map_err(|error| {
            if !is(py, &error, "NotFoundError") {
                return error;
            }
            let why = error.value(py);
            let remedy = match self.name() {
                Some(_) => "; remove its name, Space.unlink(name), and create it anew",
                None => "",
            };
            let message = format!("{} not opened, since what it is used with is gone: {why}{remedy}", self.title);
            let gone = plain(py, "NotFoundError", &message);
            if let Ok(filename) = error.value(py).getattr("filename") {
                // An attribute of its own class: it takes any value.
                let _ = gone.value(py).setattr("filename", filename);
            }
            gone
        })
    }
}
