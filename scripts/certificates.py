"""A table of certificates: for every verified property of spec files, its proof as it was checked.

    python scripts/certificates.py SPECS... [--timeout SECONDS] [--seconds SECONDS] [--out DIR]
        [--table FILE]

`--seconds` are for writing one property's proofs (default: the timeout). With `--table`, rows are
added to a file as they come, and specs that it names already are left out: a stopped run goes on.

Columns: the solver's upper end and how far above it the certified one is (relative), size and
leaves of the certificate, seconds of solving, of writing, and of checking with python-flint and
without.
What is not certified has its reason instead.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

import lipverify.checker.exact as arithmetic
from lipverify.api import verify
from lipverify.checker import check
from lipverify.config import CertifyConfig, VerifyConfig
from lipverify.evidence import PropertyResult
from lipverify.verdict import Falsified, Reason, Unknown

HEAD = (
    "property", "answer", "solver's end", "above it", "bytes", "leaves", "solve s", "write s",
    "check s", "pure s", "why not",
)  # fmt: skip
PURE_LIMIT = 300.0
"""Seconds for checking without python-flint."""


def specs(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.glob("*.yaml")) if path.is_dir() else [path]


def pure_seconds(result: PropertyResult) -> str:
    """Checking once more without python-flint; the verdict has to be the same."""
    total = 0.0
    for record in result.certificates:
        if record.kind == "attained":
            continue
        started = time.monotonic()
        try:
            arithmetic.use_flint = False
            report = check(Path(record.path), Path(result.network), PURE_LIMIT)
        finally:
            arithmetic.use_flint = True
        total += time.monotonic() - started
        if total > PURE_LIMIT:
            return f"> {PURE_LIMIT:g}"
        if report.accepted != record.accepted:
            return f"differs: {report.reason}"
    return f"{total:.2f}"


def row(path: Path, result: PropertyResult) -> list[str]:
    name = f"{path.stem} [{result.property}] {result.kind}"
    wanted = "falsified" if isinstance(result.verdict, Falsified) else "proof"
    proofs = [record for record in result.certificates if record.kind == wanted]
    ends = [stage.upper for stage in result.stages if stage.upper is not None]
    interval = result.kind == "lipschitz" and bool(ends)
    asked = proofs[0].at_most if proofs else None
    above = f"{asked / min(ends) - 1:.1e}" if interval and asked else ""
    why = result.verdict.detail if isinstance(result.verdict, Unknown) else result.remark
    return [
        name,
        result.verdict.word,
        f"{min(ends):.9g}" if interval else "",
        above,
        str(sum(record.bytes for record in proofs)) if proofs else "",
        str(sum(record.leaves for record in proofs)) if proofs else "",
        f"{result.seconds:.2f}",
        f"{sum(record.seconds for record in proofs):.2f}" if proofs else "",
        f"{sum(record.check_seconds for record in proofs):.2f}" if proofs else "",
        pure_seconds(result) if proofs else "",
        why[:160],
    ]


def one(path: Path, config: VerifyConfig) -> None:
    """The rows of one spec, but for what was not decided before it came to certificates."""
    torch.set_num_threads(1)
    for result in verify(path, config=config):
        verdict = result.verdict
        lost = isinstance(verdict, Unknown) and verdict.reason is Reason.CERTIFICATE
        if lost or not isinstance(verdict, Unknown):
            print(f"| {' | '.join(row(path, result))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=Path("certificates"))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    config = VerifyConfig(timeout=asked.timeout, certify=CertifyConfig(asked.out, asked.seconds))
    if asked.one:
        one(asked.paths[0], config)
        return
    head = f"| {' | '.join(HEAD)} |\n|{'--|' * len(HEAD)}\n"
    known = asked.table.read_text() if asked.table and asked.table.is_file() else ""
    write(asked.table, "" if known else head)
    options = ["--timeout", str(asked.timeout), "--out", str(asked.out), "--one"]
    options += [] if asked.seconds is None else ["--seconds", str(asked.seconds)]
    for path in specs(asked.paths):  # a process each, so that no case pays for another's caches
        if f"| {path.stem} [" not in known:
            command = [sys.executable, __file__, str(path), *options]
            found = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
            write(asked.table, found.stdout)


def write(table: Path | None, text: str) -> None:
    if table is None:
        print(text, end="", flush=True)
        return
    with table.open("a") as file:
        file.write(text)


if __name__ == "__main__":
    main()
