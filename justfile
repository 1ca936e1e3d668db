# The few verbs. `just` alone lists them.

_default:
    @just --list

# The server, with the settings you add: just serve --listen ws://127.0.0.1:8080
serve *args:
    cargo run --release -- {{args}}

# All tests.
test:
    cargo test --workspace

# What a change must pass, in the order of speed.
check:
    cargo fmt --all --check
    cargo test -p roomcast-wire --test tidy
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# Replay one schedule of the simulator: just sim 123
sim seed:
    cargo run -p roomcast-sim -- {{seed}}

# Everything, as on a fresh machine.
ci:
    .ci/run
