"""Files that are no specs, and bad keys on top: refused with file, line and advice."""

from pathlib import Path

import pytest

from lipverify.errors import InputError, SpecError
from lipverify.spec import read_spec
from tests.spec.bad import Bad, check_refused, check_table
from tests.spec.files import GOOD, HEAD, LIPSCHITZ, REGION, write

BAD = [
    # the file as a whole
    Bad("empty", "", None, ("is empty", "lipverify: 1")),
    Bad("only a comment", "# nothing\n", None, ("is empty",)),
    Bad("no yaml", "lipverify: [1\nname: x\n", "name", ("is not YAML",)),
    Bad("tab", "lipverify: 1\n\tname: x\n", "\tname", ("is not YAML",)),
    Bad("two documents", GOOD + "---\n" + GOOD, "---", ("is not YAML", "document")),
    Bad("a list", "- 1\n- 2\n", "- 1", ("expected a mapping", "'lipverify: 1'", "a list of 2")),
    Bad("a text", "hello\n", "hello", ("expected a mapping", "the text 'hello'")),
    Bad("deep", "x: " + "[" * 5000, None, ()),
    Bad("deep and closed", "x: " + "[" * 400 + "]" * 400, None, ()),
    Bad("recursive", "lipverify: &a [*a]\n", "&a", ("contains itself",)),
    Bad("tag", GOOD + "name: !!python/name:os.system x\n", "!!python", ("not supported",)),
    Bad("bad int", "lipverify: !!int one\n", "one", ("'one' is no int",)),
    Bad("key is a number", "lipverify: 1\n3: x\n", "3: x", ("a key must be a text",)),
    Bad("key is a list", "lipverify: 1\n[a]: x\n", "[a]", ("a key must be a text",)),
    Bad(
        "key twice",
        GOOD + "name: a\nname: b\n",
        "name: b",
        ("'name' is given twice", "line 8", "remove one"),
    ),
    Bad("merge key", "a: &a {lipverify: 1}\n<<: *a\n", "a: &a", ("'lipverify' is missing",)),
    # version
    Bad("no version", GOOD.replace("lipverify: 1\n", ""), "network", ("add 'lipverify: 1'",)),
    Bad("version 2", GOOD.replace(": 1\n", ": 2\n", 1), "lipverify: 2", ("version 1", "found 2")),
    Bad("version 1.0", GOOD.replace(": 1\n", ": 1.0\n", 1), "lipverify: 1.0", ("version 1",)),
    Bad("version true", GOOD.replace(": 1\n", ": true\n", 1), "lipverify", ("found true",)),
    Bad("version text", GOOD.replace(": 1\n", ": '1'\n", 1), "lipverify", ("found the text '1'",)),
    Bad("audit", "lipverify: 1\nkind: audit\n", "kind", ("is an audit file",)),
    # top level
    Bad(
        "unknown key",
        GOOD + "propertys: []\n",
        "propertys",
        ("propertys: unknown key", "did you mean 'properties'?"),
    ),
    Bad("far key", GOOD + "zzz: 1\n", "zzz", ("known: lipverify, name, network",)),
    Bad(
        "no network", "lipverify: 1\n" + REGION + LIPSCHITZ, "lipverify", ("'network' is missing",)
    ),
    Bad(
        "network gone", GOOD.replace("net.onnx", "nett.onnx"), "nett", ("nett.onnx does not exist",)
    ),
    Bad("network number", GOOD.replace("net.onnx", "3"), "network", ("expected a text, found 3",)),
    Bad("network nothing", GOOD.replace("net.onnx", ""), "network", ("found nothing",)),
    Bad("name number", GOOD + "name: 7\n", "name: 7", ("name: expected a text, found 7",)),
    Bad("name nothing", GOOD + "name:\n", "name:", ("found nothing",)),
    Bad("no region", HEAD + LIPSCHITZ, "lipverify", ("'region' is missing", "center and radius")),
    Bad("no properties", HEAD + REGION, "lipverify", ("'properties' is missing",)),
    Bad("empty properties", HEAD + REGION + "properties: []\n", "prop", ("found an empty list",)),
    Bad("properties nothing", HEAD + REGION + "properties:\n", "prop", ("found nothing",)),
    Bad("properties map", HEAD + REGION + "properties: {kind: x}\n", "prop", ("list of prop",)),
    Bad(
        "misspelt and missing", HEAD + "regoin: {}\n" + LIPSCHITZ, "regoin", ("'region'?", "1 more")
    ),
    # features
    Bad("feature twice", GOOD + "features: [a, b, a]\n", "features", ("'a' is named twice",)),
    Bad("feature number", GOOD + "features: [a, 3]\n", "features", ("features[1]", "found 3")),
    Bad("features empty", GOOD + "features: []\n", "features", ("list of names",)),
    Bad("features text", GOOD + "features: age\n", "features", ("the text 'age'",)),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_refused(bad: Bad, folder: Path) -> None:
    check_refused(bad, folder)


def test_names_differ() -> None:
    check_table(BAD)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: does not exist"):
        read_spec(tmp_path / "none.yaml")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is a folder"):
        read_spec(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80abc", b"PK\x03\x04\xff"])
def test_binary_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match="no text in UTF-8"):
        read_spec(path)


def test_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_bytes(b"lipverify: 1\nname: \x01\n")
    with pytest.raises(SpecError, match="is not YAML"):
        read_spec(path)


def test_aliases_cannot_explode(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lipverify.spec.document.MAX_VALUES", 10_000)
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]"
        for a, b in zip("abcdefg", "bcdefgh", strict=True)
    ]
    path = write(folder, "\n".join(lines))
    with pytest.raises(SpecError, match="more than .* values"):
        read_spec(path)


def test_spec_error_is_an_input_error() -> None:
    assert issubclass(SpecError, InputError)
