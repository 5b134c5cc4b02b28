//! What a queue's verbs have in common: how they wait, what they say when they fail, and the verbs that come in two forms.

use std::fmt::Write as _;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::Error;
use underpass_core::kernel::Kernel;
use underpass_core::queue::{MOST_URGENT, Message};

use super::Queue;
use super::making::{Urgency, urgency};
use crate::bytes::{QUEUE, Source};
use crate::error::{Context, apart, raise};
use crate::lease::Lease;
use crate::loan::Loan;
use crate::number::Whole;
use crate::since::Since;
use crate::timeout::Timeout;

impl Queue {
    #[inline]
    pub fn kernel(&self) -> &dyn Kernel {
        self.handle.kernel()
    }

    pub fn failed(&self, py: Python<'_>, failed: &str, error: Error) -> PyErr {
        raise(py, &Context::of(&self.handle.title, failed), error)
    }

    #[cold]
    pub fn late(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: Error) -> PyErr {
        let holdings = self.core.holdings();
        let mut detail = format!("{} of {} queued", self.core.depth(), self.core.capacity());
        if let Some(oldest) = holdings.first() {
            let seconds = self.seconds_since(oldest.since);
            let pid = self.kernel().pid(oldest.process);
            let _ = write!(detail, ", {} at work, the oldest by pid {pid} for {seconds:.1} s", holdings.len());
        }
        raise(py, &Context { object: &self.handle.title, failed, time: timeout.text(), detail }, error)
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds for people to read")]
    pub(super) fn seconds_since(&self, time: u64) -> f64 {
        self.kernel().now().saturating_sub(time) as f64 / 1e9
    }

    #[inline]
    pub(super) fn put_for(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        priority: i64,
        front: bool,
        since: Option<&Since>,
        timeout: Timeout,
    ) -> PyResult<()> {
        self.handle.check(py)?;
        let priority = self.urgency(py, priority)?;
        let source = Source::new(data, QUEUE)?;
        self.have_room(py, "not put into", "put", timeout, source.as_slice().len())?;
        let put = |deadline| {
            let (kernel, data) = (self.kernel(), source.as_slice());
            if !front {
                return match since {
                    None => self.core.put(kernel, data, priority, deadline),
                    Some(since) => self.core.put_since(kernel, data, priority, since.core.resets()),
                };
            }
            let lent = self.core.loan_in_front(kernel, data.len(), priority, resets(since), deadline)?;
            let Some(ticket) = lent else { return Ok(()) };
            self.core.commit_front(kernel, &ticket, data, priority).inspect_err(|_| {
                // The room is not lost, though the message is refused, or a handler raised.
                apart(py, || drop(self.core.abandon(kernel, &ticket)));
            })
        };
        match timeout.within("put", put) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.late(py, "not put into", timeout, error)),
        }
    }

    pub(super) fn put_many_for(
        &self,
        py: Python<'_>,
        items: &Bound<'_, PyAny>,
        priority: i64,
        since: Option<&Since>,
        timeout: Timeout,
    ) -> PyResult<()> {
        self.handle.check(py)?;
        let priority = self.urgency(py, priority)?;
        let sources = items.try_iter()?.map(|item| Source::new(&item?, QUEUE)).collect::<PyResult<Vec<_>>>()?;
        let slices: Vec<&[u8]> = sources.iter().map(Source::as_slice).collect();
        if !self.handle.is_plain() {
            let longest = slices.iter().map(|slice| slice.len()).max().unwrap_or(0);
            self.have_room(py, "took no message", "put_many", timeout, longest)?;
        }
        let (put, result) = match timeout.deadline("put_many") {
            Ok(deadline) => self.core.put_many(self.kernel(), &slices, priority, resets(since), deadline),
            Err(error) => (0, Err(error)),
        };
        match timeout.judge(result) {
            Ok(()) => Ok(()),
            Err(error) => {
                let raised =
                    self.late(py, &format!("took {put} of {} messages and no more", slices.len()), timeout, error);
                raised.value(py).setattr("transferred", put)?;
                Err(raised)
            }
        }
    }

    pub(super) fn loan_for(
        &self,
        py: Python<'_>,
        size: Whole,
        priority: i64,
        since: Option<&Since>,
        timeout: Timeout,
    ) -> PyResult<Loan> {
        self.handle.check(py)?;
        let priority = self.urgency(py, priority)?;
        let size = size.size("size")?;
        self.have_room(py, "lent nothing", "loan", timeout, size)?;
        match timeout.within("loan", |deadline| self.core.loan(self.kernel(), size, priority, resets(since), deadline))
        {
            Ok(ticket) => Ok(Loan::new(self, ticket)),
            Err(error) => Err(self.late(py, "lent nothing", timeout, error)),
        }
    }

    #[inline]
    pub(super) fn urgency(&self, py: Python<'_>, priority: i64) -> PyResult<u32> {
        match urgency(self.core.order(), priority) {
            Ok(priority) => Ok(priority),
            Err(Urgency::OutOfRange) => {
                Err(PyValueError::new_err(format!("priority={priority} is not between 0 and {MOST_URGENT}")))
            }
            Err(Urgency::Unordered(order)) => {
                let why = format!("its order is '{order}', which knows no priority: make it with order='priority'");
                Err(self.failed(py, "not put into", Error::Misuse(why)))
            }
        }
    }

    #[inline]
    pub(super) fn get_for<'py>(&self, py: Python<'py>, timeout: Timeout) -> PyResult<Bound<'py, PyBytes>> {
        self.handle.check(py)?;
        let mut got = None;
        let keep = |message: Message<'_>| {
            got = Some(copied(py, &message)?);
            Ok(())
        };
        match timeout.within("get", |deadline| self.core.get(self.kernel(), deadline, keep)) {
            Ok(()) => got.ok_or_else(|| self.failed(py, "got nothing", Error::Refused)),
            Err(error) => Err(self.late(py, "gave nothing", timeout, error)),
        }
    }

    pub(super) fn take_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<Lease> {
        self.handle.check(py)?;
        match timeout.within("take", |deadline| self.core.take(self.kernel(), deadline)) {
            Ok(ticket) => Ok(Lease::new(self, ticket)),
            Err(error) => Err(self.late(py, "gave nothing to take", timeout, error)),
        }
    }
}

/// After how many purges came who has waited elsewhere.
fn resets(since: Option<&Since>) -> Option<u32> {
    since.map(|since| since.core.resets())
}

/// A message as Python's bytes; the failure stays set in the interpreter.
#[inline]
pub fn copied<'py>(py: Python<'py>, message: &Message<'_>) -> underpass_core::Result<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, message.length, |out| {
        message.copy_to(out);
        Ok(())
    })
    .map_err(|error| {
        error.restore(py);
        Error::Refused
    })
}
