//! What the examples share: where to listen, and when to stop.

use std::io::Write;

use roomcast::Server;

/// The URL to listen on: the first argument, or the usual one.
pub fn url() -> String {
    std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:7400".to_owned())
}

/// Says where the server is, runs until the end of the input (Ctrl-D), and takes leave.
pub fn run(server: Server) {
    for listener in server.listeners() {
        println!("{}", listener.url);
    }
    // Whoever reads the line from a pipe should not wait for a buffer.
    _ = std::io::stdout().flush();
    _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    server.drain_and_stop();
}
