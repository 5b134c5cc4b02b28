//! The pipe: both sides, the reset, the ends, and deaths on either side.

use std::sync::Arc;

use underpass_core::error::Phase;
use underpass_core::kernel::Kernel;
use underpass_core::pipe::Pipe;
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::pipe::PipeWords;
use underpass_shm::place::{Blocks, Placed};
use underpass_shm::sync::Ordering::Relaxed;

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, join, sure};

mod planted;

fn pipe(capacity: u32) -> Arc<Pipe> {
    let ring = Blocks::own(1, capacity.next_power_of_two() as usize);
    Arc::new(Pipe::new(Placed::own(PipeWords::new()), ring, capacity))
}

fn write(kernel: &dyn Kernel, pipe: &Pipe, data: &[u8]) -> Result<()> {
    let (written, result) = pipe.write(kernel, data, Deadline::Never, None);
    assert!(result.is_err() || written == data.len());
    result
}

fn read<const N: usize>(kernel: &dyn Kernel, pipe: &Pipe) -> Result<[u8; N]> {
    let mut out = [0; N];
    pipe.read(kernel, &mut out, Deadline::Never, None).1.map(|()| out)
}

/// A thread that works with the pipe.
fn spawn<T: 'static>(
    world: &Arc<World>,
    life: u32,
    dies: Dies,
    pipe: &Arc<Pipe>,
    run: impl FnOnce(&ThreadKernel, &Pipe) -> T + 'static,
) -> Running<T> {
    let pipe = pipe.clone();
    world.spawn_dying(life, dies, move |kernel| run(kernel, &pipe))
}

#[test]
fn test_stream_passes_through_a_ring_that_is_smaller() {
    explore_long(|| {
        let (world, pipe) = (World::new(), pipe(2));
        let writer = spawn(&world, 1, Dies::Never, &pipe, |kernel, pipe| sure(write(kernel, pipe, &[1, 2, 3])));
        world.run(2, |kernel| assert_eq!(sure(read::<3>(kernel, &pipe)), [1, 2, 3]));
        writer.join();
    });
}

#[test]
fn test_two_writers_wake_a_reader_that_needs_both() {
    explore(|| {
        let (world, pipe) = (World::new(), pipe(4));
        let writers = [1, 2].map(|life| {
            spawn(&world, life, Dies::Never, &pipe, move |kernel, pipe| sure(write(kernel, pipe, &[life as u8])))
        });
        let mut both = world.run(3, |kernel| sure(read::<2>(kernel, &pipe)));
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
        join(writers);
    });
}

#[test]
fn test_one_write_wakes_two_readers() {
    explore_long(|| {
        let (world, pipe) = (World::new(), pipe(4));
        let readers =
            [1, 2].map(|life| spawn(&world, life, Dies::Never, &pipe, |kernel, pipe| sure(read::<1>(kernel, pipe))));
        world.run(3, |kernel| sure(write(kernel, &pipe, &[5, 6])));
        let mut got = join(readers);
        got.sort_unstable();
        assert_eq!(got, [[5], [6]]);
    });
}

#[test]
fn test_shutdown_ends_who_reads_and_who_writes() {
    explore(|| {
        let (world, pipe) = (World::new(), pipe(1));
        world.run(3, |kernel| sure(write(kernel, &pipe, &[1])));
        let writer = spawn(&world, 1, Dies::Never, &pipe, |kernel, pipe| write(kernel, pipe, &[2]));
        world.run(3, |kernel| pipe.shutdown(kernel));
        assert_eq!(writer.join(), Err(Error::EndOfStream));
        world.run(3, |kernel| {
            assert_eq!(read(kernel, &pipe), Ok([1]));
            assert_eq!(read::<1>(kernel, &pipe), Err(Error::EndOfStream));
        });
    });
}

#[test]
fn test_shutdown_ends_a_reader() {
    explore(|| {
        let (world, pipe) = (World::new(), pipe(1));
        let reader = spawn(&world, 1, Dies::Never, &pipe, |kernel, pipe| read::<1>(kernel, pipe));
        world.run(3, |kernel| pipe.shutdown(kernel));
        assert_eq!(reader.join(), Err(Error::EndOfStream));
    });
}

#[test]
fn test_reset_ends_a_reader_and_empties() {
    explore(|| {
        let (world, pipe) = (World::new(), pipe(4));
        world.run(3, |kernel| sure(write(kernel, &pipe, &[1])));
        let reader = spawn(&world, 1, Dies::Never, &pipe, |kernel, pipe| read::<2>(kernel, pipe));
        world.until_asleep(1);
        world.run(3, |kernel| sure(pipe.reset(kernel)));
        assert_eq!((reader.join(), pipe.depth()), (Err(Error::Reset), 0));
    });
}

#[test]
fn test_reset_meets_a_writer() {
    explore(|| {
        let (world, pipe) = (World::new(), pipe(1));
        world.run(3, |kernel| sure(write(kernel, &pipe, &[1])));
        let writer = spawn(&world, 1, Dies::Never, &pipe, |kernel, pipe| write(kernel, pipe, &[2]));
        world.run(3, |kernel| sure(pipe.reset(kernel)));
        // Either it came before, or it found the pipe empty.
        match writer.join() {
            Ok(()) => assert_eq!(pipe.depth(), 1),
            Err(error) => assert_eq!((error, pipe.depth()), (Error::Reset, 0)),
        }
    });
}

#[test]
fn test_last_writer_leaves_or_dies() {
    for dies in [false, true] {
        explore(move || {
            let (world, pipe) = (if dies { World::mortal() } else { World::new() }, pipe(2));
            let writer = spawn(&world, 1, Dies::Never, &pipe, move |kernel, pipe| {
                sure(pipe.join_writers(kernel));
                sure(write(kernel, pipe, &[1]));
                if dies {
                    kernel.die();
                }
                sure(pipe.leave_writers(kernel));
            });
            let end = if dies { Error::PeerDied { pid: 1, phase: Phase::Wait } } else { Error::EndOfStream };
            world.run(2, |kernel| {
                assert_eq!(read(kernel, &pipe), Ok([1]));
                assert_eq!(read::<1>(kernel, &pipe), Err(end));
            });
            writer.end();
        });
    }
}

/// The first entry of the roster is free, and the writer stands on the second.
#[test]
fn test_a_writer_that_takes_over_is_not_overlooked() {
    explore(|| {
        let (world, pipe) = (World::new(), pipe(2));
        world.run(4, |kernel| sure(pipe.join_writers(kernel)));
        world.run(1, |kernel| sure(pipe.join_writers(kernel)));
        world.run(4, |kernel| sure(pipe.leave_writers(kernel)));
        let heir = {
            let (world, pipe) = (world.clone(), pipe.clone());
            world.clone().spawn(2, move |kernel| {
                sure(pipe.join_writers(kernel));
                world.run(1, |kernel| sure(pipe.leave_writers(kernel)));
            })
        };
        let read = world.run(3, |kernel| pipe.read(kernel, &mut [0], Deadline::NoWait, None).1);
        assert_eq!(read, Err(Error::WouldBlock));
        heir.join();
    });
}

/// Whoever inherited the locks of who began it was interrupted, and gave them back.
#[test]
fn test_a_reset_that_heirs_have_left_is_completed() {
    for reads in [false, true] {
        explore(move || {
            let words = PipeWords::new();
            words.resets.store(1, Relaxed);
            words.written.word.store(1, Relaxed);
            let pipe = Pipe::new(Placed::own(words), Blocks::own(1, 1), 1);
            World::new().run(1, |kernel| {
                let ends = if reads {
                    pipe.read(kernel, &mut [0], Deadline::NoWait, None)
                } else {
                    pipe.write(kernel, &[7], Deadline::NoWait, None)
                };
                assert_eq!((ends, pipe.depth()), ((0, Err(Error::Reset)), 0));
                sure(write(kernel, &pipe, &[8]));
                assert_eq!(read(kernel, &pipe), Ok([8]));
            });
        });
    }
}

/// It came before the reset, and reaches the side's lock after it.
#[test]
fn test_who_came_before_a_reset_is_told() {
    explore(|| {
        let (world, pipe) = (World::new(), pipe(2));
        world.run(1, |kernel| {
            sure(pipe.reset(kernel));
            sure(write(kernel, &pipe, &[1]));
            let since = Some(0);
            assert_eq!(pipe.write(kernel, &[2], Deadline::NoWait, since), (0, Err(Error::Reset)));
            assert_eq!(pipe.read(kernel, &mut [0], Deadline::NoWait, since), (0, Err(Error::Reset)));
            let some = pipe.read_some(kernel, 1, Deadline::NoWait, since, &mut |_| Ok(()));
            assert_eq!((some, pipe.depth()), (Err(Error::Reset), 1));
        });
    });
}

#[test]
fn test_writer_dies_before_its_wake() {
    explore(|| {
        let (world, pipe) = (World::mortal(), pipe(2));
        let reader = spawn(&world, 1, Dies::Never, &pipe, |kernel, pipe| sure(read::<1>(kernel, pipe)));
        let dying = spawn(&world, 2, Dies::BeforeWake, &pipe, |kernel, pipe| sure(write(kernel, pipe, &[7])));
        assert_eq!(reader.join(), [7]);
        dying.end();
    });
}

#[test]
fn test_reader_dies_before_its_wake() {
    explore(|| {
        let (world, pipe) = (World::mortal(), pipe(1));
        world.run(3, |kernel| sure(write(kernel, &pipe, &[1])));
        let writer = spawn(&world, 1, Dies::Never, &pipe, |kernel, pipe| sure(write(kernel, pipe, &[2])));
        let dying = spawn(&world, 2, Dies::BeforeWake, &pipe, |kernel, pipe| sure(read::<1>(kernel, pipe)));
        writer.join();
        dying.end();
    });
}

#[test]
fn test_who_resets_dies_before_the_wake() {
    explore(|| {
        let (world, pipe) = (World::mortal(), pipe(4));
        world.run(3, |kernel| sure(write(kernel, &pipe, &[1])));
        let reader = spawn(&world, 1, Dies::Never, &pipe, |kernel, pipe| read::<2>(kernel, pipe));
        world.until_asleep(1);
        let dying = spawn(&world, 2, Dies::BeforeWake, &pipe, |kernel, pipe| sure(pipe.reset(kernel)));
        assert_eq!((reader.join(), pipe.depth()), (Err(Error::Reset), 0));
        dying.end();
    });
}
