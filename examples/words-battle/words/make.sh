#!/bin/sh
# Makes words.txt from Debian's package wamerican (SCOWL, size 60): the plain lower-case words of
# two letters or more, one a line, sorted. Usage: apt-get install wamerican && ./make.sh
set -eu
cd "$(dirname "$0")"
LC_ALL=C grep -E '^[a-z]{2,}$' "${1:-/usr/share/dict/american-english}" | LC_ALL=C sort -u > words.txt
wc -lc words.txt
