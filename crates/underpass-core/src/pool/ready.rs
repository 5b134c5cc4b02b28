//! A pool as one of many that are waited for: for a block of so many bytes.

use std::sync::Arc;

use super::Pool;
use crate::Result;
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::wait::Sleepers;

/// A pool, as those see it who need a block of so many bytes.
#[derive(Debug, Clone)]
pub struct ForBlock {
    /// Of which.
    pub pool: Arc<Pool>,
    /// Bytes.
    pub length: usize,
}

impl Ready for ForBlock {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.pool.words
    }

    /// One is free, or was a dead process's.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, mut watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let Self { pool, length } = self;
        if pool.has_free(*length) {
            return Ok(true);
        }
        if let Some(watch) = watch.as_deref_mut() {
            pool.announce(watch);
        }
        let me = kernel.me()?.process;
        while !pool.has_free(*length) {
            if !pool.reap(kernel, me, watch.as_deref_mut()) {
                return Ok(pool.has_free(*length));
            }
        }
        Ok(true)
    }
}
