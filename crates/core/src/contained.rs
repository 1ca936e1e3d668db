//! Running and dropping what an application wrote, without being taken along by its panics.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what an application wrote.
///
/// # Errors
/// It panicked; what it said.
pub fn contained<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "it panicked without a word".to_owned(),
        };
        discard(panic);
        text
    })
}

/// Drops what an application made, which may panic once more.
pub fn discard<T>(what: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(what))) {
        mem::forget(panic);
    }
}
