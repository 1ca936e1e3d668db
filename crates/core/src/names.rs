//! How the members of a room are called, where names must not stand twice.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use roomcast_wire::{ErrorCode, Name, Refusal};

/// How many members have each display name. Most rooms never ask: nothing is counted until the
/// first question, which alone looks through all members.
#[derive(Debug, Default)]
pub(crate) struct Names(Option<Box<HashMap<Name, u32, FixedState>>>);

impl Names {
    /// Counts from now on, and first the members that are there.
    pub fn count<'a>(
        &mut self,
        hasher: &FixedState,
        members: impl Iterator<Item = Option<&'a Name>>,
    ) {
        if self.0.is_some() {
            return;
        }
        self.0 = Some(Box::new(HashMap::with_hasher(hasher.clone())));
        members.for_each(|name| self.add(name));
    }

    pub fn add(&mut self, name: Option<&Name>) {
        if let (Some(counts), Some(name)) = (&mut self.0, name) {
            *counts.entry_ref(name).or_insert(0) += 1;
        }
    }

    pub fn remove(&mut self, name: Option<&Name>) {
        if let (Some(counts), Some(name)) = (&mut self.0, name)
            && let Some(members) = counts.get_mut(name)
        {
            *members -= 1;
            if *members == 0 {
                counts.remove(name);
            }
        }
    }

    /// Looks whether nobody is called so, but for `own` members.
    ///
    /// # Errors
    /// Somebody is.
    pub fn check_is_free(&self, name: &Name, own: u32) -> Result<(), Refusal> {
        let members = self.0.as_ref().and_then(|counts| counts.get(name));
        if members.is_some_and(|members| *members > own) {
            let text = format!("another member of the room is called `{name}`");
            return Err(Refusal::new(ErrorCode::NameTaken, text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_free_when_the_last_who_has_it_is_gone() {
        let [mina, bob] = ["Mina", "Bob"].map(|name| Name::new(name).unwrap());
        let mut names = Names::default();
        names.add(Some(&mina));
        assert!(names.check_is_free(&mina, 0).is_ok(), "nothing is counted yet");
        let members = [Some(&mina), None, Some(&mina)];
        names.count(&FixedState::default(), members.into_iter());
        names.add(Some(&bob));
        names.count(&FixedState::default(), members.into_iter());
        let free = |names: &Names| {
            [(&mina, 0), (&mina, 1), (&mina, 2), (&bob, 0)]
                .map(|(name, own)| names.check_is_free(name, own).is_ok())
        };
        assert_eq!(free(&names), [false, false, true, false]);
        names.remove(Some(&mina));
        names.remove(Some(&bob));
        names.remove(None);
        assert_eq!(free(&names), [false, true, true, true]);
        names.remove(Some(&mina));
        assert_eq!(free(&names), [true; 4]);
    }
}
