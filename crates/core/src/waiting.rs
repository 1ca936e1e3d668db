//! What waits for an answer until a deadline.

use std::collections::{BTreeMap, BTreeSet};

use crate::io::Now;

/// Things that wait, each with a number, an owner and a deadline of its own. An answered one leaves
/// nothing behind: most are answered at once, long before their deadline. What one owner has is
/// found without looking at what others have.
#[derive(Debug)]
pub(crate) struct Waiting<O, T> {
    entries: BTreeMap<u64, (Now, O, T)>,
    deadlines: BTreeSet<(Now, u64)>,
    owned: BTreeSet<(O, u64)>,
    last: u64,
}

impl<O, T> Default for Waiting<O, T> {
    fn default() -> Self {
        let (entries, deadlines, owned) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { entries, deadlines, owned, last: 0 }
    }
}

impl<O: Ord + Clone, T> Waiting<O, T> {
    /// Returns the number, counted from 1.
    pub fn add(&mut self, until: Now, owner: O, entry: T) -> u64 {
        self.last += 1;
        self.owned.insert((owner.clone(), self.last));
        self.entries.insert(self.last, (until, owner, entry));
        self.deadlines.insert((until, self.last));
        self.last
    }

    pub fn take(&mut self, number: u64) -> Option<T> {
        let (until, owner, entry) = self.entries.remove(&number)?;
        self.deadlines.remove(&(until, number));
        self.owned.remove(&(owner, number));
        Some(entry)
    }

    /// What waits under this number.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.entries.get_mut(&number).map(|(_, _, entry)| entry)
    }

    /// Whose this is; none: it does not wait.
    pub fn owner(&self, number: u64) -> Option<&O> {
        self.entries.get(&number).map(|(_, owner, _)| owner)
    }

    /// Takes the next one whose deadline has come.
    pub fn take_due(&mut self, now: Now) -> Option<T> {
        let &(_, number) = self.deadlines.first().filter(|(until, _)| *until <= now)?;
        self.take(number)
    }

    pub fn next_deadline(&self) -> Option<Now> {
        self.deadlines.first().map(|&(until, _)| until)
    }

    /// Takes the oldest that an owner has.
    pub fn take_of(&mut self, owner: &O) -> Option<T> {
        let number = self.of(owner).next()?;
        self.take(number)
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// How many an owner has.
    pub fn count_of(&self, owner: &O) -> usize {
        self.of(owner).count()
    }

    fn of(&self, owner: &O) -> impl Iterator<Item = u64> {
        let all = (owner.clone(), 0)..=(owner.clone(), u64::MAX);
        self.owned.range(all).map(|&(_, number)| number)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn what_is_answered_is_not_due_and_the_rest_comes_by_deadline() {
        let mut waiting = Waiting::default();
        let late = waiting.add(Now(20), (), "late");
        let soon = waiting.add(Now(10), (), "soon");
        let answered = waiting.add(Now(5), (), "answered");
        assert_eq!(waiting.next_deadline(), Some(Now(5)));
        assert_eq!(waiting.take(answered), Some("answered"));
        assert_eq!(waiting.take(answered), None);
        assert_eq!(waiting.next_deadline(), Some(Now(10)));
        assert_eq!(waiting.take_due(Now(9)), None);
        assert_eq!(waiting.take_due(Now(30)), Some("soon"));
        assert_eq!((waiting.owner(soon), waiting.owner(late)), (None, Some(&())));
        assert_eq!(waiting.take_due(Now(30)), Some("late"));
        assert_eq!(waiting.next_deadline(), None);
    }

    /// Counts how often one is looked at.
    #[derive(Clone, PartialEq, Eq)]
    struct Owner(u32, Rc<Cell<u32>>);

    impl Ord for Owner {
        fn cmp(&self, other: &Self) -> Ordering {
            self.1.set(self.1.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Owner {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn what_one_owner_has_is_found_without_looking_at_all_others() {
        let mut waiting = Waiting::default();
        let looked_at = Rc::default();
        let owner = |number| Owner(number, Rc::clone(&looked_at));
        for number in 0..100_000 {
            waiting.add(Now(10), owner(number % 50_000), number);
        }
        looked_at.set(0);
        assert_eq!(waiting.count_of(&owner(7)), 2);
        assert_eq!(waiting.take_of(&owner(7)), Some(7));
        assert_eq!(waiting.take_of(&owner(7)), Some(50_007));
        assert_eq!(waiting.take_of(&owner(7)), None);
        let looked_at = looked_at.get();
        assert!(looked_at < 2_000, "{looked_at} of 100,000");
    }
}
