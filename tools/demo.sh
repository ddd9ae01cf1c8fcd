#!/usr/bin/env bash
# Set up mmspike, then run its demo, or the one named: tools/demo.sh boxes or segmentation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for python in python3 python3.13 python3.12 python3.11 python3.10; do
    "$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break
    python=python3
done
command -v "$python" >/dev/null || { echo 'error: mmspike needs Python 3.10 or newer.' >&2; exit 1; }

"$python" tools/setup_env.py
exec .venv/bin/python tools/demo.py "$@"
