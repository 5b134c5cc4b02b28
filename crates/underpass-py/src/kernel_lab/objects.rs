//! The objects of the lab: memory that a schedule's processes share, under names that are no files.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use underpass_core::held::{Held, held};
use underpass_core::kernel::{Kernel, Memory, Parked, Wanted, Watch};
use underpass_core::{Deadline, Result};
use underpass_lab::choice::Object;
use underpass_shm::header::{Header, Kind};
use underpass_shm::limits::Lack;
use underpass_shm::region::Region;
use underpass_shm::{Error as Shm, space};

use super::{LabKernel, locked};

/// One object of the lab.
#[derive(Debug)]
struct Made {
    region: Arc<Region>,
    header: Header,
    file: String,
    linked: bool,
}

/// All objects of a schedule, and memory for those of the next.
#[derive(Debug, Default)]
pub struct Objects {
    made: Vec<Made>,
    /// The memory of channels.
    channels: Vec<Arc<Region>>,
    /// Memory of the schedule before this one, which somebody still had open when this one began.
    kept: Vec<Arc<Region>>,
    /// Memory of earlier schedules, by its size.
    spare: HashMap<usize, Vec<Arc<Region>>>,
}

/// The most bytes of an object whose memory a schedule hands on to the next.
const CLEARED: usize = 64 * 1024;

impl Objects {
    /// Forgets all objects, and keeps their memory for others.
    pub fn clear(&mut self) {
        let Objects { made, channels, kept, spare } = self;
        let before = std::mem::take(kept);
        let last = made.drain(..).map(|made| made.region).chain(channels.drain(..));
        for (mut region, again) in
            before.into_iter().map(|region| (region, true)).chain(last.map(|region| (region, false)))
        {
            match Arc::get_mut(&mut region) {
                // What is larger comes cheaper from the system, which zeroes only the pages that are touched.
                Some(memory) if memory.len() > CLEARED => {}
                Some(memory) => {
                    memory.clear();
                    spare.entry(region.len()).or_default().push(region);
                }
                // Handles of a schedule's arguments live until the next one has begun; who still has it open then keeps it.
                None if !again => kept.push(region),
                None => {}
            }
        }
    }
}

impl LabKernel {
    /// Makes an object.
    pub fn make(&self, wanted: &Wanted<'_>) -> Result<Memory> {
        if let Some(name) = wanted.name
            && self.is_taken(&space::file_name(name))
        {
            return Err(Shm::Exists {
                what: format!("'{name}' in the lab"),
                path: space::file_name(name),
                found: None,
            }
            .into());
        }
        if self.refuses(Deadline::NoWait) {
            let what = wanted.name.map_or_else(|| "an object".into(), |name| format!("'{name}'"));
            return Err(Shm::OutOfSpace { what: format!("{what} in the lab"), lack: lack(wanted.size) }.into());
        }
        let region = self.room(wanted.size)?;
        let number = self.schedule().world.add_object(region.addresses());
        let me = self.me()?.process;
        let header = Header {
            kind: wanted.kind,
            space: 0,
            nonce: u64::from(number.0),
            creator: me.0,
            creator_pid: self.pid(me),
            parameters: wanted.parameters,
        };
        header.write(&region, "an object of the lab")?;
        (wanted.format)(&region)?;
        let file = wanted.name.map_or_else(|| format!("@{}", number.0 + 1), space::file_name);
        let made = Made { region: region.clone(), header: header.clone(), file: file.clone(), linked: true };
        locked(&self.objects).made.push(made);
        if wanted.name.is_some() {
            self.announce();
        }
        Ok(Memory { region, header, file })
    }

    /// How many are parked on words of that object.
    pub fn waiters(&self, object: &Region) -> usize {
        self.schedule().sleepers(object.addresses().start)
    }

    /// Memory that two processes share to use a port: it belongs to that object.
    pub fn channel(&self, port: &Region, size: usize) -> Result<Arc<Region>> {
        let region = self.room(size)?;
        let world = &mut self.schedule().world;
        if let Some(port) = world.object_at(port.addresses().start) {
            world.annex(port, region.addresses());
        }
        locked(&self.objects).channels.push(region.clone());
        Ok(region)
    }

    /// Zeroed memory.
    fn room(&self, size: usize) -> Result<Arc<Region>> {
        match locked(&self.objects).spare.get_mut(&size).and_then(Vec::pop) {
            Some(region) => Ok(region),
            None => Ok(Region::anonymous(size)?),
        }
    }

    /// What the objects are called, in the order in which they were made.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        locked(&self.objects).made.iter().map(|made| (made.header.kind.name(), made.file.clone())).collect()
    }

    /// What lives hold of all objects: each object by its place among them, and what is held of it.
    pub fn held(&self) -> Vec<(usize, Held)> {
        let objects = locked(&self.objects);
        let mut all = Vec::new();
        for (about, made) in objects.made.iter().enumerate() {
            let belongs = |channel: &&Arc<Region>| {
                self.schedule().world.object_at(channel.addresses().start) == Some(Object(about as u32))
            };
            let channels: Vec<_> = match made.header.kind {
                Kind::Port => objects.channels.iter().filter(belongs).cloned().collect(),
                _ => Vec::new(),
            };
            all.extend(held(self, &made.header, &made.region, &channels).into_iter().map(|held| (about, held)));
        }
        all
    }

    /// An object's memory and file, by its place among all; unlinked or not.
    pub fn nth(&self, about: usize) -> Option<(Arc<Region>, Header, String)> {
        let objects = locked(&self.objects);
        objects.made.get(about).map(|made| (made.region.clone(), made.header.clone(), made.file.clone()))
    }

    /// The object of a file that has not been unlinked.
    pub fn find(&self, file: &str, kind: Kind) -> std::result::Result<(Arc<Region>, Header), Shm> {
        let objects = locked(&self.objects);
        let Some(made) = objects.made.iter().find(|made| made.linked && made.file == file) else {
            let what = format!("'{}' in the lab", space::object_name(file));
            return Err(Shm::NotFound { what, path: file.into() });
        };
        if made.header.kind != kind {
            let (found, expected) = (made.header.kind.name(), kind.name());
            return Err(Shm::Mismatch {
                what: format!("'{}' in the lab", space::object_name(file)),
                wanted: expected.into(),
                found: found.into(),
            });
        }
        Ok((made.region.clone(), made.header.clone()))
    }

    /// Removes a name; false: it is gone.
    pub fn unlink(&self, file: &str) -> bool {
        self.unlink_if(file, |_| true)
    }

    /// Removes a name if it is that object's.
    pub fn unlink_if(&self, file: &str, wanted: impl Fn(&Header) -> bool) -> bool {
        let mut objects = locked(&self.objects);
        let made = objects.made.iter_mut().find(|made| made.linked && made.file == file && wanted(&made.header));
        made.map(|made| made.linked = false).is_some()
    }

    /// Some object has that name.
    fn is_taken(&self, file: &str) -> bool {
        locked(&self.objects).made.iter().any(|made| made.linked && made.file == file)
    }

    /// Sleeps until a name appears, or the time comes.
    pub fn await_name(&self, seen: u32, until: Option<u64>) -> Parked {
        let mut watch = Watch::new();
        watch.word(&self.names, seen);
        // Nobody owes a wake for a name without making it.
        self.park(&watch, None, until)
    }

    /// How many names have appeared.
    pub fn names(&self) -> u32 {
        self.names.load(SeqCst)
    }

    /// A name has appeared.
    fn announce(&self) {
        self.names.fetch_add(1, SeqCst);
        self.wake(&self.names, u32::MAX);
    }
}

/// What is said of a space that the lab lets be full.
fn lack(size: usize) -> Lack {
    let remedy = "the lab lets the space be full here: let go of what was taken before, and go on without the object";
    Lack::of_simulated_bytes(size as u64, remedy)
}
