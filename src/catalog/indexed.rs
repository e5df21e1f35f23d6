//! A state that is asked much: which objects are of a kind, what is part of one, who needs it.

use std::borrow::Borrow;
use std::cell::{Cell, OnceCell};
use std::collections::{HashMap, HashSet};
use std::mem::{Discriminant, discriminant};
use std::ops::{Deref, Range};

use super::id::qualified;
use super::ranges::in_ranges;
use super::{Catalog, Id};
use crate::kind::comment::Comment;
use crate::kind::{Kind, Object};

/// A state with its indexes, each made when it is first asked for: most changes ask for few of them, and a plan that
/// looked through 10,000 tables for each of 1,000 columns would take minutes.
#[derive(Debug)]
pub struct Indexed<'a> {
    catalog: &'a Catalog,
    kinds: OnceCell<Vec<OfKind>>,
    relations: Relations,
    needs: OnceCell<Needs>,
    parents: OnceCell<Marks>,
}

impl Deref for Indexed<'_> {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        self.catalog
    }
}

impl<'a> Indexed<'a> {
    /// This state, which stays as it is.
    #[must_use]
    pub const fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, kinds: OnceCell::new(), relations: Relations::new(), needs: OnceCell::new(), parents: OnceCell::new() }
    }

    /// The typed objects of one kind, in order: as [`Catalog::of`], without looking at the others.
    pub fn of<K: Kind + 'a>(&self) -> impl Iterator<Item = &'a K> + use<'a, '_, K> {
        let objects = &self.catalog.objects;
        self.kind::<K>().into_iter().flat_map(|kind| &kind.places).filter_map(|place| K::cast(&objects[*place as usize]))
    }

    fn kind<K: Kind>(&self) -> Option<&OfKind> {
        let kinds = self.kinds.get_or_init(|| by_kind(self.catalog));
        kinds.iter().find(|kind| K::cast(&self.catalog.objects[kind.places[0] as usize]).is_some())
    }

    /// The objects of one kind that are part of another object, in order.
    pub fn within<K: Kind + 'a>(&self, parent: &Id) -> impl Iterator<Item = &'a K> + use<'a, K> {
        let catalog = self.catalog;
        let of_place = |place: &u32| &catalog.objects[*place as usize];
        let found: Vec<&'a Object> = self.kind::<K>().map_or_else(Vec::new, |OfKind { places, parents }| {
            let parents = parents.get_or_init(|| Marks::of(places.len(), |at| of_place(&places[at]).parent()));
            parents
                .places(parent)
                .into_iter()
                .map(|at| of_place(&places[at]))
                .filter(|object| object.parent().as_ref() == Some(parent))
                .collect()
        });
        found.into_iter().filter_map(K::cast)
    }

    /// Whether a relation or a type of the schema has this name: a table, an index, a sequence, a view share them.
    #[must_use]
    pub fn has_relation(&self, schema: &str, name: &str) -> bool {
        let called = qualified(&[schema.into(), name.into()]);
        self.relations.asked.set(self.relations.asked.get() + 1);
        if self.relations.asked.get() < WORTH_SORTING {
            return self.catalog.objects.iter().any(|(id, object)| match object {
                // Its sequence is called otherwise than the column.
                Object::Column(column) => column.identity.is_some() && object.relation_name().as_ref() == Some(&called),
                _ => id.name() == name && id.schema() == schema && object.relation_name().is_some(),
            });
        }
        self.relations.names.get_or_init(|| self.catalog.objects.values().filter_map(Object::relation_name).collect()).contains(&called)
    }

    /// The direct parts of one object, in order.
    #[must_use]
    pub fn parts(&self, id: &Id) -> Vec<&'a Object> {
        let catalog = self.catalog;
        if catalog.get(id).is_some_and(Object::has_only_comments) {
            return catalog.get(&id.satellite(Comment::KEYWORD, None)).into_iter().collect();
        }
        let all = self.parents.get_or_init(|| Marks::of(catalog.objects.len(), |at| catalog.objects[at].parent()));
        let found = all.places(id).into_iter().map(|place| &catalog.objects[place]);
        found.filter(|object| object.parent().as_ref() == Some(id)).collect()
    }

    /// Who needs one object, beyond being part of it, in order.
    pub fn dependants(&self, id: &Id) -> impl Iterator<Item = &'a Id> + use<'a> {
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
        let users: Vec<&'a Id> =
            users.into_iter().filter_map(|place| Some(catalog.objects.get_index(place)?.0)).filter(|other| *other != id).collect();
        users.into_iter()
    }
}

/// The objects of one kind.
#[derive(Debug)]
struct OfKind {
    /// Where they are; never empty.
    places: Vec<u32>,
    /// What they are part of, by their place among these.
    parents: OnceCell<Marks>,
}

/// The places of the objects of each kind that is there. Those of one kind mostly stand together.
fn by_kind(catalog: &Catalog) -> Vec<OfKind> {
    type Run = (Discriminant<Object>, Range<u32>);
    let runs = in_ranges(catalog.objects.len(), |places| {
        let mut runs: Vec<Run> = Vec::new();
        for place in places {
            let (kind, at) = (discriminant(&catalog.objects[place]), number(place));
            match runs.last_mut() {
                Some((last, run)) if *last == kind => run.end = at + 1,
                _ => runs.push((kind, at..at + 1)),
            }
        }
        runs
    });
    let mut kinds: HashMap<Discriminant<Object>, Vec<u32>> = HashMap::new();
    for (kind, run) in runs.into_iter().flatten() {
        kinds.entry(kind).or_default().extend(run);
    }
    kinds.into_values().map(|places| OfKind { places, parents: OnceCell::new() }).collect()
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("a state holds fewer than four thousand million objects")
}

/// What shares the namespace of relations.
#[derive(Debug)]
struct Relations {
    asked: Cell<usize>,
    names: OnceCell<HashSet<String>>,
}

impl Relations {
    const fn new() -> Self {
        Self { asked: Cell::new(0), names: OnceCell::new() }
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

/// From so many questions on, putting all in order is less work than looking through them.
const WORTH_SORTING: usize = 50;

impl Marks {
    /// What `said` says of ids at each of `count` places.
    fn of<I: IntoIterator<Item: Borrow<Id>>>(count: usize, said: impl Fn(usize) -> I + Sync) -> Self {
        let of_range = |places: Range<usize>| -> Vec<Mark> {
            places.flat_map(|at| said(at).into_iter().map(move |id| (mark(Borrow::borrow(&id)), number(at)))).collect()
        };
        let all = in_ranges(count, of_range).concat();
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
