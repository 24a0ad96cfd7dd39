use std::path::Path;
use std::sync::atomic::AtomicUsize;

use tokio::time::timeout;

use super::*;
use crate::config::Transfers;
use crate::file::Root;
use crate::observe::transfers;

const SIZE: u64 = 10;
const MEDIUM: u64 = budget::SMALL_FILE + 1;
const LARGE: u64 = budget::LARGE_FILE + 1;

fn concurrency(transfers: Transfers) -> Concurrency {
    on(&places(transfers))
}

/// Places on which an upload has ended already: before that there are few.
fn places(transfers: Transfers) -> Arc<Places> {
    let places = Places::new(transfers, transfers::Transfers::default());
    places.change(|state, now| {
        let upload = Upload { class: Class::Small, size: SIZE, took: Some(Duration::from_millis(10)) };
        state.limit.ended(upload, state.taken, now);
        false
    });
    places
}

/// The view of one more folder.
fn on(places: &Arc<Places>) -> Concurrency {
    Concurrency::new(Arc::clone(places), Gauge::default(), Activity::default())
}

fn file(size: u64) -> Settled {
    Settled::new(Arc::new(Root::open(Path::new("/proc/self")).unwrap()), "x".into()).of_size(size)
}

impl Concurrency {
    async fn place(&self, size: u64) -> Place {
        let (file, class) = (file(size), Class::of(size));
        self.join(class).taken().await;
        self.place_of(&file, class)
    }

    async fn at_once(&self, size: u64) -> Option<Place> {
        timeout(Duration::ZERO, self.place(size)).await.ok()
    }

    async fn all_places(&self, size: u64) -> Vec<Place> {
        let mut all = Vec::new();
        while let Some(place) = self.at_once(size).await {
            all.push(place);
        }
        all
    }

    fn taken(&self) -> usize {
        self.gauge.get().try_into().unwrap()
    }
}

/// Regression: the number of uploads at once grew by seven every few seconds, because a lower limit took back only free places.
#[tokio::test(start_paused = true)]
async fn never_more_are_under_way_than_the_limit_allows_however_long_it_goes_on() {
    let concurrency = concurrency(Transfers::Auto);
    let service = Arc::new(tokio::sync::Semaphore::new(8));
    let start = Instant::now();
    let mut most = 0;
    while start.elapsed() < Duration::from_secs(20) {
        let place = concurrency.place(SIZE).await;
        most = most.max(concurrency.taken());
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let served = service.acquire().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(served);
            drop(place);
        });
    }
    assert!(most <= 64, "{most} were under way, though eight are served at once");
}

#[tokio::test(start_paused = true)]
async fn large_files_have_all_places_but_a_quarter_and_the_only_one_where_there_is_one() {
    for (all, for_large) in [(1, 1), (2, 1), (3, 2), (8, 6), (64, 48), (256, 192)] {
        let concurrency = concurrency(Transfers::Fixed(all));
        let large = concurrency.all_places(LARGE).await;
        assert_eq!(large.len(), for_large, "of {all}");
        assert_eq!(concurrency.at_once(SIZE).await.is_some(), all > 1);
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_number_that_is_found_few_files_of_many_bytes_go_at_once_and_small_ones_pass_them() {
    let concurrency = concurrency(Transfers::Auto);
    let medium = concurrency.all_places(MEDIUM).await;
    assert!(medium.len() <= 8, "{}", medium.len());
    assert_eq!(concurrency.all_places(LARGE).await.len(), 0);
    assert_eq!(concurrency.all_places(SIZE).await.len(), 64 - medium.len());
}

/// Regression: files of more than a megabyte waited until one of the eight largest files had ended, which may take days.
#[tokio::test(start_paused = true)]
async fn with_a_number_that_is_found_large_files_leave_a_place_to_files_that_are_not_large() {
    let concurrency = concurrency(Transfers::Auto);
    let large = concurrency.all_places(LARGE).await;
    assert!(!large.is_empty() && concurrency.at_once(MEDIUM).await.is_some(), "{} large ones", large.len());
}

/// One folder has files without end. Another one's file waits for one place to get free, and for no more.
#[tokio::test(start_paused = true)]
async fn a_folder_with_many_files_delays_another_folders_file_by_no_more_than_one_transfer() {
    let places = places(Transfers::Auto);
    let (crowded, other) = (on(&places), on(&places));
    let transfer = Duration::from_millis(700);
    let flood = tokio::spawn(async move {
        loop {
            let place = crowded.place(SIZE).await;
            tokio::spawn(async move {
                tokio::time::sleep(transfer).await;
                drop(place);
            });
        }
    });
    for pause in [3000, 3100, 3333, 4750] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let start = Instant::now();
        drop(other.place(SIZE).await);
        assert!(start.elapsed() <= transfer, "{:?}", start.elapsed());
    }
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn folders_that_all_have_files_without_end_get_the_same_share() {
    let places = places(Transfers::Auto);
    let counts: Vec<_> = (0..3).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let mut floods = tokio::task::JoinSet::new();
    for count in &counts {
        let (folder, count) = (on(&places), Arc::clone(count));
        floods.spawn(async move {
            loop {
                let place = folder.place(SIZE).await;
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    drop(place);
                });
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    floods.shutdown().await;
    let counts: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(least * 10 >= most * 9, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fixed_number_is_each_folders_own_and_a_found_one_is_the_processs() {
    assert_eq!(concurrency(Transfers::Fixed(3)).all_places(SIZE).await.len(), 3);
    let places = places(Transfers::Auto);
    let (one, other) = (on(&places), on(&places));
    let _all = one.all_places(SIZE).await;
    assert_eq!(other.all_places(SIZE).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_an_overload_half_of_the_files_wait_and_no_file_begins_before_they_go_on() {
    let concurrency = concurrency(Transfers::Auto);
    let mut places: Vec<_> = concurrency.all_places(SIZE).await.into_iter().map(Arc::new).collect();
    for place in &places {
        place.troubled(Trouble::Overload);
    }
    let mut retries = tokio::task::JoinSet::new();
    for place in &places {
        let place = Arc::clone(place);
        retries.spawn(async move { place.fit().await });
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(concurrency.taken(), 32);
    assert!(concurrency.at_once(SIZE).await.is_none());
    while let Some(retried) = retries.try_join_next() {
        retried.unwrap();
    }
    assert_eq!(retries.len(), 32, "half of them wait");
    let begun = tokio::spawn({
        let concurrency = concurrency.clone();
        async move { concurrency.place(SIZE).await }
    });
    sleep(Duration::from_secs(1)).await;
    // A place that gets free is for one that waits.
    let (mut ended, mut waiting) = (0, retries.len());
    while waiting > 0 {
        assert!(!begun.is_finished(), "{waiting} still wait");
        // Only those that are not waiting can end.
        let at = places.iter().position(|place| Arc::strong_count(place) == 1).unwrap();
        drop(places.swap_remove(at));
        ended += 1;
        sleep(Duration::from_millis(1)).await;
        while let Some(retried) = retries.try_join_next() {
            retried.unwrap();
            waiting -= 1;
        }
    }
    assert_eq!(ended, 32);
}

#[tokio::test(start_paused = true)]
async fn without_descriptors_fewer_go_at_once_and_all_of_them_again_some_time_later() {
    let concurrency = concurrency(Transfers::Fixed(8));
    let mut places = concurrency.all_places(SIZE).await;
    for tries in 1..=4 {
        let pause = concurrency.scarce(tries, &"none left");
        // Those that meet it together count once.
        assert_eq!(concurrency.scarce(tries, &"none left"), pause);
        tokio::time::sleep(pause).await;
    }
    assert_eq!(concurrency.scarce(40, &"none left"), budget::SCARCE_PAUSE_MOST);
    places.truncate(1);
    assert!(concurrency.at_once(SIZE).await.is_none(), "one at once");
    places.push(concurrency.place(SIZE).await);
    sleep(Duration::from_secs(60)).await;
    places.extend(concurrency.all_places(SIZE).await);
    assert_eq!(places.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_lent_place_is_free_for_others_and_is_taken_again_also_where_the_wait_is_cancelled() {
    let concurrency = concurrency(Transfers::Fixed(1));
    let place = concurrency.place(SIZE).await;
    assert!(timeout(Duration::from_secs(1), place.lend(Duration::from_secs(9))).await.is_err());
    assert_eq!(concurrency.taken(), 1);
    let other = concurrency.place(SIZE);
    tokio::join!(place.lend(Duration::from_secs(9)), async {
        let other = other.await;
        sleep(Duration::from_secs(20)).await;
        drop(other);
    });
    assert!(concurrency.at_once(SIZE).await.is_none());
    drop(place);
    assert_eq!(concurrency.taken(), 0);
    assert!(concurrency.at_once(SIZE).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_dropped_holds_up_nobody() {
    let concurrency = concurrency(Transfers::Fixed(1));
    let place = concurrency.place(SIZE).await;
    let first = concurrency.join(Class::Small);
    let second = tokio::spawn({
        let concurrency = concurrency.clone();
        async move { concurrency.place(SIZE).await }
    });
    sleep(Duration::from_millis(1)).await;
    drop(place);
    sleep(Duration::from_millis(1)).await;
    assert!(!second.is_finished(), "the first one is next");
    drop(first);
    timeout(Duration::from_millis(1), second).await.unwrap().unwrap();
}

#[test]
fn few_descriptors_allow_few_uploads_and_at_least_one() {
    assert_eq!([0, 64, 256, 1024, 1 << 20].map(places::most_of), [1, 8, 56, 248, 256]);
}

#[test]
fn a_push_keeps_no_place_from_its_large_files() {
    assert_eq!(Class::seen(&file(LARGE), Asked::ByWatch), Class::Large);
    assert_eq!(Class::seen(&file(LARGE), Asked::ByName), Class::Medium);
}
