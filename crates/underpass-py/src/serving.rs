//! The loops of `Port.serve` and `Port.serve_bytes`, in one thread or in several.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use underpass_core::Error;
use underpass_core::port::{Call, Received, Wish};
use underpass_shm::sync::{AtomicU32, Ordering::Release};

use crate::bytes::Parcel;
use crate::error::{Context, raise};
use crate::port::Port;
use crate::request::Request;
use crate::timeout::Timeout;

/// One thread's loop, until the port is closed or the word is not 0.
type Loop = fn(&Bound<'_, Port>, &Bound<'_, PyAny>, &AtomicU32) -> PyResult<()>;

/// Runs a loop in the calling thread and in `threads - 1` others. The first exception ends them all, and is raised.
pub fn serve(port: &Bound<'_, Port>, handler: &Bound<'_, PyAny>, threads: i64, run: Loop) -> PyResult<()> {
    let py = port.py();
    if threads < 1 {
        return Err(PyValueError::new_err(format!("threads={threads} is not a number of threads: pass 1 or more")));
    }
    port.get().check(py)?;
    if threads > 1 && port.get().handle.is_stepped() {
        let why = format!(
            "threads={threads}: the lab runs no threads of the system: pass threads=1, and start others of the \
             process with world.thread"
        );
        return Err(raise(py, &Context::of(&port.get().handle.title, "not served"), Error::Misuse(why)));
    }
    let common = Arc::new(Common { stop: AtomicU32::new(0), error: Mutex::new(None) });
    let mut others = Vec::new();
    let mut mine = Ok(());
    for _ in 1..threads {
        match start(port, handler, &common, run) {
            Ok(thread) => others.push(thread),
            Err(error) => {
                mine = Err(error);
                break;
            }
        }
    }
    if mine.is_ok() {
        mine = run(port, handler, &common.stop);
    }
    common.end(port);
    for thread in others {
        thread.call_method0("join")?;
    }
    mine?;
    let error = common.error.lock().unwrap_or_else(PoisonError::into_inner).take();
    error.map_or(Ok(()), Err)
}

/// What the threads of one `serve` share.
struct Common {
    stop: AtomicU32,
    /// The first exception of the other threads.
    error: Mutex<Option<PyErr>>,
}

impl Common {
    /// Ends the loops: each finishes the call that it has.
    fn end(&self, port: &Bound<'_, Port>) {
        self.stop.store(1, Release);
        let port = port.get();
        port.server.tell_all(port.handle.kernel());
    }

    /// Keeps the first exception; a later one is for `threading.excepthook`.
    fn fail(&self, port: &Bound<'_, Port>, error: PyErr) -> PyResult<()> {
        self.end(port);
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_some() {
            return Err(error);
        }
        *first = Some(error);
        Ok(())
    }
}

fn start<'py>(
    port: &Bound<'py, Port>,
    handler: &Bound<'py, PyAny>,
    common: &Arc<Common>,
    run: Loop,
) -> PyResult<Bound<'py, PyAny>> {
    let py = port.py();
    let (port, handler, common) = (port.clone().unbind(), handler.clone().unbind(), common.clone());
    let body = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let py = arguments.py();
        let (port, handler) = (port.bind(py), handler.bind(py));
        run(port, handler, &common.stop).or_else(|error| common.fail(port, error))
    };
    let arguments = PyDict::new(py);
    arguments.set_item("target", PyCFunction::new_closure(py, None, None, body)?)?;
    let thread = py.import("threading")?.getattr("Thread")?.call((), Some(&arguments))?;
    thread.call_method0("start")?;
    Ok(thread)
}

/// The next call; none once the loop shall end.
fn next(port: &Port, py: Python<'_>, last: Option<&Call>, stop: &AtomicU32) -> PyResult<Option<Call>> {
    let wish = Wish { last, bits: false, stop: Some(stop) };
    let timeout = Timeout::Seconds(None);
    match timeout.within("serve", |deadline| port.server.receive(port.handle.kernel(), wish, deadline)) {
        Ok(Received::Call(call)) => Ok(Some(call)),
        Ok(Received::Bits(_)) | Err(Error::Closed) => Ok(None),
        Err(error) => Err(port.unreceived(py, timeout, error)),
    }
}

/// Requests in, replies out.
pub fn requests<const STEPPED: bool>(
    slf: &Bound<'_, Port>,
    handler: &Bound<'_, PyAny>,
    stop: &AtomicU32,
) -> PyResult<()> {
    let (py, port) = (slf.py(), slf.get());
    let mut last = None;
    while let Some(call) = next(port, py, last.as_ref(), stop)? {
        let data = port.request(py, &call)?.unbind();
        let request = Bound::new(py, Request::new(slf.clone().unbind(), call, data))?;
        let reply = match handler.call1((&request,)) {
            Ok(reply) => reply,
            Err(error) => {
                // The traceback keeps the request alive, and the caller should not wait for its end.
                request.get().give_up();
                return Err(error);
            }
        };
        if !request.get().is_settled() {
            request.get().reply(py, Some(&reply).filter(|reply| !reply.is_none()))?;
        }
        // A handler that runs no Python code would keep Ctrl-C out.
        py.check_signals()?;
        if STEPPED {
            port.handle.point(py)?;
        }
        last = Some(request.get().call.clone());
    }
    Ok(())
}

/// Bytes in, bytes out: the fastest loop.
pub fn bytes<const STEPPED: bool>(slf: &Bound<'_, Port>, handler: &Bound<'_, PyAny>, stop: &AtomicU32) -> PyResult<()> {
    let (py, port) = (slf.py(), slf.get());
    let kernel = port.handle.kernel();
    let mut last: Option<Call> = None;
    while let Some(call) = next(port, py, last.as_ref(), stop)? {
        let answered = port.request(py, &call).and_then(|data| handler.call1((data,))).and_then(|reply| {
            if call.is_one_way() {
                return Ok(());
            }
            let data = Parcel::new(&reply)?;
            if STEPPED {
                port.handle.point(py)?;
            }
            port.server
                .reply(kernel, &call, &data)
                .map_err(|error| raise(py, &Context::of(&port.handle.title, "call not answered"), error))
        });
        if let Err(error) = answered {
            if !call.is_one_way() {
                port.server.abort(kernel, &call);
            }
            return Err(error);
        }
        // A handler that runs no Python code would keep Ctrl-C out.
        py.check_signals()?;
        if STEPPED {
            port.handle.point(py)?;
        }
        last = Some(call);
    }
    Ok(())
}
