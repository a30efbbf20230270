#!/bin/sh
# Compiles the hash-pinned requirement files from pyproject.toml. Run by `make requirements`.
# torch and what it brings for CUDA stand in a file of their own, so that another build of torch can take its place.
set -eu
uv=$1
accelerator=$(mktemp)
trap 'rm -f "$accelerator"' EXIT

compile() {
    "$uv" pip compile --quiet pyproject.toml --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --generate-hashes --no-header --no-annotate --no-emit-index-url "$@"
}

compile --extra dev | grep -oE '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==' | tr -d '=' >"$accelerator"
without=$(sed 's/^/--no-emit-package /' "$accelerator" | tr '\n' ' ')
# shellcheck disable=SC2086
{
    compile --extra hooks --output-file requirements/hooks.txt
    compile --extra hooks --extra azure --output-file requirements/hooks-azure.txt
    compile --extra transfer --output-file requirements/transfer.txt
    compile --extra tuning $without --output-file requirements/tuning.txt
    compile --extra inference $without --output-file requirements/inference.txt
    compile --extra dev $without --output-file requirements/dev.txt
}
others=$(compile --extra dev | grep -oE '^[a-z0-9._-]+==' | tr -d '=' | grep -vxFf "$accelerator" | sed 's/^/--no-emit-package /' | tr '\n' ' ')
# shellcheck disable=SC2086
compile --extra dev $others --output-file requirements/torch.txt
