//! Where an object was taken: who looks is told of one tenure, whole, or of none.

use std::sync::Arc;

use loom::thread;
use underpass_core::site::{Site, Tenure};
use underpass_shm::layout::site::{FILE_WORDS, OWN, SiteWords, TenureWords, WRITING};
use underpass_shm::life::Life;
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use crate::kernel::explore;

const ME: Life = Life(1);

/// Two tenures of one thread, each with numbers that belong together.
fn tenures() -> [Site; 2] {
    [Site::new("a", 1, 1), Site::new("b", 2, 2)]
}

/// What a reader was told, while both tenures were written by `note`.
fn told(note: fn(&Site, &SiteWords, Life)) -> Option<(u32, u64)> {
    let words = Arc::new(SiteWords::new());
    let writer = {
        let words = words.clone();
        thread::spawn(move || tenures().iter().for_each(|tenure| note(tenure, &words, ME)))
    };
    let told = Site::of(&words, ME);
    writer.join().expect("a writer");
    told.map(|told| (told.line, told.since))
}

#[test]
fn test_who_looks_is_told_of_one_tenure_or_of_none() {
    explore(|| assert!(told(Site::note).is_none_or(is_whole), "torn"));
}

fn is_whole(told: (u32, u64)) -> bool {
    tenures().iter().any(|tenure| told == (tenure.line, tenure.since))
}

#[test]
fn test_nobody_else_is_told_and_nobody_once_it_is_forgotten() {
    explore(|| {
        let words = SiteWords::new();
        assert_eq!(Site::of(&words, Life::NOBODY), None);
        tenures()[0].note(&words, ME);
        assert_eq!(Site::of(&words, Life(2)), None);
        Site::forget(&words, Life(2));
        assert_eq!(Site::of(&words, ME), Some(tenures()[0]));
        Site::forget(&words, ME);
        assert_eq!(Site::of(&words, ME), None);
    });
}

#[test]
fn test_one_who_died_as_it_wrote_is_not_told_and_the_next_one_is() {
    explore(|| {
        let words = SiteWords::new();
        tenures()[0].note(&words, ME);
        words.tenure.since.store(WRITING, Relaxed);
        words.tenure.line.store(7, Relaxed);
        assert_eq!(Site::of(&words, ME), None);
        tenures()[1].note(&words, ME);
        assert_eq!(Site::of(&words, ME), Some(tenures()[1]));
    });
}

/// As [`Site::note`], but nobody is told that it writes.
fn note_unannounced(site: &Site, words: &SiteWords, thread: Life) {
    words.thread.store(thread.0, Release);
    words.tenure.line.store(site.line, Release);
    words.tenure.since.store(OWN | site.since, Release);
}

#[test]
#[should_panic(expected = "torn")]
fn test_planted_a_site_that_is_written_unannounced_is_told_torn() {
    explore(|| assert!(told(note_unannounced).is_none_or(is_whole), "torn"));
}

/// Two that have one place, one after the other, as readers of a lock have: of the first it was found when it had come, the
/// second writes down that itself. Who looks is told of nobody the tenure of the other.
fn told_of_the_one_in_place(come: fn(&AtomicU64, &TenureWords<FILE_WORDS>)) {
    let (place, tenure) = (Arc::new(AtomicU64::new(1)), Arc::new(TenureWords::new()));
    Tenure::found(&tenure, 1);
    let next = {
        let (place, tenure) = (place.clone(), tenure.clone());
        thread::spawn(move || {
            place.store(0, Release);
            come(&place, &tenure);
            tenures()[1].write(&tenure);
        })
    };
    let reader = place.load(Acquire);
    let told = Tenure::of(&tenure);
    if reader != 0 && place.load(Relaxed) == reader {
        assert!(told.since.is_none_or(|since| since == reader), "another's");
        assert!(told.site.is_none_or(|site| (reader, site) == (2, tenures()[1])), "another's");
    }
    next.join().expect("a reader");
}

#[test]
fn test_nobody_is_told_the_tenure_of_the_one_before() {
    explore(|| {
        told_of_the_one_in_place(|place, tenure| {
            Tenure::begin(tenure);
            place.store(2, Release);
        });
    });
}

#[test]
#[should_panic(expected = "another's")]
fn test_planted_a_tenure_that_begins_too_late_is_told_of_the_wrong_one() {
    explore(|| {
        told_of_the_one_in_place(|place, tenure| {
            place.store(2, Release);
            Tenure::begin(tenure);
        });
    });
}
