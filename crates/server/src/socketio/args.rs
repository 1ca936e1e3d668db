//! The arguments of an event, as Socket.IO has them: several values, binary ones among them.

use bytes::Bytes;
use roomcast_wire::push::Event;
use roomcast_wire::{Payload, SessionId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The arguments of an event, or of an acknowledgement. What a client of another dialect says as
/// its `data` is one argument, or a list of them; it hears them as a list.
///
/// ```
/// use roomcast::socketio::Args;
/// use serde_json::json;
///
/// let args = Args::of(("hi", json!({ "room": "tea" }), bytes::Bytes::from_static(b"\x01")))?;
/// assert_eq!(args.len(), 3);
/// assert_eq!(args.get::<String>(0)?, "hi");
/// assert_eq!(args.bin(2).as_deref(), Some(&b"\x01"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Args(Vec<Payload>);

impl Args {
    /// Arguments from a tuple of values, from one value, or from none (`()`).
    ///
    /// # Errors
    /// A value cannot be written.
    pub fn of(args: impl IntoArgs) -> Result<Self, String> {
        args.into_args()
    }

    pub(super) fn read_from(data: Option<Payload>) -> Self {
        let Some(data) = data else { return Self::default() };
        Self(data.items().unwrap_or_else(|| vec![data]))
    }

    pub(super) fn into_payload(self) -> Result<Payload, String> {
        let list = Payload::list(&self.0).map_err(|error| format!("arguments: {error}"))?;
        Ok(list.into_arguments())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The argument of that number as a type of the application's; one that is missing is read
    /// as `null`.
    ///
    /// # Errors
    /// It is not of that type.
    pub fn get<T: DeserializeOwned>(&self, at: usize) -> Result<T, serde_json::Error> {
        match self.0.get(at) {
            Some(value) => value.read(),
            None => T::deserialize(Value::Null),
        }
    }

    /// The argument of that number, if it is binary.
    pub fn bin(&self, at: usize) -> Option<Bytes> {
        self.0.get(at)?.as_bin()
    }

    /// The values as they came.
    pub fn values(&self) -> &[Payload] {
        &self.0
    }
}

/// What may be the arguments of an event: a tuple of up to six values, one value, the arguments of
/// another event, or nothing (`()`). A value is anything that serde can write, by reference; a JSON
/// value, a string, a number; a payload; or binary data ([`Bytes`]).
pub trait IntoArgs {
    /// The arguments.
    ///
    /// # Errors
    /// A value cannot be written.
    fn into_args(self) -> Result<Args, String>;
}

impl From<Vec<Payload>> for Args {
    fn from(values: Vec<Payload>) -> Self {
        Self(values)
    }
}

/// What was said in a room, as a Socket.IO client hears it: to be said again.
impl From<&Event> for Args {
    fn from(event: &Event) -> Self {
        match &event.payload {
            Some(data) if data.is_arguments() => Self::read_from(Some(data.clone())),
            data => Self(data.iter().cloned().collect()),
        }
    }
}

impl IntoArgs for Args {
    fn into_args(self) -> Result<Args, String> {
        Ok(self)
    }
}

/// One argument of an event.
pub trait IntoArg {
    /// Its value.
    ///
    /// # Errors
    /// It cannot be written.
    fn into_arg(self) -> Result<Payload, String>;
}

impl<T: Serialize + ?Sized> IntoArg for &T {
    fn into_arg(self) -> Result<Payload, String> {
        Payload::json(self).map_err(|error| format!("an argument: {error}"))
    }
}

impl IntoArg for Payload {
    fn into_arg(self) -> Result<Payload, String> {
        Ok(self)
    }
}

impl IntoArg for Bytes {
    fn into_arg(self) -> Result<Payload, String> {
        Ok(Payload::bin(&self))
    }
}

macro_rules! written_by_reference {
    ($($type:ty)*) => {
        $(impl IntoArg for $type {
            fn into_arg(self) -> Result<Payload, String> {
                (&self).into_arg()
            }
        })*
    };
}

written_by_reference! { Value String bool i32 i64 u32 u64 usize f64 SessionId }

macro_rules! one_argument {
    ($($type:ty)*) => {
        $(impl IntoArgs for $type {
            fn into_args(self) -> Result<Args, String> {
                Ok(Args(vec![self.into_arg()?]))
            }
        })*
    };
}

one_argument! { Payload Bytes Value String bool i32 i64 u32 u64 usize f64 SessionId }

impl<T: Serialize + ?Sized> IntoArgs for &T {
    fn into_args(self) -> Result<Args, String> {
        Ok(Args(vec![self.into_arg()?]))
    }
}

impl IntoArgs for () {
    fn into_args(self) -> Result<Args, String> {
        Ok(Args::default())
    }
}

macro_rules! tuple {
    ($($value:ident)*) => {
        impl<$($value: IntoArg),*> IntoArgs for ($($value,)*) {
            #[allow(non_snake_case, reason = "a value is named as its type")]
            fn into_args(self) -> Result<Args, String> {
                let ($($value,)*) = self;
                Ok(Args(vec![$($value.into_arg()?),*]))
            }
        }
    };
}

tuple! { A }
tuple! { A B }
tuple! { A B C }
tuple! { A B C D }
tuple! { A B C D E }
tuple! { A B C D E F }
