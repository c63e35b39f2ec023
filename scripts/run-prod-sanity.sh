#!/usr/bin/env bash
# One short life of the release binary on a real file system; flags are those of the command.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo xtask sanity "$@"
