#!/usr/bin/env bash
# All that only a GPU can show, in under nine minutes: speed first, then what the tests hold.
#
#   bash tests/gpu/run.sh OUT PHOTOGRAPHS
#
# OUT gets the results as they come; PHOTOGRAPHS is a folder of JPEGs.  On a bare machine, one with
# PyTorch and without this package, call it from the repository: what is missing there (pydantic,
# pycocotools, …) can lie as wheels in a folder that WHEELS names.  DEVICE=cpu tries the script
# itself, at the smallest sizes.
set -uo pipefail
out=$(realpath -m "$1") photographs=$(realpath "$2")
cd "$(dirname "$0")/../.."
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
if [ -n "${WHEELS:-}" ]; then
    site=$(mktemp -d)
    python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
    export PYTHONPATH="$PYTHONPATH:$site"
fi
device=${DEVICE:-cuda} small=()
if [ "$device" = cpu ]; then
    small=(--small)
    export CYBORGS_TEST_DEVICE=cpu
fi
status=0
{ nvidia-smi 2> /dev/null || lscpu; python3 -c 'import sys, torch; print(sys.version, torch.__version__)'; } \
    > "$out/machine.txt"

echo "== speed"
timeout 300 python3 tests/bench/gpu.py "$photographs" --out "$out/speed.jsonl" --device "$device" \
    --seconds "${BENCH_SECONDS:-200}" "${small[@]}" > "$out/speed.md" 2> "$out/speed.log" || status=1
cat "$out/speed.md" || true
[ -s "$out/speed.md" ] || tail -n 20 "$out/speed.log"

echo "== tests"
timeout "${TEST_SECONDS:-240}" python3 -m pytest tests/gpu -p no:cacheprovider -rs -s --durations=8 \
    ${TESTS:+-k "$TESTS"} > "$out/tests.log" 2>&1 || status=1
tail -n 40 "$out/tests.log"
exit "$status"
