//! The objects of the lab: memory that a schedule's processes share, under names that are no files.

use std::collections::HashMap;
use std::sync::Arc;

use underpass_core::held::{Held, held};
use underpass_core::kernel::{Kernel, Memory, Wanted};
use underpass_core::{Deadline, Result};
use underpass_lab::choice::Object;
use underpass_shm::header::{Header, Kind};
use underpass_shm::region::{Extent, Region};
use underpass_shm::{Error as Shm, space};

use super::{LabKernel, locked};
use crate::refusal::lack;

/// One object of the lab.
#[derive(Debug)]
pub struct Made {
    pub region: Arc<Region>,
    pub header: Header,
    pub file: String,
    pub linked: bool,
}

/// All objects of a schedule, and memory for those of the next.
#[derive(Debug, Default)]
pub struct Objects {
    pub made: Vec<Made>,
    /// The memory of channels.
    channels: Vec<Arc<Region>>,
    /// Memory of the schedule before this one, which somebody still had open when this one began.
    kept: Vec<Arc<Region>>,
    /// Memory of earlier schedules, by its size.
    spare: HashMap<Extent, Vec<Arc<Region>>>,
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
                Some(memory) if memory.extent().reserved() > CLEARED => {}
                Some(memory) => {
                    memory.clear();
                    spare.entry(region.extent()).or_default().push(region);
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
            && self.is_taken(&space::file_name(name), wanted.kind)
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
            return Err(Shm::OutOfSpace { what: format!("{what} in the lab"), lack: lack(wanted.extent.length) }.into());
        }
        let region = self.room(wanted.extent)?;
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
        self.unlink(&file);
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
        let region = self.room(Extent::whole(size))?;
        let world = &mut self.schedule().world;
        if let Some(port) = world.object_at(port.addresses().start) {
            world.annex(port, region.addresses());
        }
        locked(&self.objects).channels.push(region.clone());
        Ok(region)
    }

    /// Zeroed memory.
    fn room(&self, extent: Extent) -> Result<Arc<Region>> {
        match locked(&self.objects).spare.get_mut(&extent).and_then(Vec::pop) {
            Some(region) => Ok(region),
            None => Ok(Region::anonymous(extent)?),
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
}
