//! A whole room server: `cargo run -p small-examples --bin hello`, then open the page it names,
//! or `roomcast chat --room lobby --name Mina`.

use roomcast::{Server, StartError};

fn main() -> Result<(), StartError> {
    let server = Server::builder().listen(small_examples::url()).start()?;
    small_examples::run(server);
    Ok(())
}
