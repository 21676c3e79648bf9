#!/usr/bin/env bash
# Everything that needs a CUDA device, offline, in minutes: `bash scripts/gpu_check.sh --help`.
#
# $PYTHON names the Python that has torch with CUDA (default: python3). It also needs triton, pytest and, for the
# build, scikit-build-core, pybind11, ninja and cmake. Nothing is downloaded; what may be missing otherwise is skipped
# with its reason, and scripts/gpu_wheels.sh collects it where there is a network.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m scripts.gpu.check "$@"
