#!/bin/bash
# prepare_instance.sh v1 CATEGORY ONNX VNNLIB: looks whether both files are there; nothing is
# converted beforehand, and nothing of an earlier run is left over.
set -euo pipefail
[ "${1:-}" = v1 ] || { echo "expected the version v1 as first argument, found '${1:-}'" >&2; exit 1; }
[ $# -ge 4 ] || { echo "expected: v1 CATEGORY ONNX VNNLIB" >&2; exit 1; }
for file in "$3" "$4"; do
  [ -f "$file" ] || [ -f "$file.gz" ] || { echo "$file does not exist" >&2; exit 1; }
done
