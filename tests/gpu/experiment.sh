#!/usr/bin/env bash
# An experiment on one GPU, within a time: what the limit leaves is for another call.
#
#   bash tests/gpu/experiment.sh OUT EXPERIMENT ARCHIVE SECONDS
#
# ARCHIVE is a tar of the data set, in the layout that the experiment's `datasets` wants below
# VOC2007/ (for a folder in PASCAL VOC's layout: `tar -C datasets/VOC2007 -cf ARCHIVE .`).  OUT gets
# the figures (figures.tar.gz: unpack it beside a clone, and `cyborgs experiment summary` reads
# them).  A second call with the same folder in WORK goes on where the first stopped.  WHEELS as for
# run.sh; DEVICE=cpu and LANES=2 try the script itself.
set -uo pipefail
begun=$(date +%s)
out=$(realpath -m "$1") experiment=$(realpath "$2") archive=$(realpath "$3") limit=$4
cd "$(dirname "$0")/../.."
here=$PWD
mkdir -p "$out"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
if [ -n "${WHEELS:-}" ]; then
    site=$(mktemp -d)
    python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
    export PYTHONPATH="$PYTHONPATH:$site"
fi
work=${WORK:-$(mktemp -d)}
mkdir -p "$work/datasets/VOC2007" && tar -C "$work/datasets/VOC2007" --skip-old-files -xf "$archive"
ln -sfn "$here/docs" "$work/docs"
cd "$work"
# Whatever ends this script, what is finished comes back.
trap 'tar -czf "$out/figures.tar.gz" results/*/{index.jsonl,evaluations,metrics,cost,logs} 2> /dev/null' EXIT
left=$((limit - $(date +%s) + begun))
timeout $((left - 15)) python3 "$here/tests/bench/lanes.py" "$experiment" --lanes "${LANES:-11}" \
    --seconds $((left - 75)) --device "${DEVICE:-cuda}" > "$out/lanes.log" 2>&1
status=$?
cat "$out/lanes.log"
exit "$status"
