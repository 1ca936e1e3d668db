#!/bin/sh
# The figures of docs/performance.md, one after the other: about ten minutes on two cores.
#
#   cargo build --release && (cd bench/peers && npm ci) && bench/figures.sh
#
# Servers run on the first core, the load on the second. BENCH is the binary, ROUNDS how often.
# Targets of one line have their links open at the same time: four of 5,000 links would need a
# hard limit of more than 20,000 open files (`ulimit -Hn`), so there are three at most.
set -eu
cd "$(dirname "$0")/.."
bench=${BENCH:-target/release/roomcast}
rounds=${ROUNDS:-7}

show() {
    printf '\n$ roomcast bench %s\n' "$*"
    "$bench" bench "$@" --rounds "$rounds"
}

# One room of 1,000: each event alone, then 16 and 64 at once, which merge.
show fanout --vs-floor --peer bun --peer ws
show fanout --burst 16 --vs-floor --peer bun --peer ws
show fanout --burst 64 --vs-floor --peer bun
# 1,000 rooms of 5: at a rate that leaves time, at saturation, at half of that.
(rounds=30 && show rooms --rate 5000 --vs-floor --starts 5 --seconds 0.4)
show rooms --rate 5000 --vs-floor --peer bun
show rooms --rate 5000 --vs-floor --peer ws
show rooms --vs-floor --peer bun
show rooms --vs-floor --peer ws
show rooms --rate half --vs-floor --peer bun
show latency --vs-floor --peer bun --peer ws
show storm --vs-floor --peer bun --peer ws
show idle --no-join --vs-floor --peer bun
show idle --seconds 10 --vs-floor --peer bun --peer ws
show ticks
