//! Who holds something, and who did: as the texts of errors and reprs call threads.

use underpass_core::mutex::Holder;
use underpass_core::site::Tenure;
use underpass_shm::life::Life;

use crate::error::seconds;
use crate::handle::Handle;
use crate::site;

/// Holders that an error or a repr names.
const NAMED: usize = 3;

/// A holder that is no more, and whether it died with its process.
pub fn late(handle: &Handle, thread: Life, pid: u32) -> (String, &'static str) {
    match handle.tid(thread) {
        _ if handle.lab().is_some() => (format!("pid {pid}"), "died"),
        tid if is_here(handle, thread) => (format!("thread {tid} of this process"), "ended"),
        tid if tid != 0 && handle.kernel().alive(handle.process_of(thread)) => {
            (format!("thread {tid} of pid {pid}"), "ended")
        }
        // Its place in the table is another's by now. A pid alone is not enough: others may have, or have had, this one.
        0 if pid == std::process::id() => (format!("pid {pid} or a thread of it"), "ended"),
        _ => (format!("pid {pid}"), "died"),
    }
}

/// One that lives.
pub fn living(handle: &Handle, thread: Life, pid: u32) -> String {
    match handle.tid(thread) {
        tid if is_here(handle, thread) => format!("thread {tid} of this process"),
        tid if tid == 0 || tid == pid => format!("pid {pid}"),
        tid => format!("pid {pid} (thread {tid})"),
    }
}

/// A process.
pub fn process(handle: &Handle, process: Life) -> String {
    let kernel = handle.kernel();
    if kernel.me().is_ok_and(|me| me.process == process) {
        "this process".to_owned()
    } else {
        format!("pid {}", kernel.pid(process))
    }
}

/// The calling thread, beside one that it is told from.
pub fn myself(handle: &Handle, other: Life) -> String {
    let kernel = handle.kernel();
    let Ok(me) = kernel.me() else { return "another".to_owned() };
    let (tid, pid) = (handle.tid(me.thread), kernel.pid(me.thread));
    match tid {
        tid if is_here(handle, other) => format!("thread {tid}"),
        tid if tid == 0 || tid == pid => format!("pid {pid}"),
        tid => format!("pid {pid} (thread {tid})"),
    }
}

/// Who has it, in which way, for how long, and whether that one has died.
pub fn describe(handle: &Handle, how: &str, holder: &Holder) -> String {
    let Holder { thread, pid, held, dead } = *holder;
    let known = tenure_of(handle, holder);
    if dead {
        let (who, fate) = late(handle, thread, pid);
        let place = known.site.map_or(String::new(), |site| format!(" ({})", site::text(&site)));
        let time = held.map_or(String::new(), |held| format!(" for at least {}", seconds(held)));
        return format!("left by {who}{place}{time}, which has {fate}");
    }
    format!("{how} by {}{}", living(handle, thread, pid), tenure(handle, &known))
}

/// What is known of where and since when one has, or had, the object alone.
pub fn tenure_of(handle: &Handle, holder: &Holder) -> Tenure {
    let site = site::of(handle, holder.thread);
    let held = holder.held.map(|held| handle.kernel().now().saturating_sub(held));
    // The dead have it no longer: for how long they had it, somebody saw.
    let since = site.filter(|_| !holder.dead).map(|site| site.since).or(held);
    Tenure { since, site }
}

/// What follows the name of one who has something, if it is known: where it took it, and for how long it has it.
pub fn tenure(handle: &Handle, tenure: &Tenure) -> String {
    let time = tenure.since.map(|since| seconds(handle.kernel().now().saturating_sub(since)));
    match (tenure.site, time) {
        (Some(site), Some(time)) => format!(" ({}) for {time}", site::text(&site)),
        (_, Some(time)) => format!(" for at least {time}"),
        (_, None) => String::new(),
    }
}

/// Several, of whom the first are named; `all` are how many they are.
pub fn several(named: impl Iterator<Item = String>, all: usize) -> String {
    let text = named.take(NAMED).collect::<Vec<_>>().join(", ");
    if all > NAMED { format!("{text} and {} more", all - NAMED) } else { text }
}

/// It is a thread of this process, as far as the table of lives still knows it.
fn is_here(handle: &Handle, thread: Life) -> bool {
    handle.lab().is_none()
        && handle.tid(thread) != 0
        && handle.kernel().me().is_ok_and(|me| me.process == handle.process_of(thread))
}
