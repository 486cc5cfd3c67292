#!/bin/bash
# install_tool.sh v1: sets up lipverify in a virtual environment beside these scripts' project.
set -euo pipefail
[ "${1:-}" = v1 ] || { echo "expected the version v1 as first argument, found '${1:-}'" >&2; exit 1; }
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
command -v uv >/dev/null || python3 -m pip install --user uv
cd "$root"
PATH="$HOME/.local/bin:$PATH" uv sync --no-group dev
