//! Words Battle: the game, and what makes it a room of roomcast.

pub mod game;
pub mod tell;
pub mod terms;
pub mod words;
