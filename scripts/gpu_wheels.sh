#!/usr/bin/env bash
# Wheels of what a CUDA machine without a network may lack: `bash scripts/gpu_wheels.sh [FOLDER]` (default: gpu_wheels).
#
# For Python 3.12 on x86-64 Linux, under 60 MB in all. scripts/gpu/wheels.txt names them and their needs, but for what
# comes with torch or is large. $PYTHON names a Python with pip.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-gpu_wheels}
limit_mb=60
left_out="opencv-python-headless, scipy, transformers, peft, tensorboard, matplotlib (large; what needs them is skipped),
sleap-io (needs some twenty packages more)"

mkdir -p "$folder"
rm -f "$folder"/*.whl
platforms=()
for glibc in 34 31 28 27 26 24 17 12 5; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
  "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64 \
  --dest "$folder" --requirement "$root/scripts/gpu/wheels.txt"

size_mb=$(du -sm --apparent-size "$folder" | cut -f1)
echo "$(ls "$folder"/*.whl | wc -l) wheels, $size_mb MB in $folder; left out: $left_out."
echo "On the CUDA machine, without a network:"
echo
echo "  python3 -m pip install --no-index --no-deps $folder/*.whl"
echo
echo "Where the environment is to stay as it is, add --target site, and put site on PYTHONPATH."
if [ "$size_mb" -ge "$limit_mb" ]; then
  echo "gpu_wheels: more than $limit_mb MB; shorten scripts/gpu/wheels.txt." >&2
  exit 1
fi
