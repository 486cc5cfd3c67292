"""Mutation testing: small changes of the code, each of which some test should notice.

    uv run python scripts/mutate.py [PATH...] [--count N] [--seed N] [--timeout SECONDS]
        [--out FILE] [--known] [--survey FILE] [--list] [--report]

PATHs are files or packages (default: lipverify/bounds lipverify/search). `--count` of their
mutants are drawn, spread over files and kinds of change; with `--known` the bugs of
`known_bugs.py` come first. Each is planted in a copy of the project, and the tests of its part are
run until the first one fails, those that name its module first. Results are appended to FILE, a
line of JSON each; a mutant that stands there is not run again, so a run can be stopped and gone on
with (or go on to more). `--report` shows what FILE holds, survivors with their changes.

Which tests run a line is better known than guessed, and saves most of the time:

    uv run --with pytest-cov python scripts/mutate.py PATH... --survey FILE --tests TESTS...

runs these tests once under coverage and writes FILE; with `--survey FILE` and no `--tests`, a
mutant is shown to the tests that run its line, the fastest one of each function first. A line that
none of them runs, nor the import, is reported as survived.

Killed: a test failed. Survived: all of these tests passed. Timeout: no test failed until then,
which says nothing; such mutants are counted apart.
"""

import argparse
import ast
import difflib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from known_bugs import BUGS
from line_survey import Survey, survey
from mutators import PROVING, Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ("lipverify/bounds", "lipverify/search")
COPIED = ("lipverify", "tests", "specs", "scripts", "pyproject.toml", "README.md", "LICENSE")
LAST = ("tests/agreement", "tests/metamorphic")
"""Tests that see every part; run after a part's own."""
KILLED, SURVIVED, TIMEOUT, BROKEN = "killed", "survived", "timeout", "broken"


@dataclass(frozen=True)
class Planted:
    """A change to try: the file's text before and after it, and the tests that should notice."""

    id: str
    path: str
    kind: str
    line: int
    before: str
    after: str
    tests: tuple[str, ...]

    @property
    def diff(self) -> str:
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), lineterm="", n=1
        )
        return "\n".join(line for line in lines if not line.startswith(("---", "+++")))


def main() -> int:
    options = _arguments()
    if options.report:
        return _report(options.out)
    if options.tests:
        return survey(options.paths, options.tests, options.survey)
    seen = Survey.read(options.survey) if options.survey else None
    chosen = _known() if options.known else []
    chosen += _drawn([ROOT / path for path in options.paths], options.count, options.seed, seen)
    if options.list:
        for planted in chosen:
            print(f"{planted.path}:{planted.line} {planted.kind}\n{planted.diff}\n")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the copy is to be removed
    known = {record["id"] for record in _records(options.out)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = _copied(Path(folder))
        for planted in chosen:
            if planted.id not in known:
                record = _tried(planted, copy, options.timeout)
                with options.out.open("a") as out:
                    out.write(json.dumps(record) + "\n")
                print(f"{record['status']:9s} {record['seconds']:6.1f} s  {planted.kind:12s} "
                      f"{planted.path}:{planted.line}", flush=True)  # fmt: skip
    return _report(options.out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("paths", nargs="*", default=list(DEFAULT), metavar="PATH")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds per mutant")
    parser.add_argument("--out", type=Path, default=Path("out/mutants.jsonl"), metavar="FILE")
    parser.add_argument("--known", action="store_true", help="the known bugs as well")
    parser.add_argument("--survey", type=Path, metavar="FILE", help="which test runs which line")
    parser.add_argument("--tests", nargs="+", metavar="TESTS", help="make the survey by these")
    parser.add_argument("--list", action="store_true", help="show the mutants, run nothing")
    parser.add_argument("--report", action="store_true", help="show the results, run nothing")
    return parser.parse_args()


def _known() -> list[Planted]:
    found = []
    for bug in BUGS:
        before = (ROOT / bug.path).read_text()
        if before.count(bug.old) != 1:
            raise SystemExit(f"{bug.story}: its text stands {before.count(bug.old)} times "
                             f"in {bug.path}, expected once; adapt known_bugs.py")  # fmt: skip
        after = before.replace(bug.old, bug.new)
        line = before[: before.index(bug.old)].count("\n") + 1
        tests = tuple(test for test in bug.tests if (ROOT / test).exists())
        name = re.sub(r"\W+", "-", bug.story)
        found.append(Planted(name, bug.path, "known", line, before, after, tests))
    return found


def _drawn(
    paths: Sequence[Path], count: int, seed: int, seen: Survey | None = None
) -> list[Planted]:
    """A file first, then a kind of change, then a place: big files and constants do not rule."""
    files: list[Path] = []
    for path in paths:
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise SystemExit(f"there is no {missing[0]}")
    pools: dict[Path, dict[str, list[Mutant]]] = {}
    draw = random.Random(seed)
    for file in files:
        kinds: dict[str, list[Mutant]] = defaultdict(list)
        for mutant in mutants(file, ROOT):
            kinds[mutant.kind].append(mutant)
        for pool in kinds.values():
            draw.shuffle(pool)
        if kinds:
            pools[file] = kinds
    found: list[Planted] = []
    while pools and len(found) < count:
        file = draw.choice(sorted(pools))
        kind = draw.choice(sorted(pools[file]))
        mutant = pools[file][kind].pop()
        if not pools[file][kind]:
            del pools[file][kind]
        if not pools[file]:
            del pools[file]
        before = file.read_text()
        if not _parses(mutant.applied(before)):
            continue
        found.append(
            Planted(
                mutant.id,
                mutant.path,
                kind,
                mutant.start[0],
                before,
                mutant.applied(before),
                _tests_of(file) if seen is None else seen.of(mutant.path, mutant.start[0]),
            )
        )
    return found


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


@cache
def _tests() -> dict[Path, str]:
    return {test: test.read_text() for test in sorted((ROOT / "tests").rglob("test_*.py"))}


def _tests_of(file: Path) -> tuple[str, ...]:
    """Of the module's part: files that name the module, the others, then tests that see all."""
    package = file.relative_to(ROOT).with_suffix("").parts[1:]
    part = package[0]
    module = ".".join(("lipverify", *package)).removesuffix(".__init__")
    stem = module.rsplit(".", 1)[-1]
    own = [test for test in _tests() if ROOT / "tests" / part in test.parents]
    planted = [test for test in _tests() if test.parent.name == "mutants"]
    naming = [test for test, text in _tests().items() if re.search(rf"{re.escape(module)}\b", text)]
    close = [test for test in own if re.search(rf"\b{stem}\b", _tests()[test])]
    seeing = [test for folder in LAST for test in _tests() if ROOT / folder in test.parents]
    order = dict.fromkeys([*naming, *close, *own, *planted, *seeing])
    return tuple(str(test.relative_to(ROOT)) for test in order)


def _copied(folder: Path) -> Path:
    copy = folder / "project"
    copy.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, copy / name)
    shared = ROOT.parent / "shared"
    if shared.exists():
        (folder / "shared").symlink_to(shared.resolve())
    return copy


def _tried(planted: Planted, copy: Path, timeout: float) -> dict[str, object]:
    target = copy / planted.path
    target.write_text(planted.after)
    _forget(target)
    started = time.monotonic()
    try:
        status, killer = _run(planted.tests, copy, timeout)
    finally:
        target.write_text(planted.before)
        _forget(target)
    return {
        "id": planted.id,
        "path": planted.path,
        "line": planted.line,
        "kind": planted.kind,
        "status": status,
        "killer": killer,
        "seconds": round(time.monotonic() - started, 1),
        "tests": len(planted.tests),
        "diff": planted.diff,
    }


def _forget(source: Path) -> None:
    """Compiled code of the same second and size would be taken for that of the new text."""
    for compiled in (source.parent / "__pycache__").glob(f"{source.stem}.*.pyc"):
        compiled.unlink()


def _run(tests: Sequence[str], copy: Path, timeout: float) -> tuple[str, str]:
    if not tests:
        return SURVIVED, "no test runs the line"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider",
               "--no-header", "--tb=no", "-rfE", *tests]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, timeout=timeout, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return TIMEOUT, ""
    if done.returncode == 0:
        return SURVIVED, ""
    killer = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode in (1, 2) and killer:
        return KILLED, killer.group(1)
    if done.returncode == 2:
        return KILLED, "the tests cannot be collected"
    return BROKEN, done.stdout[-500:] + done.stderr[-500:]


def _records(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def _report(path: Path) -> int:
    records = _records(path)
    if not records:
        print(f"{path} holds no results")
        return 1
    survivors = [record for record in records if record["status"] == SURVIVED]
    survivors.sort(key=lambda r: (r["kind"] not in ("known", *PROVING), r["path"], r["line"]))
    for record in survivors:
        print(f"\nsurvived: {record['path']}:{record['line']} ({record['kind']})\n{record['diff']}")
    counts = Counter(str(record["status"]) for record in records)
    decided = counts[KILLED] + counts[SURVIVED]
    print(f"\n{_table(records)}\n{dict(counts)}: {counts[KILLED]} of {decided} decided mutants "
          f"killed ({counts[KILLED] / max(1, decided):.0%})")  # fmt: skip
    return 0


def _table(records: Iterable[dict[str, object]]) -> str:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        counts[str(record["kind"])][str(record["status"])] += 1
    rows = ["| kind | killed | survived | timeout |", "|---|--:|--:|--:|"]
    for kind, found in sorted(counts.items()):
        rows.append(f"| {kind} | {found[KILLED]} | {found[SURVIVED]} | {found[TIMEOUT]} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
