//! How a queue is made, and found again: its shape in words and in a header.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::Error;
use underpass_core::kernel::Wanted;
use underpass_core::queue::{MOST_BYTES, MOST_URGENT, ORDERS, Objects, Order, Shape, TURNS, WHEN_FULL, WhenFull};
use underpass_core::waiters;
use underpass_shm::header::Kind;
use underpass_shm::layout::queue::MOST_SLOTS;
use underpass_shm::region::Extent;

use super::{LETTERS, Queue};
use crate::error::{Context, raise};
use crate::fairness;
use crate::handle::Handle;
use crate::number::Whole;
use crate::object::{self, Object};
use crate::space::Space;

/// The constructors' words for an order, by the header's numbers.
const NAMES: [&str; 3] = ["fifo", "lifo", "priority"];

/// The constructors' words for what a put does that finds no room, by the header's numbers.
const WHEN_FULL_NAMES: [&str; 3] = ["wait", "drop_oldest", "drop_newest"];

/// The word for a header's number.
pub fn when_full_name(number: u64) -> &'static str {
    usize::try_from(number).ok().and_then(|number| WHEN_FULL_NAMES.get(number)).unwrap_or(&"unknown")
}

pub fn when_full_number(when_full: WhenFull) -> u64 {
    WHEN_FULL.iter().take_while(|known| **known != when_full).count() as u64
}

/// The word for a header's number.
pub fn order_name(number: u64) -> &'static str {
    usize::try_from(number).ok().and_then(|number| NAMES.get(number)).unwrap_or(&"unknown")
}

pub fn turns_number(turns: Option<waiters::Order>) -> u64 {
    TURNS.iter().take_while(|known| **known != turns).count() as u64
}

fn order_number(order: Order) -> u64 {
    ORDERS.iter().take_while(|known| **known != order).count() as u64
}

/// How urgent a message is, for a queue of that order.
pub fn urgency(order: Order, priority: i64) -> Result<u32, Urgency> {
    match u32::try_from(priority) {
        Ok(priority) if priority > MOST_URGENT => Err(Urgency::OutOfRange),
        Ok(0) => Ok(0),
        Ok(priority) if order == Order::Priority => Ok(priority),
        Ok(_) => Err(Urgency::Unordered(order_name(order_number(order)))),
        Err(_) => Err(Urgency::OutOfRange),
    }
}

/// Why a priority is refused.
#[derive(Debug)]
pub enum Urgency {
    /// It is no priority.
    OutOfRange,
    /// The queue, of that order, knows none.
    Unordered(&'static str),
}

pub fn shape(
    capacity: i64,
    message_size: i64,
    max_deliveries: Option<Whole>,
    order: &str,
    when_full: &str,
    fairness: &str,
) -> PyResult<Shape> {
    let Some(order) = NAMES.iter().zip(ORDERS).find_map(|(name, known)| (*name == order).then_some(known)) else {
        return Err(PyValueError::new_err(format!("order={order:?}: pass 'fifo', 'lifo' or 'priority'")));
    };
    let named = WHEN_FULL_NAMES.iter().zip(WHEN_FULL).find_map(|(name, known)| (*name == when_full).then_some(known));
    let Some(when_full) = named else {
        return Err(PyValueError::new_err(format!(
            "when_full={when_full:?}: pass 'wait', 'drop_oldest' or 'drop_newest'"
        )));
    };
    let shape = Shape {
        capacity: Whole(capacity).word("capacity", 1, MOST_SLOTS)?,
        message_size: Whole(message_size).word("message_size", 1, MOST_BYTES as u32)? as usize,
        max_deliveries: max_deliveries.map(|most| most.word("max_deliveries", 1, u32::MAX)).transpose()?,
        order,
        when_full,
        turns: TURNS[fairness::number(fairness)? as usize],
    };
    match shape.check() {
        Err(Error::Invalid(why)) => Err(PyValueError::new_err(why)),
        _ => Ok(shape),
    }
}

pub fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    mode: Option<u32>,
    shape: &Shape,
) -> PyResult<PyClassInitializer<Queue>> {
    let format = |region: &Arc<_>| shape.format(region);
    let (extent, parameters) = (Extent::whole(shape.size()), shape.parameters());
    let wanted = Wanted { name, kind: Kind::Queue, extent, parameters, mode, format: &format };
    Queue::over(py, Arc::new(Handle::create(py, space, &wanted)?))
}

impl Object for Queue {
    const KIND: Kind = Kind::Queue;
    const PARAMETERS: &'static [&'static str] =
        &["capacity", "message_size", "max_deliveries", "order", "when_full", "fairness"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let opened = (|| {
            let wrong = || Error::Corrupted("its parameters are out of range".into());
            // The messages of a queue of objects are a queue.
            let shape = match handle.header.kind {
                Kind::ObjectQueue => Objects::read(handle.header.parameters)?.messages,
                _ => Shape::read(handle.header.parameters)?,
            };
            let queue = shape.queue(&handle.region)?;
            if handle.part() == LETTERS { queue.dead_letters().ok_or_else(wrong) } else { Ok(queue) }
        })();
        match opened {
            Ok(core) => Ok(object::base(&handle).add_subclass(Self { core: Arc::new(core), handle })),
            Err(error) => Err(raise(py, &Context::of(&handle.title, "not opened"), error)),
        }
    }
}
