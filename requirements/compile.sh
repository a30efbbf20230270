#!/bin/sh
# Compiles the hash-pinned requirement files from pyproject.toml. Run by `make requirements`.
# torch and what it brings for CUDA stand in files of their own, so that one build can take the place of another:
#   torch.txt        the newest, for this computer
#   torch-cu126.txt  for the images: the last build whose CUDA still holds code for V100 (compute capability 7.0)
set -eu
uv=$1
names=$(mktemp)
trap 'rm -f "$names"' EXIT

compile() {
    "$uv" pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --generate-hashes --no-header --no-annotate --no-emit-index-url "$@"
}

without() { # the packages in a file of names, as options
    sed 's/^/--no-emit-package /' "$1" | tr '\n' ' '
}

compile pyproject.toml --extra dev | grep -oE '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==' | tr -d '=' >"$names"
# shellcheck disable=SC2046
for extra in tuning inference dev; do
    compile pyproject.toml --extra $extra $(without "$names") --output-file requirements/$extra.txt
done
compile pyproject.toml --extra hooks --output-file requirements/hooks.txt
compile pyproject.toml --extra hooks --extra azure --extra kubernetes --output-file requirements/hooks-azure.txt
compile pyproject.toml --extra transfer --output-file requirements/transfer.txt

grep -ohE '^[a-z0-9._-]+==' requirements/dev.txt | tr -d '=' >"$names"
# shellcheck disable=SC2046
compile pyproject.toml --extra dev $(without "$names") --output-file requirements/torch.txt
grep -ohE '^[a-z0-9._-]+==' requirements/tuning.txt | tr -d '=' >"$names"
# shellcheck disable=SC2046
echo 'torch==2.7.1' | compile - $(without "$names") --output-file requirements/torch-cu126.txt
