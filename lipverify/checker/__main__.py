"""`python -m lipverify.checker CERT NETWORK`: exit code 0 accepted, 1 rejected, 3 bad input."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lipverify.checker import LIMIT, Unreadable, check
from lipverify.checker.replay import replay, shown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lipverify.checker", description="Check a certificate.")
    parser.add_argument("certificate", type=Path)
    parser.add_argument("network", type=Path, help="the ONNX file that it is about")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--limit-seconds", type=float, default=LIMIT)
    try:
        given = parser.parse_args(arguments)
    except SystemExit as stop:
        return 3 if stop.code else 0
    try:
        report = check(given.certificate, given.network, given.limit_seconds)
    except Unreadable as error:
        sys.stderr.write(f"lipverify.checker: {error}\n")
        return 3
    replayed = replay(given.certificate, given.network) if report.outputs else []
    lines = [f"{report.verdict}: {report.claim}: {report.reason}", *shown(report, replayed)]
    if given.json:
        lines = [json.dumps({**asdict(report), "onnxruntime": replayed})]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if report.accepted else 1


if __name__ == "__main__":
    sys.exit(main())
