//! What a room does beside relaying.

mod data;

pub use self::data::{IntoData, IntoEvent};
