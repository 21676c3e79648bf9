#!/usr/bin/env bash
# Everything that needs a CUDA device, offline: build, tests on CUDA and Triton, compute-sanitizer, benchmarks.
#
#   bash scripts/gpu_check.sh [FOLDER]     results go to FOLDER, else to $OUT, else to gpu_check/
#
# It needs nvcc, and a Python with torch (CUDA), triton, pytest, pytest-benchmark, hypothesis, and the build tools
# scikit-build-core, pybind11, ninja and cmake. $PYTHON names it (default: python3); nothing is downloaded.
# Every step runs even if an earlier one failed; the exit code is 0 only if all passed.
set -uo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
out=${1:-${OUT:-gpu_check}}
mkdir -p "$out"
out=$(cd "$out" && pwd)
failed=()

step() {  # step NAME COMMAND...: run it, keep its output in NAME.log, remember a failure
  local name=$1
  shift
  echo "==== $name: $*"
  "$@" 2>&1 | tee "$out/$name.log"
  local code=${PIPESTATUS[0]}
  [ "$code" -eq 0 ] || failed+=("$name")
  return "$code"
}

if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "gpu_check: $python sees no CUDA device." >&2
  exit 2
fi

# REFKP_CUDA=ON: a build without nvcc must fail here instead of leaving the CUDA kernels out.
step build "$python" -m pip install --no-build-isolation --no-deps --force-reinstall \
  --config-settings=cmake.define.REFKP_CUDA=ON . || exit 1
"$python" -m refkp info --json > "$out/info.json"

# Native CUDA kernels and Triton on the device. The interpreter must be off, or Triton would never see the GPU.
export TRITON_INTERPRET=0
step tests "$python" -m pytest -m "not slow" --junitxml="$out/tests.xml"

# The native kernels alone: the sanitizer slows everything down by orders of magnitude.
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ -x "$sanitizer" ]; then
  for tool in memcheck racecheck; do
    step "sanitizer_$tool" "$sanitizer" --tool "$tool" --error-exitcode 1 --target-processes all \
      "$python" -m pytest tests/ops -q -k "native-cuda and not compile"
  done
else
  echo "gpu_check: compute-sanitizer not found; it comes with the CUDA toolkit." | tee "$out/sanitizer.log"
  failed+=(sanitizer)
fi

step bench "$python" -m refkp bench --device cuda --json "$out/bench.json"

if [ ${#failed[@]} -gt 0 ]; then
  echo "gpu_check: FAILED: ${failed[*]} (logs in $out)"
  exit 1
fi
echo "gpu_check: all passed; results in $out"
