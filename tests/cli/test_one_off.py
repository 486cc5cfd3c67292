"""`lipschitz`, `graph`, `inspect` and `supports`, on networks known by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli import networks
from tests.cli.conftest import Cli


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return networks.linear(tmp_path / "net.onnx")


def lipschitz(cli: Cli, net: Path, *options: object) -> dict[str, float]:
    """The bound that the command line finds."""
    ran = cli("lipschitz", net, "--radius", 1, "--threads", 1, "--json", "-", *options)
    (result,) = json.loads(ran.out)["results"]
    assert result["verdict"] == "verified"
    return result["bound"]


@pytest.mark.parametrize(
    ("options", "constant"),
    [
        ((), 7.0),
        (("--outputs", "0"), 3.0),
        (("--outputs", "1, 0"), 7.0),
        (("--norm", "1"), 6.0),
        (("--norm", "inf", "--output-norm", "1"), 8.0),
        (("--norm", "2", "--outputs", "1"), 5.0),
        (("--norm", "2", "--input-norm", "inf", "--outputs", "1"), 7.0),
        (("--clip", "0", "1", "--at-most", "7.5"), 7.0),
    ],
)
def test_lipschitz(options: tuple[str, ...], constant: float, cli: Cli, net: Path) -> None:
    bound = lipschitz(cli, net, "--center", "0", *options)
    assert bound["lower"] <= constant * (1 + 1e-12)
    assert bound["upper"] >= constant
    assert bound["upper"] <= constant * (1 + 1e-6)


def test_lipschitz_table(cli: Cli, net: Path) -> None:
    ran = cli("lipschitz", net, "--center", "0,0", "--radius", 1, "--threads", 1)
    assert ran.code == 0
    assert "lipschitz inf->inf all" in ran.out
    assert str(net) in ran.out


def test_lipschitz_falsified(cli: Cli, net: Path) -> None:
    arguments = ("--center", "0", "--radius", 1, "--at-most", 6, "--threads", 1)
    ran = cli("lipschitz", net, *arguments)
    assert ran.code == 1
    assert "falsified: " in ran.out


@pytest.mark.parametrize(
    "file", ["c.npy", "c.npz:row", "c.npz:rows:1", "c.csv", "c.txt", "0.25,-0.5", "[0.25, -0.5]"]
)
def test_center_forms(
    file: str, cli: Cli, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = np.array([0.25, -0.5])
    np.save(tmp_path / "c.npy", point.reshape(2, 1))
    np.savez(tmp_path / "c.npz", row=point, rows=np.stack([point * 0, point]))
    (tmp_path / "c.csv").write_text("0.25,-0.5\n")
    (tmp_path / "c.txt").write_text("0.25\n-0.5\n")
    monkeypatch.chdir(tmp_path)
    arguments = ("--center", file, "--radius", 0, "--threads", 1, "--json", "-")
    ran = cli("lipschitz", net, *arguments)
    assert ran.code == 0
    (result,) = json.loads(ran.out)["results"]
    assert result["witness"]["input"] == [0.25, -0.5]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--center", "1,2,3"), "expected 2 numbers, one per input of the network, found 3"),
        (("--center", "1,nan"), "expected finite numbers, found nan at 1"),
        (("--center", "abc"), "a file .npy"),
        (("--center", "none.npy"), "none.npy does not exist"),
        (("--center", "c.npz"), "c.npz:ARRAY"),
        (("--center", "c.npz:gone"), "known: row"),
        (("--center", "c.npz:row:0"), "found a single one"),
        (("--center", "bad.npy"), "bad.npy cannot be read"),
        (("--center", "bad.csv"), "bad.csv cannot be read"),
        (("--center", "0", "--norm", "3"), "choose one of 1, 2, inf"),
        (("--center", "0", "--outputs", "2"), "2 is out of range"),
        (("--center", "0", "--outputs", "0,0"), "listed twice"),
        (("--center", "0", "--outputs", "some"), "expected all, or positions"),
        (("--center", "0", "--clip", "3", "4"), "no common point"),
        (("--center", "0", "--clip", "1", "0"), "lower > upper"),
        (("--center", "0", "--at-most", "-1"), "--at-most: expected a number >= 0"),
        (("--center", "0", "--method", "magic"), "mean-split"),
    ],
)
def test_lipschitz_refuses(
    options: tuple[str, ...],
    says: str,
    cli: Cli,
    net: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.savez(tmp_path / "c.npz", row=np.zeros(2))
    (tmp_path / "bad.npy").write_text("hello")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    ran = cli("lipschitz", net, "--radius", 1, "--threads", 1, *options)
    assert ran.code == 3
    assert ran.err.startswith("lipverify: ")
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1


def test_negative_radius(cli: Cli, net: Path) -> None:
    ran = cli("lipschitz", net, "--center", "0", "--radius", "-1")
    assert ran.code == 3
    assert "radius < 0" in ran.err


def test_missing_model(cli: Cli, tmp_path: Path) -> None:
    for command in ("graph", "inspect"):
        ran = cli(command, tmp_path / "none.onnx")
        assert ran.code == 3
        assert "none.onnx" in ran.err


def test_graph(cli: Cli, tmp_path: Path) -> None:
    svg = tmp_path / "net.svg"
    ran = cli("graph", networks.residual(tmp_path / "net.onnx"), "--svg", svg)
    assert ran.code == 0
    assert "forward graph" in ran.out and "backward graph" in ran.out
    assert "gate of Relu" in ran.out
    assert "(shared with the forward graph)" in ran.out
    assert "1 gate;" in ran.out
    assert "<svg" in svg.read_text(encoding="utf-8")


def test_graph_checks_the_file_first(cli: Cli, tmp_path: Path) -> None:
    ran = cli("graph", tmp_path / "none.onnx", "--svg", tmp_path / "no" / "net.svg")
    assert ran.code == 3
    assert "--svg" in ran.err


def test_inspect(cli: Cli, net: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.json"
    ran = cli("inspect", net, "--json", out)
    assert ran.code == 0
    assert "MatMul" in ran.out
    assert "4 parameters; all of it is supported" in ran.out
    document = json.loads(out.read_text())
    assert document["supported"] is True
    assert document["parameters"] == 4
    (node,) = document["nodes"]
    assert (node["name"], node["operator"], node["supported"]) == ("mat", "MatMul", True)


def test_inspect_unsupported(cli: Cli, tmp_path: Path) -> None:
    ran = cli("inspect", networks.unsupported(tmp_path / "net.onnx"), "--json", "-")
    assert ran.code == 3
    document = json.loads(ran.out)
    assert document["supported"] is False
    assert [node["supported"] for node in document["nodes"]][0] is False
    assert "unsupported: Hardmax at node 'odd'" in ran.err


def test_verify_for_real(cli: Cli, net: Path, tmp_path: Path) -> None:
    """Through the public API, in this process and in others: the same answers."""
    for number, limit in enumerate((8, 6)):
        (tmp_path / f"{number}.yaml").write_text(
            "lipverify: 1\nnetwork: net.onnx\nregion: {center: [0, 0], radius: 1}\n"
            f"properties:\n  - {{kind: lipschitz, at_most: {limit}}}\n"
            "  - {kind: monotonicity, output: 1, increasing: [0, 1]}\n"
            "  - {kind: robustness, label: predicted}\n"
        )
    answers = []
    for jobs in (1, 2):
        options = ("--json", "-", "--threads", 1, "--jobs", jobs, "--method", "interval")
        ran = cli("verify", tmp_path, *options)
        assert ran.code == 1
        results = json.loads(ran.out)["results"]
        for record in (*results, *(stage for result in results for stage in result["stages"])):
            record["seconds"] = 0
            record.pop("timeline", None)
        answers.append(results)
    assert answers[0] == answers[1]
    verdicts = [result["verdict"] for result in answers[0]]
    assert verdicts[:2] == ["verified", "verified"]
    assert verdicts[3:5] == ["falsified", "verified"]
    assert verdicts[2] == verdicts[5] == "falsified"


def test_supports(cli: Cli) -> None:
    from lipverify.operators import ACTIVATIONS, AFFINE

    ran = cli("supports")
    assert ran.code == 0
    for name in (*ACTIVATIONS, *AFFINE, "mean-split", "lipschitz, monotonicity, robustness"):
        assert name in ran.out
    assert "Relu(" not in ran.out and "ReLU()" not in ran.out
