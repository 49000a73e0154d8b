#!/bin/sh
# All that only a GPU can show, in less than eight minutes: see benchmarks/gpu.py, whose flags it takes.
cd "$(dirname "$0")/.." || exit 1
exec "${PYTHON:-python}" benchmarks/gpu.py "$@"
