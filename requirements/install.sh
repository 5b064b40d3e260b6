#!/usr/bin/env bash
# Makes the virtual environment VENV with the package set STACK; does nothing but
# refresh the editable install when VENV already holds the requirements KEY.
# Called by `make install`:  PYTHON=python3 install.sh VENV STACK KEY
set -euo pipefail

venv=$1 stack=$2 key=$3
root=$(cd "$(dirname "$0")/.." && pwd)
req=$root/requirements
stamp=$venv/mmseg-cellvta.stamp

fail() { echo "make install: $*" >&2; exit 1; }

[[ $stack == onedl || $stack == openmmlab ]] ||
    fail "STACK=$stack is unknown; choose STACK=onedl or STACK=openmmlab"
if [[ -f $stamp ]]; then
    read -r have _ <"$stamp"
    [[ $have == "$stack" ]] ||
        fail "$venv holds the package set $have, which cannot be mixed with $stack;" \
            "choose another folder with VENV=dir, or delete $venv"
elif [[ -e $venv ]]; then
    fail "$venv exists and was not made by make install; choose another folder" \
        "with VENV=dir, or delete $venv"
else
    "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' ||
        fail "$("$PYTHON" -V) is not supported; choose a Python 3.11 to 3.13" \
            "with PYTHON=python3.11"
    "$PYTHON" -m venv "$venv"
    echo "$stack incomplete" >"$stamp"
fi

uv() { VIRTUAL_ENV=$venv "$venv/bin/uv" "$@"; }
packages() {
    uv pip install --quiet --constraints "$req/constraints.txt" \
        --overrides "$req/overrides.txt" "$@"
}

install_onedl() {
    local probe='import torch; raise SystemExit(not torch.cuda.is_available())'
    if "$venv/bin/python" -c "$probe" && command -v nvcc >/dev/null; then
        echo 'CUDA found: building onedl-mmcv with its compiled ops (many minutes)'
        # In an isolated build there is no torch and the ops are left out silently;
        # without --no-cache a wheel cached by a machine without CUDA would be taken.
        MMCV_WITH_OPS=1 FORCE_CUDA=1 packages --no-build-isolation --no-cache \
            --no-binary onedl-mmcv "$(grep '^onedl-mmcv' "$req/onedl.txt")"
    fi
    MMCV_WITH_OPS=0 packages -r "$req/onedl.txt"
}

install_openmmlab() {
    [[ ! -d $root/../shared/wheels ]] ||
        export UV_FIND_LINKS=${UV_FIND_LINKS:-$root/../shared/wheels}
    uv pip install --quiet --dry-run --no-deps --only-binary mmcv \
        "$(grep '^mmcv' "$req/openmmlab.txt")" 2>/dev/null ||
        echo 'No wheel of mmcv for this Python: building from source (20+ minutes)'
    packages --no-build-isolation-package mmcv -r "$req/openmmlab.txt"
}

if [[ $(<"$stamp") != "$stack $key" ]]; then
    [[ -x $venv/bin/uv ]] ||
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
    packages torch torchvision setuptools wheel -r "$req/runtime.txt" \
        -r "$req/headless.txt" -r "$req/tests.txt" -r "$req/slides.txt"
    "install_$stack"
fi
uv pip install --quiet --no-deps --no-build-isolation --editable "$root"
echo "$stack $key" >"$stamp"
