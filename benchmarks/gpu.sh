#!/usr/bin/env bash
# What a machine with NVIDIA GPUs can show and the tests cannot: that torch on CUDA learns what torch on a CPU learns, in
# every precision and way of sharing, and how fast. Prints a table; exit code 1 when a case differs too much or fails, 2
# without a GPU.
#
#   benchmarks/gpu.sh                  all GPUs of this machine
#   benchmarks/gpu.sh --only ddp       the cases with that word in their name
#   benchmarks/gpu.sh --device cpu     the same cases on processor cores: whether the script itself works
set -euo pipefail
cd "$(dirname "$0")/.."
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec "${PYTHON:-.venv/bin/python}" benchmarks/gpu.py "$@"
