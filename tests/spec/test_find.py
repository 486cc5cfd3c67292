"""Which files a run is about."""

from pathlib import Path

import pytest

from lipverify.errors import SpecError
from lipverify.spec import find_specs
from tests.spec.files import GOOD, write

AUDIT = "lipverify: 1\nkind: audit\n"


def test_files_as_given(tmp_path: Path) -> None:
    paths = ["b.txt", str(tmp_path / "missing.yaml")]
    assert find_specs(paths) == [Path(path) for path in paths]


def test_folders_are_searched_and_sorted(tmp_path: Path) -> None:
    for name in ("b/z.yaml", "b/a.yaml", "a.yaml", "c.yml", "b/deep/er/x.yaml", "n.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(GOOD)
    found = [str(path.relative_to(tmp_path)) for path in find_specs([tmp_path])]
    assert found == ["a.yaml", "b/a.yaml", "b/deep/er/x.yaml", "b/z.yaml"]


@pytest.mark.parametrize("text", [AUDIT, '{"lipverify": 1, "kind": "audit"}', "kind: 'audit'\n"])
def test_audit_files_are_left_out(text: str, tmp_path: Path) -> None:
    write(tmp_path, text, "audit.yaml")
    spec = write(tmp_path, GOOD + "name: audit of kind audit\n")
    assert find_specs([tmp_path]) == [spec]


def test_audit_file_by_name_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path, AUDIT, "audit.yaml")
    assert find_specs([path]) == [path]  # `read_spec` says what it is


def test_broken_files_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "kind: audit\n[")
    assert find_specs([tmp_path]) == [path]


def test_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write(tmp_path, GOOD, "a.yaml"), write(tmp_path, GOOD, "b.yaml")
    monkeypatch.chdir(tmp_path)
    assert find_specs([second, tmp_path, "a.yaml"]) == [second, first]


@pytest.mark.parametrize("audits", [0, 2])
def test_empty_folder(audits: int, tmp_path: Path) -> None:
    for number in range(audits):
        write(tmp_path, AUDIT, f"{number}.yaml")
    with pytest.raises(SpecError) as caught:
        find_specs([tmp_path])
    assert str(tmp_path) in str(caught.value)
    assert "*.yaml" in str(caught.value)
    assert ("2 audit files" in str(caught.value)) == bool(audits)
