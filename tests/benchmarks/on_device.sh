#!/bin/sh
# Measure this machine's GPU without network, Java, Spark or TensorFlow: Keras computes with JAX, or with PyTorch.
#
#   tests/benchmarks/on_device.sh KIT OUT [STEP ...]
#
# KIT is the directory that `python -m tests.benchmarks.device_kit KIT` wrote on a machine with network. Figures, answers
# and the table go to OUT. Settings: PYTHON (python3), KERAS_BACKEND (jax), SHELFWISE_IMAGES in a round of the predict
# loop (20000), SHELFWISE_BATCHES (256,1024), SHELFWISE_STEP_SECONDS after which a step begins no measurement (90), and
# SHELFWISE_SECONDS after which the steps that are left are left out and the table is printed of what there is (560).
set -u
began=$(date +%s)
kit=$(realpath "$1") out=$2
shift 2
mkdir -p "$out"
out=$(realpath "$out")
cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if [ -d "$kit/wheels" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site/packages" \
        "$kit"/wheels/*.whl || exit 1
fi
export PYTHONPATH="$PWD:$site/packages" PYTHONUNBUFFERED=1 KERAS_BACKEND="${KERAS_BACKEND:-jax}"
# What one step has compiled, the next step loads.
export JAX_COMPILATION_CACHE_DIR="$site/compiled" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
for step in ${*:-machine b0-half agreement reader both-half b0-full training tests both-full table}; do
    echo "== $step, $(date +%T)"
    limit=$((began + ${SHELFWISE_SECONDS:-560} - $(date +%s)))
    [ "$step" != table ] || limit=60
    if [ "$limit" -le 0 ]; then
        echo "left out: there is no time for it"
        echo "$step" >> "$site/failed"
        continue
    fi
    if [ "$step" = tests ]; then
        timeout "$limit" "$python" -m pytest -q -p no:cacheprovider --confcutdir=tests/gpu tests/gpu/test_on_a_gpu.py
    else
        timeout "$limit" "$python" -m tests.benchmarks.on_device "$step" --kit "$kit" --out "$out" \
            --images "${SHELFWISE_IMAGES:-20000}" --batches "${SHELFWISE_BATCHES:-256,1024}" \
            --seconds "${SHELFWISE_STEP_SECONDS:-90}"
    fi || echo "$step" >> "$site/failed"
done 2>&1 | tee "$out/log.txt"
[ ! -e "$site/failed" ] || { echo "failed: $(tr '\n' ' ' < "$site/failed")"; exit 1; }
