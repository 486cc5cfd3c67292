"""`lipverify verify`: what is run, shown, written, and the exit code."""

import json
from pathlib import Path

import pytest

from lipverify import __version__
from tests.cli.conftest import Cli, Write
from tests.cli.fakes import (
    CRASH,
    FALSIFIED,
    INTERRUPT,
    REFUSE,
    STATEMENT,
    UNKNOWN,
    VERIFIED,
    Loads,
)

pytestmark = pytest.mark.usefixtures("loads")

THREADS = ("--threads", "1")  # the threads of the tests' own process


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((VERIFIED,), 0),
        ((VERIFIED, VERIFIED), 0),
        ((VERIFIED, FALSIFIED), 1),
        ((UNKNOWN, FALSIFIED), 1),
        ((VERIFIED, UNKNOWN), 2),
        ((CRASH,), 3),
        ((FALSIFIED, CRASH), 3),
        ((REFUSE,), 3),
        ((VERIFIED, INTERRUPT), 2),
        ((FALSIFIED, INTERRUPT), 1),
    ],
)
def test_exit_code(codes: tuple[int, ...], expected: int, cli: Cli, write: Write) -> None:
    assert cli("verify", write("a.yaml", *codes), *THREADS).code == expected


def test_bad_input_wins_over_falsified(cli: Cli, write: Write) -> None:
    good, bad = write("a.yaml", FALSIFIED), write("b.yaml", VERIFIED, extra="zzz: 1\n")
    ran = cli("verify", good, bad, *THREADS)
    assert ran.code == 3
    assert "1 falsified" in ran.out
    assert f"error: {bad}:6: zzz: unknown key" in ran.err


def test_json(cli: Cli, write: Write, tmp_path: Path) -> None:
    first, second = write("a.yaml", VERIFIED, FALSIFIED), write("b.yaml", UNKNOWN)
    broken = write("c.yaml", VERIFIED, extra="lipverify: 1\n")
    out = tmp_path / "out.json"
    ran = cli("verify", second, broken, first, "--json", out, *THREADS)
    assert ran.code == 3
    document = json.loads(out.read_text())
    assert list(document) == ["lipverify", "run", "results", "errors"]
    assert document["lipverify"] == __version__
    results = document["results"]
    assert [(r["spec"], r["property"], r["verdict"]) for r in results] == [
        (str(second), 0, "unknown"),
        (str(first), 0, "verified"),
        (str(first), 1, "falsified"),
    ]
    assert results[0]["reason"] == "bound: the bound does not decide it"
    assert results[1]["bound"] == {"lower": 1.0, "upper": None}
    assert results[1]["witness"] == {"input": [0.5, None, 1.5], "output": 0}  # JSON has no NaN
    assert results[2]["counterexample"]["statement"] == STATEMENT
    assert list(results[0]) == [
        "spec",
        "name",
        "property",
        "kind",
        "verdict",
        "reason",
        "bound",
        "witness",
        "counterexample",
        "method",
        "subproblems",
        "seconds",
        "claim",
        "network_sha256",
        "asked",
        "requirements",
        "spec_sha256",
        "question_sha256",
        "stages",
        "timeline",
    ]
    run = document["run"]
    assert run["command"][:2] == ["lipverify", "verify"] and str(out) in run["command"]
    assert run["settings"]["seed"] == 0 and run["packages"]["torch"]
    (error,) = document["errors"]
    assert list(error) == ["spec", "message"]
    assert error["spec"] == str(broken)
    assert "'lipverify' is given twice" in error["message"]


def test_json_to_stdout_is_alone_there(cli: Cli, write: Write) -> None:
    ran = cli("verify", write("a.yaml", FALSIFIED), "--json", "-", *THREADS)
    assert len(json.loads(ran.out)["results"]) == 1
    assert "1 falsified" in ran.err


@pytest.mark.parametrize("file", ["no/such/folder/x.json", "."])
def test_json_is_checked_before_work(file: str, cli: Cli, write: Write, loads: Loads) -> None:
    ran = cli("verify", write("a.yaml", VERIFIED), "--json", file, *THREADS)
    assert ran.code == 3
    assert ran.err.startswith("lipverify: --json ")
    assert loads.count == 0


def test_json_with_nothing_that_ran(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert cli("verify", tmp_path / "none.yaml", "--json", out, *THREADS).code == 3
    document = json.loads(out.read_text())
    assert document["results"] == []
    assert "does not exist" in document["errors"][0]["message"]


def test_unknown_method(cli: Cli, write: Write, loads: Loads) -> None:
    ran = cli("verify", write("a.yaml", VERIFIED), "--method", "magic", *THREADS)
    assert ran.code == 3
    assert "'magic'" in ran.err
    assert "mean-split" in ran.err
    assert loads.count == 0


def test_networks_are_loaded_once(cli: Cli, write: Write, tmp_path: Path, loads: Loads) -> None:
    for number in range(4):
        write(f"{number}.yaml", VERIFIED)
    write("other.yaml", VERIFIED, network="other.onnx")
    assert cli("verify", tmp_path, *THREADS).code == 0
    assert loads.count == 2


def test_folder_and_file_together(cli: Cli, write: Write, tmp_path: Path) -> None:
    path = write("a.yaml", VERIFIED)
    write("deep/b.yaml", VERIFIED)
    ran = cli("verify", tmp_path, path, "--quiet", *THREADS)
    assert ran.out.startswith("2 properties: 2 verified, 0 falsified, 0 unknown; ")


def test_empty_folder_is_an_error_among_others(cli: Cli, write: Write, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ran = cli("verify", empty, write("a.yaml", VERIFIED), *THREADS)
    assert ran.code == 3
    assert f"error: {empty}: holds no spec file" in ran.err
    assert "1 property: 1 verified" in ran.out


@pytest.mark.parametrize(
    ("network", "says"),
    [("broken.onnx", "no ONNX file"), ("weird.onnx", "internal error: ZeroDivisionError")],
)
def test_network_errors_name_the_spec(network: str, says: str, cli: Cli, write: Write) -> None:
    path = write("a.yaml", VERIFIED, network=network)
    ran = cli("verify", path, write("b.yaml", VERIFIED), *THREADS)
    assert ran.code == 3
    assert f"error: {path}: " in ran.err
    assert says in ran.err
    assert "1 verified" in ran.out


def test_internal_error_is_confined(cli: Cli, write: Write) -> None:
    crashed = write("a.yaml", VERIFIED, CRASH, VERIFIED)
    ran = cli("verify", crashed, write("b.yaml", FALSIFIED), *THREADS)
    assert ran.code == 3
    assert f"error: {crashed}: internal error: RuntimeError: boom [bold]" in ran.err
    assert "Traceback" not in ran.err
    assert "2 properties: 1 verified, 1 falsified, 0 unknown; 1 spec with errors" in ran.out


def test_verbose_shows_stages_and_traces(cli: Cli, write: Write) -> None:
    ran = cli("verify", write("a.yaml", VERIFIED, CRASH), "--verbose", *THREADS)
    assert "fake stage: [1, 2] after 0.25 s" in ran.err
    assert "Traceback" in ran.err


def test_quiet_shows_the_summary_alone(cli: Cli, write: Write) -> None:
    ran = cli("verify", write("a.yaml", VERIFIED, FALSIFIED), "--quiet", *THREADS)
    assert len(ran.out.splitlines()) == 1
    assert ran.err == ""


def test_quiet_does_not_hide_errors(cli: Cli, tmp_path: Path) -> None:
    assert "none.yaml" in cli("verify", tmp_path / "none.yaml", "--quiet", *THREADS).err


def test_table_and_lines(cli: Cli, write: Write) -> None:
    path = write("a.yaml", VERIFIED, FALSIFIED, UNKNOWN)
    ran = cli("verify", path, *THREADS)
    lines = ran.err.splitlines()
    assert lines[0].startswith(f"[1/3] verified  {path}  lipschitz inf->inf all <= 1")
    assert len(lines) == 3
    table = ran.out.splitlines()
    assert any("[1] lipschitz inf->inf all <= 2" in line and "falsified" in line for line in table)
    assert f"{path} [1] falsified: {STATEMENT}" in table
    assert f"{path} [2] unknown: bound: the bound does not decide it" in table


def test_interrupt(cli: Cli, write: Write, tmp_path: Path) -> None:
    write("a.yaml", VERIFIED, INTERRUPT, VERIFIED)
    write("b.yaml", VERIFIED)
    out = tmp_path / "out.json"
    ran = cli("verify", tmp_path, "--json", out, *THREADS)
    assert ran.code == 2
    assert "stopped by Ctrl-C" in ran.err
    results = json.loads(out.read_text())["results"]
    assert [result["verdict"] for result in results] == ["verified", *["unknown"] * 3]
    assert all(result["reason"].startswith("interrupted: ") for result in results[1:])
    assert "in stage fake stage, interval so far [1, 2]" in results[1]["reason"]
    assert "before it was its turn" in results[2]["reason"]


def test_interrupt_before_any_answer(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lipverify.cli.prepare.load_network", stopped)
    ran = cli("verify", write("a.yaml", VERIFIED), *THREADS)
    assert ran.code == 2
    assert "stopped by Ctrl-C" in ran.err
