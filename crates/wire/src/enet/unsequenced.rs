//! Which unsequenced messages came already: a window of 1,024 numbers that moves with the newest.

/// Numbers in the window.
const WINDOW: u16 = 1024;
/// Further ahead than this is taken for old.
const AHEAD_MAX: u16 = 32 * WINDOW - 1;

#[derive(Default)]
pub(super) struct Window {
    /// The first number of the window.
    start: u16,
    came: Option<Box<[u64; 16]>>,
}

impl Window {
    /// Whether `number` comes for the first time.
    pub(super) fn take(&mut self, number: u16) -> bool {
        let bit = number % WINDOW;
        if number.wrapping_sub(self.start) > AHEAD_MAX {
            return false;
        }
        // Who sends nothing unsequenced pays nothing for it.
        let came = self.came.get_or_insert_default();
        if number - bit != self.start {
            self.start = number - bit;
            came.fill(0);
        }
        let Some(word) = came.get_mut(usize::from(bit / 64)) else { return false };
        let mask = 1 << (bit % 64);
        let is_new = *word & mask == 0;
        *word |= mask;
        is_new
    }
}
