#!/bin/sh
# What an image needs beside Python and this repository's own code, as root: `install.sh EXTRAS`.
# Run where pyproject.toml and envs/ lie; both kinds of image use it.
set -eu
extras=$1

# For `torch.compile`, which builds code where it runs.
apt-get update -qq
apt-get install -y -qq --no-install-recommends gcc g++ libc6-dev > /dev/null
rm -rf /var/lib/apt/lists/*

python3 - "$extras" > /tmp/requirements.txt <<'PYTHON'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
optional = [project["optional-dependencies"][name] for name in sys.argv[1].split(",")]
print(*project["dependencies"], *sum(optional, []), sep="\n")
PYTHON

# PyPI's torch brings CUDA, 5 GB of it; the build for CPUs has an index of its own.
case ",$extras," in
*,gpu,*) torch= ;;
*) torch="--extra-index-url ${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" ;;
esac
# shellcheck disable=SC2086 (an option and its value, or nothing)
python3 -m pip install --no-cache-dir --constraint envs/constraints.txt $torch \
    --requirement /tmp/requirements.txt
rm /tmp/requirements.txt
