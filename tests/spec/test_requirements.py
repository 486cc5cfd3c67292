"""Identifiers of requirements, of a spec and of its properties."""

from pathlib import Path

import pytest

from lipverify.errors import SpecError
from lipverify.spec import bind, read_spec


def spec(tmp_path: Path, top: str = "", own: str = "") -> Path:
    (tmp_path / "net.onnx").write_bytes(b"")
    path = tmp_path / "a.yaml"
    path.write_text(
        f"lipverify: 1\nnetwork: net.onnx\n{top}\nregion: {{center: [0, 0], radius: 1}}\n"
        f"properties:\n  - {{kind: lipschitz{own}}}\n  - {{kind: lipschitz}}\n"
    )
    return path


@pytest.mark.parametrize(
    ("top", "own", "expected"),
    [
        ("", "", ((), ())),
        ("requirement: SR-1", "", (("SR-1",), ("SR-1",))),
        ("", ", requirement: SR-2", (("SR-2",), ())),
        ("requirement: [A, B]", ", requirement: [B, C]", (("A", "B", "C"), ("A", "B"))),
    ],
)
def test_of_spec_and_property(
    top: str, own: str, expected: tuple[tuple[str, ...], ...], tmp_path: Path
) -> None:
    found = bind(read_spec(spec(tmp_path, top, own)), 2, 2)
    assert found.requirements == expected
    assert found.requirements_of(0) == expected[0]
    assert len(found.sha256) == 64


@pytest.mark.parametrize("value", ["12", "[A, A]", "[]", "''", "{a: b}"])
def test_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"a\.yaml:3: requirement"):
        read_spec(spec(tmp_path, f"requirement: {value}"))
