//! Members with a handler: whose call begins, whose has ended, and who moves with it.

use std::sync::Arc;

use pyo3::prelude::*;
use underpass_core::hearing::Verb;

use super::super::WaitSet;
use super::super::handler::{Call, Calls, Handler};
use super::super::identity::Identity;
use super::super::member::{Member, Refused, Source};
use super::{State, borrow};

impl State {
    /// Begins a call of the handler of a member that was found ready when so many had ended; none if somebody was faster.
    pub fn begin(&mut self, py: Python<'_>, key: u64, ended: u32) -> Option<Call> {
        let Handler { function, persistent, calls } = self.members.get(&key)?.handler.as_ref()?;
        if !calls.begin(ended) {
            return None;
        }
        let (function, calls, stays) = (function.clone_ref(py), calls.clone(), *persistent);
        let left = if stays { None } else { self.remove(key) };
        Some(Call { key, function, calls, left })
    }

    /// A call of a handler has ended: its member is told of again, if it is one still, and so are those who wait for that call.
    pub fn call_ended(&mut self, key: u64) {
        let member = self.members.get(&key);
        if let (Some(Source::Descriptor(number)), Some(hearing)) = (member.map(|member| &member.source), &self.hearing)
            && hearing.is_dispatched()
            && !hearing.renew(Verb::Dispatch, borrow(*number), key)
        {
            self.strayed[Verb::Dispatch as usize].insert(key);
        }
        if member.is_some() {
            self.call([false, true], false);
        }
        self.tell_settled();
    }

    /// Has one who dispatches look while one of them sleeps that has nothing more to wait for: whoever hears it in its place tells on. No
    /// news: for all others nothing has changed, and they may sleep.
    pub fn tell_settled(&self) {
        if self.asleep_for.iter().any(|awaited| awaited.is_settled(self)) {
            self.remind(Verb::Dispatch);
        }
    }

    /// The calls of a member's handler.
    pub fn calls(&self, key: u64) -> Option<&Arc<Calls>> {
        self.members.get(&key)?.handler.as_ref().map(|handler| &handler.calls)
    }

    pub fn is_member(&self, key: u64) -> bool {
        self.members.contains_key(&key)
    }

    /// What a member is.
    pub fn what(&self, py: Python<'_>, key: u64) -> Option<(Py<PyAny>, Identity)> {
        self.members.get(&key).map(|member| (member.what.clone_ref(py), member.identity))
    }

    /// Moves a member into another set, whose state `to` is: as a whole, or not at all. What left is dropped without the locks.
    pub fn move_to(
        &mut self,
        py: Python<'_>,
        key: u64,
        set: &Bound<'_, WaitSet>,
        to: &mut Self,
        in_lab: bool,
    ) -> Result<Option<Member>, Refused> {
        let Some(member) = self.members.get(&key) else { return Err(Refused::Gone) };
        if !self.is_open(key) {
            return Err(Refused::Closed);
        }
        let (what, identity) = (member.what.clone_ref(py).into_bound(py), member.identity);
        let handler = member.handler.as_ref().map(|handler| handler.clone_ref(py));
        let calls = handler.as_ref().map(|handler| handler.calls.clone());
        let key_there = to.add(py, &what, identity, handler, in_lab)?;
        if let Some(calls) = calls {
            calls.move_to(set, key_there);
        }
        Ok(self.remove(key))
    }
}
