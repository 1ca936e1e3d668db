//! What waits for an answer until a deadline.

use std::collections::{BTreeMap, BTreeSet};

use crate::io::Now;

/// Things that wait, each with a number of its own and a deadline. An answered one leaves nothing
/// behind: most are answered at once, long before their deadline.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    entries: BTreeMap<u64, (Now, T)>,
    deadlines: BTreeSet<(Now, u64)>,
    last: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), deadlines: BTreeSet::new(), last: 0 }
    }
}

impl<T> Waiting<T> {
    /// Returns the number, counted from 1.
    pub fn add(&mut self, until: Now, entry: T) -> u64 {
        self.last += 1;
        self.entries.insert(self.last, (until, entry));
        self.deadlines.insert((until, self.last));
        self.last
    }

    pub fn take(&mut self, number: u64) -> Option<T> {
        let (until, entry) = self.entries.remove(&number)?;
        self.deadlines.remove(&(until, number));
        Some(entry)
    }

    pub fn get(&self, number: u64) -> Option<&T> {
        self.entries.get(&number).map(|(_, entry)| entry)
    }

    /// Takes the next one whose deadline has come.
    pub fn take_due(&mut self, now: Now) -> Option<T> {
        let &(_, number) = self.deadlines.first().filter(|(until, _)| *until <= now)?;
        self.take(number)
    }

    pub fn next_deadline(&self) -> Option<Now> {
        self.deadlines.first().map(|&(until, _)| until)
    }

    /// The numbers of those that `wanted` says yes to.
    pub fn numbers(&self, wanted: impl Fn(&T) -> bool) -> Vec<u64> {
        let found = self.entries.iter().filter(|(_, (_, entry))| wanted(entry));
        found.map(|(&number, _)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_is_not_due_and_the_rest_comes_by_deadline() {
        let mut waiting = Waiting::default();
        let late = waiting.add(Now(20), "late");
        let soon = waiting.add(Now(10), "soon");
        let answered = waiting.add(Now(5), "answered");
        assert_eq!(waiting.next_deadline(), Some(Now(5)));
        assert_eq!(waiting.take(answered), Some("answered"));
        assert_eq!(waiting.take(answered), None);
        assert_eq!(waiting.next_deadline(), Some(Now(10)));
        assert_eq!(waiting.take_due(Now(9)), None);
        assert_eq!(waiting.take_due(Now(30)), Some("soon"));
        assert_eq!((waiting.get(soon), waiting.get(late)), (None, Some(&"late")));
        assert_eq!(waiting.take_due(Now(30)), Some("late"));
        assert_eq!(waiting.next_deadline(), None);
    }
}
