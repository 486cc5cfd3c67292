"""Hostile and altered certificates: each is rejected, with its reason, quickly."""

import base64
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipverify.checker import Unreadable, check
from lipverify.checker.__main__ import main
from tests.checker import handmade

Parts = tuple[dict[str, Any], list[dict[str, Any]]]
LEAF = {
    "steps": [{"step": "bound", "layer": 0}],
    "proofs": [{"rule": "mean-split", "objectives": "all"}],
}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """x - 1 + 2 relu(x - 1) has slopes 1 and 3."""
    weights = [[[1.0], [-1.0]], [[3.0, -1.0]]]
    return handmade.mlp(tmp_path / "n.onnx", weights, [[-1.0, 1.0], [0.0]])


def honest(network: Path) -> Parts:
    """On [-1, 3], with a split at 1: at most 3."""
    head = handmade.manifest(network, handmade.box([-1], [3]), handmade.lipschitz(3.0))
    return head, [{"split": {"input": 0, "at": handmade.scalar(1.0)}}, LEAF, LEAF]


def test_the_honest_one_is_accepted(tmp_path: Path, network: Path) -> None:
    path = handmade.write(tmp_path / "c.lipcert", *honest(network))
    report = check(path, network)
    assert report.accepted and report.nodes == 3 and report.leaves == 2
    assert main([str(path), str(network)]) == 0
    assert main([str(path), str(network), "--json"]) == 0


def edit(change: Callable[[dict[str, Any], list[dict[str, Any]]], Any]) -> Callable[[Parts], Parts]:
    def edited(parts: Parts) -> Parts:
        head, nodes = json.loads(json.dumps(parts))
        change(head, nodes)
        return head, nodes

    return edited


TAMPERED: dict[str, tuple[Callable[[Parts], Parts], str]] = {
    "a smaller bound": (
        edit(lambda h, n: h["property"].update(at_most=handmade.scalar(2.999))),
        "leaf",
    ),
    "a negative bound": (
        edit(lambda h, n: h["property"].update(at_most=handmade.scalar(-3.0))),
        "leaf",
    ),
    "a missing leaf": (edit(lambda h, n: n.pop()), "ends after 2 nodes"),
    "no node": (edit(lambda h, n: n.clear()), "ends after 0 nodes"),
    "one leaf more": (edit(lambda h, n: n.append(LEAF)), "the file goes on"),
    "a leaf without its proof": (edit(lambda h, n: n[2].pop("proofs")), "no proof"),
    "the split dropped": (edit(lambda h, n: (n.clear(), n.append(LEAF))), "leaf"),
    "a split moved": (edit(lambda h, n: n[0]["split"].update(at=handmade.scalar(-0.5))), "leaf"),
    "another input": (edit(lambda h, n: n[0]["split"].update(input=1)), "does not exist"),
    "another network": (edit(lambda h, n: h["network"].update(sha256="0" * 64)), "another network"),
    "a wider region": (
        edit(lambda h, n: h.update(region=handmade.box([-1, 0], [3, 0]))),
        "2 numbers",
    ),
    "an inverted region": (
        edit(lambda h, n: h.update(region=handmade.box([3], [-1]))),
        "lower > upper",
    ),
    "NaN in the region": (edit(lambda h, n: h.update(region=handmade.box([np.nan], [3]))), "NaN"),
    "an infinite region": (
        edit(lambda h, n: h.update(region=handmade.box([-np.inf], [3]))),
        "infinity",
    ),
    "no region": (edit(lambda h, n: h.update(region={})), "lower and upper"),
    "half a region": (edit(lambda h, n: h["region"].pop("upper")), "lower and upper"),
    "an unknown key": (edit(lambda h, n: h.update(trust="me")), "trust"),
    "an unknown rule": (
        edit(lambda h, n: n[1]["proofs"].append({"rule": "trust"})),
        "trust",
    ),
    "an unknown version": (edit(lambda h, n: h.update(lipcert=2)), "1 was expected"),
    "a version of another type": (edit(lambda h, n: h.update(lipcert=True)), "1 was expected"),
    "no precision": (edit(lambda h, n: h.pop("precision")), "precision"),
    "a vast precision": (edit(lambda h, n: h.update(precision=10**9)), "maximum"),
    "another kind": (edit(lambda h, n: h.update(kind="attained")), "witness"),
    "no bound at all": (edit(lambda h, n: h["property"].pop("at_most")), "expected the entries"),
    "a bound as a number": (edit(lambda h, n: h["property"].update(at_most=3)), "string"),
    "a bound that is infinite": (edit(lambda h, n: h["property"].update(at_most="inf")), "match"),
    "a bound beyond floats": (
        edit(lambda h, n: h["property"].update(at_most="0x1.0p+9999")),
        "no float64",
    ),
    "a bound in other digits": (
        edit(lambda h, n: h["property"].update(at_most="0x1.80p+1")),
        "not how",
    ),
    "the rows of another output": (
        edit(
            lambda h, n: (
                h["property"].update(rows=handmade.floats([1, 1, 1]))
                or h["property"].update(rows=handmade.floats([]))
            )
        ),
        "rows",
    ),
    "larger rows": (edit(lambda h, n: h["property"].update(rows=handmade.floats([1.01]))), "leaf"),
    "a closed objective that is none": (
        edit(lambda h, n: n[1]["proofs"].insert(0, {"rule": "mean-split", "objectives": [1]})),
        "leaf|objectives",
    ),
    "objectives left out": (
        edit(lambda h, n: n.__setitem__(0, {"split": {"objectives": [[], []]}})),
        "leaves some out",
    ),
    "two kinds of split": (edit(lambda h, n: n[0]["split"].update(neuron=0)), "a split names"),
    "a neuron that does not exist": (
        edit(lambda h, n: n.__setitem__(0, {"split": {"layer": 0, "neuron": 2, "at": "0x0.0p+0"}})),
        "does not exist",
    ),
    "a layer that does not exist": (
        edit(lambda h, n: n[1]["steps"][0].update(layer=7)),
        "no layer 7",
    ),
    "targets that do not exist": (
        edit(lambda h, n: n[1]["steps"][0].update(neurons=[5])),
        "2 neurons",
    ),
    "too many multipliers": (
        edit(
            lambda h, n: n[1]["steps"][0].update(
                multipliers=[{"layer": 0, "beta": handmade.floats([1] * 3)}]
            )
        ),
        "3 numbers",
    ),
    "half a float": (
        edit(lambda h, n: h["region"].update(lower=base64.b64encode(b"123").decode())),
        "no array",
    ),
    "a preactivation cut": (
        edit(
            lambda h, n: n[1]["steps"].append(
                {"step": "bound", "layer": 0, "neurons": "all", "scale": handmade.floats([0.0] * 4)}
            )
        ),
        "leaf|scale",
    ),
    "a fixed input": (
        edit(lambda h, n: h["network"].update(fixed={"input": handmade.floats([0])})),
        "no input moves",
    ),
    "a conflict that is none": (
        edit(
            lambda h, n: n[1]["steps"].append(
                {
                    "step": "conflicts",
                    "pairs": [[0, 0, 1, 0, 1, 1]],
                    "weights": handmade.floats([0.5]),
                }
            )
        ),
        "leaf|not proved",
    ),
    "a negative kappa": (
        edit(
            lambda h, n: n[2].update(
                proofs=[
                    {
                        "rule": "quadratic",
                        "objective": 0,
                        "gates": [[0, 0]],
                        "theta": handmade.floats([0]),
                        "kappa": handmade.floats([-1]),
                    }
                ]
            )
        ),
        "kappa < 0",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered(tmp_path: Path, network: Path, name: str) -> None:
    change, reason = TAMPERED[name]
    head, nodes = change(honest(network))
    report = check(handmade.write(tmp_path / "c.lipcert", head, nodes), network)
    assert not report.accepted
    assert any(part in report.reason for part in reason.split("|")), report.reason


def packed(members: list[tuple[str, bytes]], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def raw(network: Path) -> tuple[bytes, bytes]:
    head, nodes = honest(network)
    return json.dumps(head).encode(), "".join(json.dumps(node) + "\n" for node in nodes).encode()


HOSTILE: dict[str, tuple[Callable[[bytes, bytes], bytes], str]] = {
    "empty": (lambda h, t: b"", "not a readable zip"),
    "junk": (lambda h, t: b"PK" + b"x" * 300, "not a readable zip"),
    "cut off": (
        lambda h, t: packed([("manifest.json", h), ("tree.jsonl", t)])[:-30],
        "not a readable zip",
    ),
    "a byte of the tree flipped": (
        lambda h, t: flipped(
            packed([("manifest.json", h), ("tree.jsonl", t)], zipfile.ZIP_STORED), t
        ),
        "CRC",
    ),
    "no tree": (lambda h, t: packed([("manifest.json", h)]), "a tree and no witness"),
    "no manifest": (lambda h, t: packed([("tree.jsonl", t)]), "members"),
    "another member": (
        lambda h, t: packed([("manifest.json", h), ("tree.jsonl", t), ("x", b"")]),
        "members",
    ),
    "a path that climbs": (
        lambda h, t: packed([("manifest.json", h), ("../tree.jsonl", t)]),
        "members",
    ),
    "bytes in between": (
        lambda h, t: b"\0" * 9000 + packed([("manifest.json", h), ("tree.jsonl", t)]),
        "no member",
    ),
    "a bomb": (
        lambda h, t: packed([("manifest.json", b" " * 10**8 + h), ("tree.jsonl", t)]),
        "too many",
    ),
    "a zip in the zip": (
        lambda h, t: packed([("manifest.json", packed([("manifest.json", h)])), ("tree.jsonl", t)]),
        "no JSON",
    ),
    "deep nesting": (
        lambda h, t: packed(
            [
                ("manifest.json", b'{"notes":' + b"[" * 10**6 + b"]" * 10**6 + b"}"),
                ("tree.jsonl", t),
            ]
        ),
        "nested|too many",
    ),
    "a million digits": (
        lambda h, t: packed(
            [
                (
                    "manifest.json",
                    h.replace(b'"precision": 128', b'"precision": ' + b"9" * 1000003),
                ),
                ("tree.jsonl", t),
            ],
            zipfile.ZIP_STORED,
        ),
        "digits",
    ),
    "a float": (
        lambda h, t: packed(
            [
                ("manifest.json", h.replace(b'"precision": 128', b'"precision": 128.0')),
                ("tree.jsonl", t),
            ]
        ),
        "hexadecimal",
    ),
    "NaN": (
        lambda h, t: packed(
            [
                ("manifest.json", h.replace(b'"precision": 128', b'"precision": NaN')),
                ("tree.jsonl", t),
            ]
        ),
        "hexadecimal",
    ),
    "a key twice": (
        lambda h, t: packed(
            [
                (
                    "manifest.json",
                    h.replace(b'"precision": 128', b'"precision": 128, "precision": 64'),
                ),
                ("tree.jsonl", t),
            ]
        ),
        "twice",
    ),
    "no JSON": (lambda h, t: packed([("manifest.json", h), ("tree.jsonl", b"{\n" + t)]), "no JSON"),
    "no text": (
        lambda h, t: packed([("manifest.json", b"\xff" + h), ("tree.jsonl", t)]),
        "no JSON",
    ),
    "a list": (
        lambda h, t: packed([("manifest.json", b"[]"), ("tree.jsonl", t)]),
        "object",
    ),
    "the last line cut": (
        lambda h, t: packed([("manifest.json", h), ("tree.jsonl", t[:-1])]),
        "cut off",
    ),
}


def flipped(archive: bytes, tree: bytes) -> bytes:
    """One digit of the split changed, without its checksum."""
    place = archive.index(b'"at": "0x1.0') + len(b'"at": "0x1.')
    return archive[:place] + b"1" + archive[place + 1 :]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_files(tmp_path: Path, network: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    path = tmp_path / "c.lipcert"
    path.write_bytes(make(*raw(network)))
    start = time.monotonic()
    report = check(path, network)
    assert time.monotonic() - start < 10
    assert not report.accepted
    assert any(part in report.reason for part in reason.split("|")), report.reason
    assert main([str(path), str(network)]) == 1


def test_members_twice(tmp_path: Path, network: Path) -> None:
    head, tree = raw(network)
    with pytest.warns(UserWarning, match="Duplicate"):
        content = packed([("manifest.json", head), ("tree.jsonl", tree), ("manifest.json", head)])
    path = tmp_path / "c.lipcert"
    path.write_bytes(content)
    assert "members" in check(path, network).reason


def test_time_limit(tmp_path: Path, network: Path) -> None:
    head, _ = honest(network)
    chain = [{"split": {"input": 0, "at": handmade.scalar(1 / (k + 1))}} for k in range(3000)]
    path = handmade.write(tmp_path / "c.lipcert", head, chain)
    assert "limit of 0.05 seconds" in check(path, network, 0.05).reason


def test_bad_input(tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = handmade.write(tmp_path / "c.lipcert", *honest(network))
    assert main([str(path), str(tmp_path / "none.onnx")]) == 3
    assert main([str(tmp_path / "none"), str(network)]) == 3
    assert main([]) == 3
    assert "no such file" in capsys.readouterr().err.lower()
    with pytest.raises(Unreadable):
        check(tmp_path / "none", network)


ALONE = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        blocked = ("torch", "auto_LiRPA", "scipy", "networkx", "onnxruntime", "pydantic", "typer")
        if name.split(".")[0] in blocked:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
from lipverify.checker.__main__ import main
code = main(sys.argv[1:])
mine = {name for name in sys.modules if name.startswith("lipverify")}
assert all(name.startswith("lipverify.checker") for name in mine - {"lipverify"}), mine
sys.exit(code)
"""


def test_runs_alone(tmp_path: Path, network: Path) -> None:
    path = handmade.write(tmp_path / "c.lipcert", *honest(network))
    command = [sys.executable, "-W", "error", "-c", ALONE, str(path), str(network)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accepted")
