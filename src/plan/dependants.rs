//! Who leans on an object of a state: who needs it, and what is part of it.

use std::cell::{Cell, OnceCell};

use crate::catalog::{Catalog, Id};
use crate::kind::Object;

/// Who needs an object, beyond being part of it, and its parts. Found out when it is first asked for: most changes have
/// no dependants that matter.
#[derive(Debug)]
pub struct Dependants<'a> {
    catalog: &'a Catalog,
    needs: OnceCell<Needs>,
    parents: OnceCell<Marks>,
}

impl<'a> Dependants<'a> {
    /// Those in one state.
    #[must_use]
    pub const fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, needs: OnceCell::new(), parents: OnceCell::new() }
    }

    /// The state.
    #[must_use]
    pub const fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    /// The dependants of one object, in the order of the state.
    pub fn of(&self, id: &Id) -> impl Iterator<Item = &'a Id> {
        let catalog = self.catalog;
        let all = self.needs.get_or_init(|| Needs::of(catalog));
        let recorded = all.recorded.places(id).into_iter().filter_map(|place| {
            let (other, needs) = catalog.needs.get_index(place)?;
            catalog.objects.get_index_of(other).filter(|_| needs.contains(id))
        });
        let own = all.own.places(id).into_iter().filter(|place| catalog.objects[*place].needs().contains(id));
        let mut users: Vec<usize> = recorded.chain(own).collect();
        users.sort_unstable();
        users.dedup();
        users.into_iter().filter_map(|place| catalog.objects.get_index(place)).map(|(other, _)| other).filter(move |other| *other != id)
    }

    /// The direct parts of one object, in the order of the state.
    pub fn parts(&self, id: &Id) -> impl Iterator<Item = &'a Object> {
        let catalog = self.catalog;
        let all = self.parents.get_or_init(|| Marks::of(catalog.objects.len(), |at| catalog.objects[at].parent()));
        let found = all.places(id).into_iter().map(|place| &catalog.objects[place]);
        found.filter(move |object| object.parent().as_ref() == Some(id))
    }
}

/// Every need of a state.
#[derive(Debug)]
struct Needs {
    /// What objects say themselves; places in `objects`.
    own: Marks,
    /// What the server recorded; places in `needs`.
    recorded: Marks,
}

impl Needs {
    fn of(catalog: &Catalog) -> Self {
        Self {
            own: Marks::of(catalog.objects.len(), |at| catalog.objects[at].needs()),
            recorded: Marks::of(catalog.needs.len(), |at| &catalog.needs[at]),
        }
    }
}

/// That at this place something is said of the id with this [`mark`].
type Mark = (u32, u32);

/// What is said of ids, each as two numbers: turning 10,000 tables round by id takes longer than all the rest of a plan,
/// looking through these numbers takes nothing.
#[derive(Debug)]
struct Marks {
    all: Vec<Mark>,
    asked: Cell<usize>,
    sorted: OnceCell<Vec<Mark>>,
}

/// Fewer places than this are not worth a thread.
const SHARE: usize = 10_000;
/// From so many questions on, sorting is less work than looking through all.
const WORTH_SORTING: usize = 50;

impl Marks {
    /// What `said` says of ids at each of `count` places.
    fn of<I: IntoIterator<Item: std::borrow::Borrow<Id>>>(count: usize, said: impl Fn(usize) -> I + Sync) -> Self {
        let number = |place: usize| u32::try_from(place).expect("a state holds fewer than four thousand million objects");
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = count.div_ceil(threads).max(SHARE);
        let of_range = |first: usize| {
            let places = first..count.min(first + share);
            places
                .flat_map(|at| said(at).into_iter().map(move |id| (mark(std::borrow::Borrow::borrow(&id)), number(at))))
                .collect::<Vec<Mark>>()
        };
        let all = std::thread::scope(|scope| {
            let of_range = &of_range;
            let workers: Vec<_> = (share..count).step_by(share).map(|first| scope.spawn(move || of_range(first))).collect();
            let mut all = of_range(0);
            for worker in workers {
                all.extend(worker.join().expect("objects are plain, sized data"));
            }
            all
        });
        Self { all, asked: Cell::new(0), sorted: OnceCell::new() }
    }

    /// Where something may be said of `id`: marks tell most ids apart, not all.
    fn places(&self, id: &Id) -> Vec<usize> {
        let wanted = mark(id);
        self.asked.set(self.asked.get() + 1);
        if self.asked.get() < WORTH_SORTING {
            return self.all.iter().filter(|(mark, _)| *mark == wanted).map(|(_, place)| *place as usize).collect();
        }
        let sorted = self.sorted.get_or_init(|| {
            let mut sorted = self.all.clone();
            sorted.sort_unstable();
            sorted
        });
        let first = sorted.partition_point(|(mark, _)| *mark < wanted);
        sorted[first..].iter().take_while(|(mark, _)| *mark == wanted).map(|(_, place)| *place as usize).collect()
    }
}

/// Half of what tells ids apart: so many of these numbers are looked through that their size counts.
const fn mark(id: &Id) -> u32 {
    (id.mark() >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways to look find the same, whichever is asked.
    #[test]
    fn sorted_marks_find_what_a_scan_finds() {
        let id = |number: usize| Id::new("table", ["public".to_owned(), format!("t{number}")]);
        let said: Vec<Vec<Id>> = (0..30_000).map(|at| vec![id(at % 700), id(at % 11)]).collect();
        let marks = Marks::of(said.len(), |at| said[at].iter());
        let scanned: Vec<Vec<usize>> = (0..40).map(|number| marks.places(&id(number))).collect();
        assert_eq!(marks.sorted.get(), None);
        for _ in 0..WORTH_SORTING {
            marks.places(&id(0));
        }
        assert!(marks.sorted.get().is_some());
        for (number, scanned) in scanned.into_iter().enumerate() {
            assert_eq!(marks.places(&id(number)), scanned, "of {}", id(number));
            let expected: Vec<usize> =
                (0..said.len()).flat_map(|at| said[at].iter().filter(|said| **said == id(number)).map(move |_| at)).collect();
            assert_eq!(marks.places(&id(number)), expected, "of {}", id(number));
        }
    }
}
