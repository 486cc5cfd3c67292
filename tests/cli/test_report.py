"""How results look on terminals and in logs."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from lipverify.api import Progress
from lipverify.cli.prepare import Task, prepare
from lipverify.cli.report_table import print_failures, print_results, summary
from lipverify.cli.run import Outcome, Row
from lipverify.cli.watch import LineWatch, LiveWatch, SilentWatch, watch_for
from lipverify.evidence import Bound, FeatureResult, PropertyResult
from lipverify.evidence.report_json import SpecFailure
from lipverify.verdict import Reason, Unknown, Verdict, Verified
from tests.cli.conftest import Write

UNDECIDED = Unknown(Reason.TIMEOUT, "5 s are over")


def result(verdict: Verdict, features: tuple[FeatureResult, ...] = ()) -> PropertyResult:
    return PropertyResult(
        spec="a.yaml",
        name="a",
        property=0,
        kind="lipschitz",
        verdict=verdict,
        bound=Bound(1.0, 1.23456789),
        witness=None,
        method="m",
        subproblems=1,
        seconds=1.0,
        network_sha256="",
        features=features,
    )


def console(*, terminal: bool, width: int = 80) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=width,
        markup=False,
        highlight=False,
        color_system="standard" if terminal else None,
        legacy_windows=False,
    )


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def test_log_is_as_wide_as_needed() -> None:
    log = console(terminal=False)
    name = "folder/" + "long" * 40 + ".yaml"
    print_results(log, [Row(name, "lipschitz [bold]x[/bold]", result(Verified()))])
    text = text_of(log)
    assert name in text
    assert "lipschitz [bold]x[/bold]" in text
    assert "\x1b" not in text
    assert "[1, 1.23457]" in text


def test_terminal_has_colours_and_folds() -> None:
    terminal = console(terminal=True, width=90)
    print_results(terminal, [Row("x" * 200 + ".yaml", "d", result(Verified()))])
    text = text_of(terminal)
    assert "\x1b[1;32mverified" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(len(line) for line in plain.splitlines()) == 90


def test_common_folder_is_shown_once() -> None:
    log = console(terminal=False)
    rows = [Row(f"specs/in/{name}.yaml", "d", result(Verified())) for name in "abc"]
    print_results(log, rows)
    assert text_of(log).count("specs/in") == 1


@pytest.mark.parametrize("names", [["a.yaml", "b.yaml"], ["/x/a.yaml", "b.yaml"], ["a.yaml"] * 2])
def test_no_common_folder(names: list[str]) -> None:
    log = console(terminal=False)
    print_results(log, [Row(name, "d", result(Verified())) for name in names])
    assert "specs in" not in text_of(log)
    assert all(name in text_of(log) for name in names)


@pytest.mark.parametrize(("count", "lines"), [(1, 1), (3, 3), (4, 1), (50, 1)])
def test_equal_reasons_are_said_once(count: int, lines: int) -> None:
    log = console(terminal=False)
    print_results(log, [Row(f"{i}.yaml", "d", result(UNDECIDED)) for i in range(count)])
    explained = [line for line in text_of(log).splitlines() if "5 s are over" in line]
    assert len(explained) == lines
    if lines < count:
        assert explained == [f"{count} properties unknown: timeout: 5 s are over"]


def test_features_are_explained_one_by_one() -> None:
    features = (
        FeatureResult("age", "increasing", Verified(), Bound(0.5, 1.0)),
        FeatureResult("debt [x]", "decreasing", UNDECIDED, Bound(-1.0, 0.5)),
    )
    log = console(terminal=False)
    print_results(log, [Row("a.yaml", "d", result(UNDECIDED, features))])
    lines = text_of(log).splitlines()
    assert "a.yaml [0] unknown" in lines
    assert (
        "  debt [x] (decreasing) unknown, derivative in [-1, 0.5]: timeout: 5 s are over" in lines
    )
    assert not any("age" in line for line in lines)


def test_failures_name_their_spec_once() -> None:
    log = console(terminal=False)
    print_failures(log, [SpecFailure("a.yaml", "a.yaml:3: bad"), SpecFailure("b.yaml", "worse")])
    assert text_of(log) == "error: a.yaml:3: bad\nerror: b.yaml: worse\n"


def test_summary_counts() -> None:
    rows = (Row("a", "d", result(Verified())), Row("a", "d", result(UNDECIDED)))
    failures = (SpecFailure("b", "x"), SpecFailure("c", "x"))
    text = summary(Outcome(rows, failures, (), False, 1.5))
    assert text == "2 properties: 1 verified, 0 falsified, 1 unknown; 2 specs with errors; 1.50 s"


def test_no_results_no_table() -> None:
    log = console(terminal=False)
    print_results(log, [])
    assert text_of(log) == ""


@pytest.fixture
def task(write: Write, loads: object, tmp_path: Path) -> Task:
    return prepare([str(write("a.yaml", 1, 2))]).tasks[0]


def test_live_watch(task: Task) -> None:
    terminal = console(terminal=True, width=200)
    watch = watch_for(terminal, 2, quiet=False, verbose=True)
    assert isinstance(watch, LiveWatch)
    with watch:
        watch.stage(task, Progress(0, "linear", 1.0, None, 1, 0.5))
        terminal.print(watch._render())
        watch.answer(task, result(Verified()))
        terminal.print(watch._render())
        watch.failure(task, "gone")
        terminal.print(watch._render())
    text = text_of(terminal)
    assert "linear" in text and "[1, ?]" in text
    assert "lipschitz inf->inf all <= 1" in text
    assert "starting" in text  # the next property, before it reports anything
    assert "1 of 2 properties" in text


def test_line_watch(task: Task) -> None:
    log = console(terminal=False)
    watch = watch_for(log, 2, quiet=False, verbose=False)
    assert isinstance(watch, LineWatch)
    with watch:
        watch.stage(task, Progress(0, "linear", 1.0, None, 1, 0.5))
        watch.answer(task, result(Verified()))
        watch.failure(task, "gone")
    lines = text_of(log).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[1/2] verified")
    assert lines[1].startswith("error")


def test_quiet_watch() -> None:
    for terminal in (True, False):
        shown = console(terminal=terminal)
        assert isinstance(watch_for(shown, 1, quiet=True, verbose=True), SilentWatch)
