#!/usr/bin/env bash
# tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
set -euo pipefail
config=$1 gpus=$2
torchrun --standalone --nproc-per-node "$gpus" "$(dirname "$0")/train.py" \
    "$config" --launcher pytorch "${@:3}"
