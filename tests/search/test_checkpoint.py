"""Checkpoints: killed and resumed at any write, a run gives the answers of one that was not."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lipverify import api
from lipverify.api import verify_spec
from lipverify.config import CheckpointConfig, PreactivationConfig, VerifyConfig, WitnessConfig
from lipverify.errors import CheckpointError
from lipverify.evidence import PropertyResult
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.region import Box
from lipverify.search import gate_split, lipschitz, recheck
from lipverify.search.budget import Clock
from lipverify.search.checkpoint import checkpoint_file, file, store
from lipverify.search.checkpoint.codec import pack, unpack
from lipverify.search.checkpoint.progress import PropertyProgress
from lipverify.spec import Spec
from lipverify.spec.property import Lipschitz, Property
from lipverify.verdict import Falsified, Reason, Unknown, Verified
from tests.oracles import boxes, networks, originals
from tests.oracles.networks import Tiny
from tests.oracles.regions import Regions
from tests.search import questions
from tests.search.questions import LIGHT, monotonicity, robustness


class Killed(BaseException):
    """Stands for kill -9: nothing is written any more."""


def gate_tiny() -> tuple[Tiny, Box]:
    """Splits of gates: 30 subproblems."""
    return networks.dense((3, 6, 6, 2), 0), boxes.centered(3, 1.5)


def input_tiny() -> tuple[Tiny, Box]:
    """Splits of inputs: few of them, many open gates."""
    return networks.dense((2, 30, 30, 2), 1), boxes.centered(2, 1.0)


def spec_of(tiny: Tiny, box: Box, *properties: Property) -> Spec:
    return Spec("kept", box, properties, tuple(f"x{index}" for index in range(tiny.inputs)))


def run(
    tiny: Tiny, spec: Spec, path: Path | None = None, resume: bool = False, **settings: Any
) -> list[PropertyResult]:
    """With a write at every occasion; by a search whose steps do not depend on the time."""
    kept = None if path is None else CheckpointConfig(path, 0.0, resume)
    method = "input-split" if tiny.inputs == 2 else "quadratic"
    chosen = {**LIGHT, "method": method, "max_subproblems": 60, **settings}
    return list(verify_spec(originals.network(tiny), spec, VerifyConfig(checkpoint=kept, **chosen)))


def plain(results: list[PropertyResult]) -> list[dict[str, Any]]:
    """All but what may differ."""
    records = [result.as_json() for result in results]
    for record in records:
        record.pop("seconds")
        record.pop("stages")
        record.pop("timeline")
        record.pop("resumed", None)
    return records


@pytest.fixture
def write_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARE", 0)


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Dies instead of the k-th write from now on, and at every later one."""
    write = file.write

    def arm(most: int) -> None:
        left = [most]

        def dying(path: Path, members: dict[str, bytes]) -> None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            write(path, members)

        monkeypatch.setattr(file, "write", dying)

    return arm


def questions_of(kind: str) -> tuple[Tiny, Spec]:
    if kind == "inputs":
        tiny, box = input_tiny()
        return tiny, spec_of(tiny, box, questions.lipschitz(tiny, gap=0.02))
    tiny, box = gate_tiny()
    if kind == "gates":
        return tiny, spec_of(tiny, box, questions.lipschitz(tiny))
    if kind == "gates, l2":
        return tiny, spec_of(tiny, box, questions.lipschitz(tiny, "2"))
    low, _ = Regions(tiny, box).entries(torch.eye(2, dtype=DTYPE)[:1])
    margin = float(low[0].min()) - 1e-3
    return tiny, spec_of(
        tiny,
        box,
        monotonicity(tiny, (0, 1, 2), margin=margin),
        robustness(0),
        questions.lipschitz(tiny, at_most=1.0),
        questions.lipschitz(tiny, gap=0.05),
    )


@pytest.mark.usefixtures("write_always")
@pytest.mark.parametrize("kind", ["gates", "gates, l2", "inputs", "several"])
@pytest.mark.parametrize("between", [1, 4, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_again_and_again(
    kind: str, between: int, tmp_path: Path, kill_at: Callable[[int], None]
) -> None:
    """Every run dies a few writes after it has resumed; the last one's answers are the whole's."""
    tiny, spec = questions_of(kind)
    limit = 12 if between == 1 else 60
    expected = plain(run(tiny, spec, max_subproblems=limit))
    path, deaths = tmp_path / "a.checkpoint", 0
    while True:
        kill_at(1 + between)  # each run writes once before it works
        try:
            found = run(tiny, spec, path, resume=True, max_subproblems=limit)
            break
        except Killed:
            deaths += 1
    assert plain(found) == expected
    assert deaths >= 2 and any(result.resumed for result in found)


@pytest.mark.usefixtures("write_always")
def test_searches_are_resumed_not_repeated(
    tmp_path: Path, kill_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run bounds only what the first did not."""
    tiny, spec = questions_of("gates")
    counts: list[int] = []
    evaluate = gate_split.GateSearch.evaluate

    def counted(self: Any, *arguments: Any) -> Any:
        counts[-1] += 1
        return evaluate(self, *arguments)

    monkeypatch.setattr(gate_split.GateSearch, "evaluate", counted)
    counts.append(0)
    run(tiny, spec)
    counts.append(0)
    kill_at(8)
    with pytest.raises(Killed):
        run(tiny, spec, tmp_path / "a", resume=True)
    kill_at(1000)
    counts.append(0)
    monkeypatch.setattr(lipschitz, "search_norm", None)  # not called again
    monkeypatch.setattr(lipschitz, "norm_upper", None)
    run(tiny, spec, tmp_path / "a", resume=True)
    whole, before, after = counts
    assert 0 < before < whole and whole <= before + after <= whole + 2  # the step that was lost


def test_answers_are_not_worked_on_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, spec = questions_of("several")
    first = run(tiny, spec, tmp_path / "a")
    for name in ("decide_lipschitz", "decide_monotonicity", "decide_robustness"):
        monkeypatch.setattr(api, name, None)
    again = run(tiny, spec, tmp_path / "a", resume=True)
    assert plain(again) == plain(first)
    assert [result.seconds for result in again] == [result.seconds for result in first]
    assert all(result.resumed and result.as_json()["resumed"] is True for result in again)
    assert not any("resumed" in result.as_json() for result in first)


@pytest.mark.parametrize("kind", ["gates", "inputs"])
def test_a_larger_budget_goes_on(kind: str, tmp_path: Path) -> None:
    tiny, spec = questions_of(kind)
    few = {"gates": 7, "inputs": 101}[kind]
    whole = run(tiny, spec, max_subproblems=None)
    path = tmp_path / "a"
    (short,) = run(tiny, spec, path, max_subproblems=few)
    (same,) = run(tiny, spec, path, resume=True, max_subproblems=few)
    assert same.as_json() == {**short.as_json(), "resumed": True}
    assert short.bound is not None and whole[0].bound is not None
    assert short.bound.upper > whole[0].bound.upper
    more = run(tiny, spec, path, resume=True, max_subproblems=None)
    if kind == "gates":  # a step of input splits is cut to the limit
        assert plain(more) == plain(whole)
    assert more[0].bound is not None and more[0].bound.upper < short.bound.upper


def test_what_a_timeout_cuts_short_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock may expire at any look: resumed with time, the answer is the whole run's."""
    tiny, spec = questions_of("gates")
    expected = plain(run(tiny, spec))
    for look in (1, 2, 3, 4, 6, 9, 14, 25, 60, 100):
        path = tmp_path / str(look)
        looks = [0]

        def expired(self: Clock, last: int = look, looks: list[int] = looks) -> bool:
            looks[0] += 1
            return looks[0] >= last

        with monkeypatch.context() as patch:
            patch.setattr(Clock, "expired", expired)
            (short,) = run(tiny, spec, path, timeout=100.0)
        found = run(tiny, spec, path, resume=True, timeout=200.0)
        assert plain(found) == expected, look
        if short.bound is not None:
            assert short.bound.upper >= expected[0]["bound"]["upper"]


@pytest.mark.usefixtures("write_always")
def test_time_counts_over_all_runs(tmp_path: Path, kill_at: Callable[[int], None]) -> None:
    tiny, spec = questions_of("gates")
    path = tmp_path / "a"
    kill_at(8)
    with pytest.raises(Killed):
        run(tiny, spec, path, resume=True, timeout=60.0)
    kill_at(1000)
    edit(path, lambda progress: replace(progress, seconds=61.0))
    (result,) = run(tiny, spec, path, resume=True, timeout=60.0)
    assert isinstance(result.verdict, Verified) and result.seconds >= 61.0
    assert result.bound is not None and result.bound.upper < float("inf"), "the interval is lost"
    assert result.bound.upper - result.bound.lower > 1e-3, "work went on"
    (more,) = run(tiny, spec, path, resume=True, timeout=300.0)
    assert more.seconds >= result.seconds and more.bound is not None
    assert more.bound.upper < result.bound.upper


def test_no_file_is_a_fresh_start_and_a_file_in_the_way_an_error(tmp_path: Path) -> None:
    tiny, spec = questions_of("gates")
    path = tmp_path / "a"
    run(tiny, spec, path, resume=True, max_subproblems=1)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="--resume"):
        run(tiny, spec, path)
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_written_is_known_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "decide_lipschitz", None)
    tiny, spec = questions_of("gates")
    with pytest.raises(CheckpointError, match="cannot be written"):
        run(tiny, spec, tmp_path / "no folder" / "a")


def test_specs_in_a_folder_have_a_file_each(tmp_path: Path) -> None:
    config = CheckpointConfig(tmp_path)
    tiny, spec = questions_of("gates")
    named = [
        replace(spec, path=Path(folder) / "case.yaml", name="a/b") for folder in ("one", "two")
    ]
    files = {checkpoint_file(config, one) for one in (*named, spec, replace(spec, name="a/b"))}
    assert len(files) == 4 and all(one.parent == tmp_path for one in files)
    run(tiny, spec, tmp_path, max_subproblems=1)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint_file(config, spec).name]


# Files that are not what this run would have left.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the middle of a search over gates."""
    tiny, spec = questions_of("gates")
    path = tmp_path_factory.mktemp("made") / "a.checkpoint"
    run(tiny, spec, path, max_subproblems=12)
    return path


def edit(path: Path, change: Callable[[PropertyProgress], Any], index: int = 0) -> None:
    """Rewrite what the file holds of a property."""
    members = file.read(path)
    mine = {name: members[name] for name in store._names(index)}
    packed = pack(change(unpack(store._packed(index, mine))))
    arrays = [file.array_bytes(packed.numbers[dtype]) for dtype in packed.numbers]
    data = (file.text_bytes(packed.tree), *arrays)
    file.write(path, {**members, **dict(zip(store._names(index), data, strict=True))})


def edit_manifest(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    members = file.read(path)
    manifest = json.loads(members[store.MANIFEST])
    changed = change(manifest)
    text = file.text_bytes(manifest if changed is None else changed)
    file.write(path, {**members, store.MANIFEST: text})


def test_a_damaged_file_is_an_error_that_says_what_to_do(made: Path, tmp_path: Path) -> None:
    """Truncated anywhere, or with a byte changed anywhere: refused, or of no consequence."""
    tiny, spec = questions_of("gates")
    whole = made.read_bytes()
    path = tmp_path / "a"
    expected = plain(run(tiny, spec, copy(made, path), resume=True, max_subproblems=9))
    refused = 0
    cut = [whole[: len(whole) * k // 40] for k in range(40)]
    flipped = []
    for k in range(0, len(whole), max(1, len(whole) // 160)):
        flipped.append(whole[:k] + bytes([whole[k] ^ 0x41]) + whole[k + 1 :])
    for data in (*cut, *flipped, b"PK", b"not a checkpoint"):
        path.write_bytes(data)
        try:
            assert plain(run(tiny, spec, path, resume=True, max_subproblems=9)) == expected
        except CheckpointError as error:
            refused += 1
            assert str(path) in str(error) and "Remove the file" in str(error)
            assert path.read_bytes() == data, "a damaged file was written to"
    assert refused > 150


def copy(source: Path, target: Path) -> Path:
    shutil.copy(source, target)
    return target


def others() -> Iterator[tuple[str, Callable[[Tiny, Spec, Path], Any], str]]:
    """Runs that the file is not of."""
    other = networks.dense((3, 6, 6, 2), 1)

    def resume(tiny: Tiny, spec: Spec, path: Path, **settings: Any) -> Any:
        return run(tiny, spec, path, resume=True, **settings)

    def network(tiny: Tiny, spec: Spec, path: Path) -> Any:
        config = VerifyConfig(checkpoint=CheckpointConfig(path, 0.0, True), **LIGHT)  # type: ignore[arg-type]
        changed = replace(originals.network(other), sha256="1" * 64)
        return list(verify_spec(changed, spec, config))

    def region(tiny: Tiny, spec: Spec, path: Path) -> Any:
        box = spec.region
        assert isinstance(box, Box)
        wider = Box(box.lower, torch.nextafter(box.upper, torch.full_like(box.upper, 9.0)))
        return resume(tiny, replace(spec, region=wider), path)

    def norm(tiny: Tiny, spec: Spec, path: Path) -> Any:
        (prop,) = spec.properties
        assert isinstance(prop, Lipschitz)
        changed = replace(prop, input_norm=norm_named("2"))
        return resume(tiny, replace(spec, properties=(changed,)), path)

    def threshold(tiny: Tiny, spec: Spec, path: Path) -> Any:
        return resume(
            tiny, replace(spec, properties=(questions.lipschitz(tiny, at_most=3.0),)), path
        )

    def kind(tiny: Tiny, spec: Spec, path: Path) -> Any:
        return resume(tiny, replace(spec, properties=(robustness(0),)), path)

    def more(tiny: Tiny, spec: Spec, path: Path) -> Any:
        return resume(tiny, replace(spec, properties=spec.properties * 2), path)

    def names(tiny: Tiny, spec: Spec, path: Path) -> Any:
        return resume(tiny, replace(spec, features=("a", "b", "c")), path)

    for change in (region, norm, threshold, kind, more, names):
        yield change.__name__, change, "another region, or other properties"
    yield "network", network, "another network"
    lazy = WitnessConfig(samples=1, ascents=1, climbers=1, steps=0, programs=0)
    for name, value, says in (
        ("method", "auto", "method 'quadratic'"),
        ("seed", 1, "seed 0"),
        ("branching", "width", "with branching"),
        ("witness", lazy, "with witness"),
        ("preactivation", PreactivationConfig(), "with preactivation"),
    ):
        settings = {name: value}
        yield name, lambda t, s, p, settings=settings: resume(t, s, p, **settings), says


@pytest.mark.parametrize(("change", "says"), [pytest.param(c, s, id=n) for n, c, s in others()])
def test_another_question_is_not_answered(
    change: Callable[[Tiny, Spec, Path], Any], says: str, made: Path, tmp_path: Path
) -> None:
    tiny, spec = questions_of("gates")
    path = copy(made, tmp_path / "a")
    with pytest.raises(CheckpointError, match=says) as raised:
        change(tiny, spec, path)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == made.read_bytes()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("format", None),
        ("lipverify", "0.0.1"),
        ("records", {}),
        ("settings", None),
        ("properties", [7]),
        ("properties", ["0"]),
        ("properties", None),
    ],
)
def test_other_versions_and_odd_manifests(key: str, value: Any, made: Path, tmp_path: Path) -> None:
    tiny, spec = questions_of("gates")
    path = copy(made, tmp_path / "a")
    edit_manifest(path, lambda manifest: manifest.update({key: value}))
    with pytest.raises(CheckpointError, match="start afresh"):
        run(tiny, spec, path, resume=True)
    for odd in ([], None, 3):
        edit_manifest(path, lambda manifest, odd=odd: [odd])
        with pytest.raises(CheckpointError, match="start afresh"):
            run(tiny, spec, path, resume=True)


def with_state(**changes: Any) -> Callable[[PropertyProgress], PropertyProgress]:
    def change(progress: PropertyProgress) -> PropertyProgress:
        state = replace(progress.kept["gate splits"], **changes)
        return replace(progress, kept={**progress.kept, "gate splits": state})

    return change


def with_open(**changes: Any) -> Callable[[PropertyProgress], PropertyProgress]:
    def change(progress: PropertyProgress) -> PropertyProgress:
        state = progress.kept["gate splits"]
        first = replace(state.open[0], **changes)
        return with_state(open=(first, *state.open[1:]))(progress)

    return change


def with_found(**changes: Any) -> Callable[[PropertyProgress], PropertyProgress]:
    def change(progress: PropertyProgress) -> PropertyProgress:
        found = replace(progress.kept["gate splits"].open[0].found, **changes)
        return with_open(found=found)(progress)

    return change


def with_kept(key: str, **changes: Any) -> Callable[[PropertyProgress], PropertyProgress]:
    def change(progress: PropertyProgress) -> PropertyProgress:
        return replace(
            progress, kept={**progress.kept, key: replace(progress.kept[key], **changes)}
        )

    return change


def without(key: str) -> Callable[[PropertyProgress], PropertyProgress]:
    return lambda progress: replace(
        progress, kept={name: value for name, value in progress.kept.items() if name != key}
    )


def swapped(progress: PropertyProgress) -> PropertyProgress:
    """Under the wrong key."""
    kept = dict(progress.kept)
    kept["root"], kept["witness"] = kept["witness"], kept["root"]
    return replace(progress, kept=kept)


def reversed_open(progress: PropertyProgress) -> PropertyProgress:
    return with_state(open=progress.kept["gate splits"].open[::-1])(progress)


def wrong_side(progress: PropertyProgress) -> PropertyProgress:
    item = progress.kept["gate splits"].open[0]
    splits = tuple(replace(split, side=-split.side) for split in item.splits)
    return with_open(splits=splits)(progress)


def wider(progress: PropertyProgress) -> PropertyProgress:
    item = progress.kept["gate splits"].open[0]
    (name, interval), *_ = item.preactivations.items()
    moved = replace(interval, upper=interval.upper + 100.0)
    return with_open(preactivations={**item.preactivations, name: moved})(progress)


NAN = float("nan")
FAR = torch.full((3,), 100.0, dtype=DTYPE)
TAMPERED = {
    "closed is NaN": with_state(closed=NAN),
    "closed above the root": with_state(closed=1e9),
    "no subproblems": with_state(subproblems=0),
    "no costs": with_state(costs=()),
    "a point elsewhere": with_state(point=FAR),
    "a point of other inputs": with_state(point=FAR[:2]),
    "serial numbers": with_state(serial=0),
    "no such objective": with_open(objective=7),
    "negative objective": with_open(objective=-1),
    "open in another order": reversed_open,
    "open end NaN": with_found(upper=NAN),
    "open end above the root": with_found(upper=1e9),
    "nothing to split": with_found(candidates=()),
    "splits of the other side": wrong_side,
    "no preactivations": with_open(preactivations={}),
    "wider preactivations": wider,
    "a witness elsewhere": with_kept("witness", point=FAR),
    "a witness of too much": with_kept("witness", value=1e3),
    "a witness of NaN": with_kept("witness", value=NAN),
    "a root below the witness": with_kept("root", upper=0.1),
    "a root of NaN": with_kept("root", upper=NAN),
    "swapped": swapped,
    "a time of NaN": lambda progress: replace(progress, seconds=NAN),
    "a negative time": lambda progress: replace(progress, seconds=-1.0),
    "another record": lambda progress: progress.kept["root"],
}


@pytest.mark.parametrize("name", TAMPERED)
def test_states_that_no_search_was_in_are_refused(name: str, made: Path, tmp_path: Path) -> None:
    tiny, spec = questions_of("gates")
    path = copy(made, tmp_path / "a")
    edit(path, TAMPERED[name])
    with pytest.raises(CheckpointError, match="start afresh"):
        run(tiny, spec, path, resume=True)


@pytest.mark.parametrize("key", ["root", "witness", "gate splits"])
def test_what_is_missing_is_worked_out_again(key: str, made: Path, tmp_path: Path) -> None:
    tiny, spec = questions_of("gates")
    expected = plain(run(tiny, spec))
    path = copy(made, tmp_path / "a")
    edit(path, without(key))
    assert plain(run(tiny, spec, path, resume=True)) == expected


def test_records_with_values_of_other_types_are_refused(made: Path, tmp_path: Path) -> None:
    """A text where a number belongs, a record of too few fields, an unknown one, a huge array."""
    tiny, spec = questions_of("gates")
    text = json.loads(file.read(made)["property-0.json"])
    broken = []
    for wrong in (
        "1.0",
        None,
        [],
        {"Unheard": []},
        {"Split": ["z"]},
        {"tensor": ["float64", 0, 9**9]},
    ):
        tree = json.loads(json.dumps(text))
        tree["PropertyProgress"][0] = wrong
        broken.append(tree)
    for wrong in (["float64", -1, 2], ["object", 0, 2], ["float64", 0, -2], [], "x"):
        tree = json.loads(json.dumps(text))
        tree["PropertyProgress"][3] = {"map": [["point", {"tensor": wrong}]]}
        broken.append(tree)
    for tree in broken:
        path = copy(made, tmp_path / "a")
        file.write(path, {**file.read(made), "property-0.json": file.text_bytes(tree)})
        with pytest.raises(CheckpointError, match="start afresh"):
            run(tiny, spec, path, resume=True)


def test_nothing_in_a_file_is_executed(made: Path, tmp_path: Path) -> None:
    """An array of objects is a pickle: numpy is told to refuse it."""
    import io

    import numpy as np

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was loaded",))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    path = copy(made, tmp_path / "a")
    file.write(path, {**file.read(made), "property-0.float64.npy": buffer.getvalue()})
    tiny, spec = questions_of("gates")
    with pytest.raises(CheckpointError, match="start afresh"):
        run(tiny, spec, path, resume=True)


def test_tampered_answers_are_refused(tmp_path: Path) -> None:
    tiny, spec = questions_of("several")
    path = tmp_path / "a"
    results = run(tiny, spec, path)
    assert isinstance(results[2].verdict, Falsified)
    whole = tmp_path / "whole"
    copy(path, whole)

    def answer(change: Callable[[PropertyResult], PropertyResult]) -> Callable[..., Any]:
        return lambda progress: replace(progress, answer=change(progress.answer))

    def moved(result: PropertyResult) -> PropertyResult:
        assert isinstance(result.verdict, Falsified)
        found = result.verdict.counterexample
        return replace(result, verdict=Falsified(replace(found, inputs=(FAR,))))

    def other_outputs(result: PropertyResult) -> PropertyResult:
        assert isinstance(result.verdict, Falsified)
        found = result.verdict.counterexample
        outputs = tuple(value + 1.0 for value in found.outputs)
        return replace(result, verdict=Falsified(replace(found, outputs=outputs)))

    def raised(result: PropertyResult) -> PropertyResult:
        assert result.bound is not None
        return replace(result, bound=replace(result.bound, lower=result.bound.upper))

    for index, change in (
        (2, moved),
        (2, other_outputs),
        (3, raised),
        (3, lambda result: replace(result, bound=replace(result.bound, lower=9e9))),
        (3, lambda result: replace(result, network_sha256="f" * 64)),
        (1, lambda result: replace(result, kind="lipschitz")),
    ):
        copy(whole, path)
        edit(path, answer(change), index)
        with pytest.raises(CheckpointError, match=f"property {index}"):
            run(tiny, spec, path, resume=True)


def test_files_are_replaced_whole(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails midway leaves the file before it."""
    path = copy(made, tmp_path / "a")
    members = file.read(path)

    def full(self: zipfile.ZipFile, *arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(CheckpointError, match="No space left"):
        file.write(path, members)
    assert path.read_bytes() == made.read_bytes()


def test_writes_are_as_rare_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at the start, one at the end; none between within `every` seconds."""
    writes: list[Path] = []
    write = file.write
    monkeypatch.setattr(
        file, "write", lambda path, members: (writes.append(path), write(path, members))[1]
    )
    tiny, spec = questions_of("gates")
    kept = CheckpointConfig(tmp_path / "a", 1e6)
    list(verify_spec(originals.network(tiny), spec, VerifyConfig(checkpoint=kept, **LIGHT)))  # type: ignore[arg-type]
    assert len(writes) == 2


def test_a_witness_of_another_machines_rounding_is_taken(made: Path, tmp_path: Path) -> None:
    """It is proved anew: the new value counts."""
    tiny, spec = questions_of("gates")
    path = copy(made, tmp_path / "a")

    def nudged(progress: PropertyProgress) -> PropertyProgress:
        witness = progress.kept["witness"]
        value = witness.value * (1 + recheck.AGREEMENT / 2)
        return replace(progress, kept={**progress.kept, "witness": replace(witness, value=value)})

    edit(path, nudged)
    assert plain(run(tiny, spec, path, resume=True)) == plain(run(tiny, spec))


def test_unknown_by_a_budget_is_not_final(tmp_path: Path) -> None:
    tiny, spec = questions_of("several")
    exact = Regions(tiny, spec.region).norm("inf", "inf")  # type: ignore[arg-type]
    claim = spec_of(tiny, spec.region, questions.lipschitz(tiny, at_most=exact * 1.0001))  # type: ignore[arg-type]
    (short,) = run(tiny, claim, tmp_path / "a", max_subproblems=2)
    assert isinstance(short.verdict, Unknown) and short.verdict.reason is Reason.SUBPROBLEMS
    (more,) = run(tiny, claim, tmp_path / "a", resume=True, max_subproblems=None)
    assert isinstance(more.verdict, Verified)
