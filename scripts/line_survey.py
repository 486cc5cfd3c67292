"""Which tests run which lines, and how long they take: what mutation testing goes by."""

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AT_IMPORT = ""
"""The context of lines that run when a module is imported, such as the signatures of functions."""


@dataclass(frozen=True)
class Survey:
    """`tests[k]` is a test's name, `seconds[k]` its time; `lines[path][line]` are such k."""

    tests: list[str]
    seconds: list[float]
    lines: dict[str, dict[str, list[int]]]

    @classmethod
    def read(cls, path: Path) -> "Survey":
        return cls(**json.loads(path.read_text()))

    def of(self, path: str, line: int) -> tuple[str, ...]:
        """The tests that run the line (a statement's first one), fastest first, but one of each
        function before the second of any. Lines of the import: of all that use the file."""
        found = self.lines.get(path, {})
        chosen = set(found.get(str(line), ()))
        if not chosen:
            before = [n for n in map(int, found) if n < line]
            chosen = set(found[str(max(before))]) if before else set()
        imports = {k for k in chosen if self.tests[k] == AT_IMPORT}
        if imports:
            chosen = {k for numbers in found.values() for k in numbers} - imports
        turn: dict[str, int] = defaultdict(int)
        order = []
        for k in sorted(chosen, key=lambda k: self.seconds[k]):
            function = self.tests[k].partition("[")[0]
            turn[function] += 1
            order.append((turn[function] > 1, k))
        return tuple(self.tests[k] for _, k in sorted(order, key=lambda pair: pair[0]))


def survey(sources: Sequence[str], tests: Sequence[str], out: Path) -> int:
    """Run the tests once under coverage, one context each."""
    with tempfile.TemporaryDirectory() as folder:
        times, data = Path(folder, "times.xml"), Path(folder, "data")
        settings = Path(folder, "settings")
        settings.write_text(f"[run]\nsource = {','.join(sources)}\ndata_file = {data}\n")
        options = ["--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report="]
        command = [sys.executable, "-m", "pytest", *options, f"--junitxml={times}", *tests]
        code = subprocess.run(command, cwd=ROOT).returncode
        if code:
            print("the tests have to pass before mutants are made")
            return code
        out.write_text(json.dumps(vars(_read(data, _seconds(times)))))
    return 0


def _seconds(path: Path) -> dict[str, float]:
    """By test name, as pytest takes it."""
    found = {}
    for case in ElementTree.parse(path).iter("testcase"):
        file = case.attrib["classname"].replace(".", "/") + ".py"
        found[f"{file}::{case.attrib['name']}"] = float(case.attrib["time"])
    return found


def _read(data: Path, seconds: dict[str, float]) -> Survey:
    from coverage import CoverageData

    measured = CoverageData(str(data))
    measured.read()
    numbers: dict[str, int] = {}
    lines: dict[str, dict[str, list[int]]] = {}
    for file in sorted(measured.measured_files()):
        own = lines[Path(file).relative_to(ROOT).as_posix()] = {}
        for line, contexts in measured.contexts_by_lineno(file).items():
            names = {context.partition("|")[0] for context in contexts}
            own[str(line)] = sorted(numbers.setdefault(name, len(numbers)) for name in names)
    return Survey(list(numbers), [seconds.get(name, 0.0) for name in numbers], lines)
