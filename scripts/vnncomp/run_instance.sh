#!/bin/bash
# run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT: writes sat (with a counterexample), unsat,
# unknown, timeout or error into RESULTS. LIPVERIFY may name another command to run.
set -uo pipefail
[ "${1:-}" = v1 ] || { echo "expected the version v1 as first argument, found '${1:-}'" >&2; exit 1; }
[ $# -ge 6 ] || { echo "expected: v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT" >&2; exit 1; }
onnx="$3" vnnlib="$4" results="$5" limit="$6"
[ -f "$onnx" ] || onnx="$onnx.gz"
[ -f "$vnnlib" ] || vnnlib="$vnnlib.gz"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
read -r -a lipverify <<<"${LIPVERIFY:-$root/.venv/bin/lipverify}"
# Starting up takes time too.
own="$(awk -v t="$limit" 'BEGIN { print (t > 20 ? t - 4 : t > 2 ? 0.8 * t : t) }')"
rm -f "$results"
timeout -k 5 "$limit" "${lipverify[@]}" verify "$vnnlib" --network "$onnx" --timeout "$own" \
  --vnncomp --results "$results"
code=$?
# 0 to 3 are lipverify's own; `timeout` ends what runs too long with 124.
if [ ! -s "$results" ]; then
  if [ "$code" = 124 ] || [ "$code" = 137 ]; then echo timeout; else echo error; fi >"$results"
fi
