#!/usr/bin/env bash
# tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
set -euo pipefail
config=$1 checkpoint=$2 gpus=$3
torchrun --standalone --nproc-per-node "$gpus" "$(dirname "$0")/test.py" \
    "$config" "$checkpoint" --launcher pytorch "${@:4}"
