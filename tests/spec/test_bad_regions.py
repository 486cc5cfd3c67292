"""Bad regions are refused with file, line and advice."""

import zipfile
from pathlib import Path

import pytest

from lipverify.errors import SpecError
from lipverify.spec import read_spec
from tests.spec.bad import Bad, check_refused, check_table
from tests.spec.files import HEAD, LIPSCHITZ, write


def region(body: str) -> str:
    return HEAD + f"region: {{{body}}}\n" + LIPSCHITZ


CENTER = "center: [1, 2, 3]"

BAD = [
    # region: which form
    Bad("region nothing", HEAD + "region:\n" + LIPSCHITZ, "region", ("found nothing",)),
    Bad("region list", HEAD + "region: [1]\n" + LIPSCHITZ, "region", ("a list of 1", "center")),
    Bad("both", region(CENTER + ", lower: [1]"), "region", ("not both", "'center' and 'lower'")),
    Bad("both ends", region("radius: 1, upper: [1]"), "region", ("not both",)),
    Bad("neither", region("norm: 2"), "region", ("either center, radius", "or lower, upper")),
    Bad("neither, empty", region(""), "region", ("either center, radius",)),
    Bad("no radius", region(CENTER), "region", ("'radius' is missing", "a number, or one per")),
    Bad("no center", region("radius: 1"), "region", ("'center' is missing",)),
    Bad("no upper", region("lower: [1]"), "region", ("'upper' is missing",)),
    Bad("misspelt", region(CENTER + ", radus: 1"), "region", ("radus", "did you mean 'radius'?")),
    Bad("misspelt upper", region("lower: [1], uper: [2]"), "region", ("did you mean 'upper'?",)),
    Bad("clip in box", region("lower: [1], upper: [2], clip: [0, 1]"), "region", ("region.clip",)),
    # region: numbers
    Bad("radius < 0", region(CENTER + ", radius: -0.5"), "region", ("region.radius", "-0.5")),
    Bad("radii < 0", region(CENTER + ", radius: [1, -2, 3]"), "region", ("-2.0 at input 1",)),
    Bad(
        "radii count", region(CENTER + ", radius: [1, 2]"), "region", ("3, as in center, found 2",)
    ),
    Bad("radius nan", region(CENTER + ", radius: .nan"), "region", ("finite number, found nan",)),
    Bad("radius inf", region(CENTER + ", radius: .inf"), "region", ("finite number, found inf",)),
    Bad("radius huge", region(CENTER + ", radius: 1e999"), "region", ("finite number",)),
    Bad("radius huge int", region(f"{CENTER}, radius: 1{'0' * 400}"), "region", ("too large",)),
    Bad("int too long", region(f"{CENTER}, radius: 1{'0' * 5000}"), "region", ("is no int",)),
    Bad("radius true", region(CENTER + ", radius: true"), "region", ("a number, found true",)),
    Bad("radius text", region(CENTER + ", radius: '0.5'"), "region", ("without quotes",)),
    Bad("radius word", region(CENTER + ", radius: big"), "region", ("found the text 'big'",)),
    Bad("radius nothing", region(CENTER + ", radius: "), "region", ("found nothing",)),
    Bad(
        "center nan", region("center: [1, .nan], radius: 1"), "region", ("region.center[1]", "nan")
    ),
    Bad("center bool", region("center: [1, false], radius: 1"), "region", ("found false",)),
    Bad("center nested", region("center: [[1, 2], [3, x]], radius: 1"), "region", ("[1][1]",)),
    Bad("center scalar", region("center: 1, radius: 1"), "region", ("a list of numbers, found 1",)),
    Bad("center empty", region("center: [], radius: 1"), "region", ("found an empty one",)),
    Bad("center map", region("center: [{file: x}], radius: 1"), "region", ("found a mapping",)),
    Bad("1:30 is a text", region("center: [1:30], radius: 1"), "region", ("a number",)),
    Bad(
        "on its own line",
        HEAD + "region:\n  center:\n    - 1\n    - .inf\n  radius: 1\n" + LIPSCHITZ,
        "- .inf",
        ("region.center[1]",),
    ),
    Bad(
        "lower > upper",
        region("lower: [0, 0.5, 1], upper: [1, 0.25, 0]"),
        "region",
        ("lower > upper at input 1: 0.5 > 0.25", "swap or correct"),
    ),
    Bad("box counts", region("lower: [0, 1], upper: [1]"), "region", ("2 numbers, as in lower",)),
    Bad("clip order", region(CENTER + ", radius: 1, clip: [1, 0]"), "region", ("lower > upper",)),
    Bad("clip three", region(CENTER + ", radius: 1, clip: [0, 1, 2]"), "region", ("two ends",)),
    Bad("clip one", region(CENTER + ", radius: 1, clip: 1"), "region", ("two ends",)),
    Bad("clip nan", region(CENTER + ", radius: 1, clip: [0, .nan]"), "region", ("clip[1]",)),
    Bad("clip sizes", region(CENTER + ", radius: 1, clip: [[0, 0], [1]]"), "region", ("2 and 1",)),
    Bad("clip null", region(CENTER + ", radius: 1, clip: null"), "region", ("found nothing",)),
    Bad("norm", region(CENTER + ", radius: 1, norm: 3"), "region", ("region.norm", "1, 2, inf")),
    Bad("norm word", region(CENTER + ", radius: 1, norm: max"), "region", ("'max'", "1, 2, inf")),
    Bad("norm true", region(CENTER + ", radius: 1, norm: true"), "region", ("True",)),
    # region: arrays in files
    Bad(
        "npz gone",
        region("center: {file: no.npz, array: x0}, radius: 1"),
        "region",
        ("no.npz does",),
    ),
    Bad(
        "no archive",
        region("center: {file: fake.npz, array: x0}, radius: 1"),
        "region",
        ("not an npz",),
    ),
    Bad(
        "no such array",
        region("center: {file: arrays.npz, array: x1}, radius: 1"),
        "region",
        ("array 'x1' is not in arrays.npz", "known: x0, images"),
    ),
    Bad(
        "misspelt array",
        region("center: {file: arrays.npz, array: image}, radius: 1"),
        "region",
        ("array 'image' is not in arrays.npz", "did you mean 'images'?"),
    ),
    Bad(
        "array missing",
        region("center: {file: arrays.npz}, radius: 1"),
        "region",
        ("'array' must",),
    ),
    Bad(
        "file missing",
        region("center: {array: x0}, radius: 1"),
        "region",
        ("'file' must be a text",),
    ),
    Bad("file number", region("center: {file: 3, array: x0}, radius: 1"), "region", ("found 3",)),
    Bad(
        "reference key",
        region("center: {file: arrays.npz, aray: x0}, radius: 1"),
        "region",
        ("unknown key 'aray'", "did you mean 'array'?"),
    ),
    Bad(
        "index out of range",
        region("center: {file: arrays.npz, array: rows, index: 2}, radius: 1"),
        "region",
        ("2 is out of range", "'rows'", "2 rows"),
    ),
    Bad(
        "index negative",
        region("center: {file: arrays.npz, array: rows, index: -1}, radius: 1"),
        "region",
        ("-1 is out of range",),
    ),
    Bad(
        "index true",
        region("center: {file: arrays.npz, array: rows, index: true}, radius: 1"),
        "region",
        ("whole number, found true",),
    ),
    Bad(
        "one index too many",
        region("center: {file: arrays.npz, array: x0, index: 1}, radius: 1"),
        "region",
        ("found a single one", "'index'"),
    ),
    Bad(
        "index into a number",
        region("center: [0, 0, 0], radius: {file: arrays.npz, array: half, index: 0}"),
        "region",
        ("leave the index out",),
    ),
    Bad(
        "nan inside",
        region("center: {file: arrays.npz, array: bad}, radius: 1"),
        "region",
        ("nan at [1]",),
    ),
    Bad(
        "flags",
        region("center: {file: arrays.npz, array: flags}, radius: 1"),
        "region",
        ("type bool",),
    ),
    Bad(
        "words",
        region("center: {file: arrays.npz, array: words}, radius: 1"),
        "region",
        ("numbers",),
    ),
    Bad(
        "objects",
        region("center: {file: arrays.npz, array: objects}, radius: 1"),
        "region",
        ("read",),
    ),
    Bad(
        "complex",
        region("center: {file: arrays.npz, array: complex}, radius: 1"),
        "region",
        ("complex",),
    ),
    Bad(
        "clip of three",
        region(CENTER + ", radius: 1, clip: {file: arrays.npz, array: x0}"),
        "region",
        ("two rows", "(3,)"),
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_refused(bad: Bad, folder: Path) -> None:
    check_refused(bad, folder)


def test_names_differ() -> None:
    check_table(BAD)


def test_truncated_archive(folder: Path) -> None:
    whole = (folder / "arrays.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2] + whole[-600:])
    path = write(folder, region("center: {file: cut.npz, array: rows, index: 0}, radius: 1"))
    with pytest.raises(SpecError, match=r"spec\.yaml:3: region\.center"):
        read_spec(path)


def test_archive_with_another_file(folder: Path) -> None:
    with zipfile.ZipFile(folder / "odd.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    path = write(folder, region("center: {file: odd.npz, array: readme.txt}, radius: 1"))
    with pytest.raises(SpecError, match="is no array"):
        read_spec(path)
