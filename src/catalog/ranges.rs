//! Work on very many objects, divided among threads.

use std::ops::Range;

/// Fewer places than this are not worth a thread.
const SHARE: usize = 10_000;

/// What `work` makes of each range of the places below `count`, in order.
///
/// # Panics
/// When `work` panics.
pub fn in_ranges<R: Send>(count: usize, work: impl Fn(Range<usize>) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = count.div_ceil(threads).max(SHARE);
    let range = |first: usize| first..count.min(first + share);
    let work = &work;
    std::thread::scope(|scope| {
        let others: Vec<_> = (share..count).step_by(share).map(|first| scope.spawn(move || work(range(first)))).collect();
        let mut made = vec![work(range(0))];
        made.extend(others.into_iter().map(|other| other.join().expect("objects are plain, sized data")));
        made
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_worked_on_once_and_in_order() {
        for count in [0, 1, SHARE - 1, SHARE, SHARE + 1, 7 * SHARE + 3] {
            let places: Vec<usize> = in_ranges(count, Iterator::collect::<Vec<usize>>).concat();
            assert_eq!(places, (0..count).collect::<Vec<usize>>());
        }
    }
}
