"""One spec's progress on disk: what is kept, when it is written, what a resumed run finds."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, final

from lipverify.config import CheckpointConfig, VerifyConfig
from lipverify.errors import CheckpointError, LipverifyError
from lipverify.evidence import PropertyResult
from lipverify.files import distinct_name
from lipverify.network import Network
from lipverify.search.budget import Clock
from lipverify.search.checkpoint import file
from lipverify.search.checkpoint.codec import DTYPES, Packed, pack, schema, unpack
from lipverify.search.checkpoint.identity import Identity, identity
from lipverify.search.checkpoint.progress import PropertyProgress, budget_of, finished
from lipverify.search.slot import AbstractSlot, Slots, Stored, Value, no_slots
from lipverify.spec import Spec

MANIFEST = "manifest.json"
SHARE = 20
"""Writing may take one part in so many of the time, however often it is asked for."""

UNFIT = (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, LipverifyError)
"""What checks of values raise that no run can have left."""

Check = Callable[[PropertyResult], PropertyResult]


@dataclass(frozen=True, eq=False)
class Begun:
    """A property at work: a clock that counts earlier runs' time too, and its slots."""

    clock: Clock
    slot: Slots = no_slots
    resumed: bool = False
    """Whether an earlier run left anything."""


class AbstractCheckpoint(ABC):
    """Used as a context: whatever ends it, what was kept is written."""

    @abstractmethod
    def __enter__(self) -> "AbstractCheckpoint": ...

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    def answer(self, index: int, check: Check) -> PropertyResult | None:
        """An earlier run's answer to a property that this run's budget cannot better."""

    @abstractmethod
    def begin(self, index: int, timeout: float | None) -> Begun:
        """To be called before work on a property."""

    @abstractmethod
    def finish(self, result: PropertyResult) -> PropertyResult:
        """Keep the answer to the property at work; marked where it rests on an earlier run."""


@final
class NoCheckpoint(AbstractCheckpoint):
    """Nothing is kept."""

    def __enter__(self) -> "NoCheckpoint":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def answer(self, index: int, check: Check) -> PropertyResult | None:
        return None

    def begin(self, index: int, timeout: float | None) -> Begun:
        return Begun(Clock(timeout))

    def finish(self, result: PropertyResult) -> PropertyResult:
        return result


@final
class FileCheckpoint(AbstractCheckpoint):
    """Its file is written when made, so that one that cannot be written is known at once."""

    def __init__(self, path: Path, every: float, of: Identity, config: VerifyConfig) -> None:
        self._path = path
        self._every = every
        self._of = of
        self._budget = budget_of(config)
        self._progress: dict[int, PropertyProgress] = {}
        self._members: dict[int, Mapping[str, bytes]] = {}
        self._current: tuple[int, Clock] | None = None
        self._kept: dict[str, Any] = {}
        self._resumed = False
        self._due = 0.0

    def restore(self) -> None:
        """Take over what the file holds; `CheckpointError` if any of it is not as it should be."""
        members = file.read(self._path)
        try:
            manifest = json.loads(members[MANIFEST])
            if not isinstance(manifest, dict):
                raise ValueError("no manifest")
            other = self._of.difference(manifest)
            if other is None and manifest["records"] != schema():
                other = "by another version of lipverify"
        except file.UNREADABLE as error:
            raise file.damaged(self._path, str(error)) from error
        if other is not None:
            raise CheckpointError(
                f"{self._path}: the checkpoint was made {other}; run the same again to resume it, "
                "or remove the file, or name another, to start afresh"
            )
        try:
            for index in manifest["properties"]:
                mine = {name: members[name] for name in _names(index)}
                progress = unpack(_packed(index, mine))
                if not isinstance(progress, PropertyProgress) or not progress.seconds >= 0:
                    raise ValueError(f"property {index} has no progress")
                self._progress[index], self._members[index] = progress, mine
        except (*file.UNREADABLE, *UNFIT) as error:
            raise file.damaged(self._path, str(error)) from error

    def __enter__(self) -> "FileCheckpoint":
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, CheckpointError):  # which may be about this file
            self._write()

    def answer(self, index: int, check: Check) -> PropertyResult | None:
        progress = self._progress.get(index)
        if progress is None or progress.answer is None or not progress.settled(self._budget):
            return None
        try:
            return replace(check(progress.answer), resumed=True)
        except UNFIT as error:
            raise self.unfit(f"the answer to property {index}", error) from error

    def begin(self, index: int, timeout: float | None) -> Begun:
        before = self._progress.get(index, PropertyProgress())
        clock = Clock(timeout, monotonic() - before.seconds)
        self._current, self._kept, self._resumed = (index, clock), dict(before.kept), False
        return Begun(clock, lambda key: _FileSlot(self, clock, key), bool(before.kept))

    def finish(self, result: PropertyResult) -> PropertyResult:
        assert self._current is not None
        index, clock = self._current
        answer = replace(result, resumed=self._resumed)
        progress = PropertyProgress(clock.seconds, self._budget, answer, self._kept)
        if finished(answer):
            progress = replace(progress, kept={})
        self._store(index, progress)
        self._current = None
        if monotonic() >= self._due:
            self._write()
        return answer

    def load(self, key: str) -> Any:
        return self._kept.get(key)

    def used(self) -> None:
        """Something of an earlier run went into the answer that is being worked on."""
        self._resumed = True

    def keep(self, key: str, value: object) -> None:
        self._kept[key] = value
        if monotonic() >= self._due:
            self._write()

    def unfit(self, what: str, error: Exception) -> CheckpointError:
        return file.damaged(self._path, f"{what}: {error}")

    def _store(self, index: int, progress: PropertyProgress) -> None:
        packed = pack(progress)
        arrays = (file.array_bytes(packed.numbers[dtype]) for dtype in DTYPES)
        members = (file.text_bytes(packed.tree), *arrays)
        self._progress[index] = progress
        self._members[index] = dict(zip(_names(index), members, strict=True))

    def _write(self) -> None:
        started = monotonic()
        if self._current is not None:
            index, clock = self._current
            self._store(index, PropertyProgress(clock.seconds, kept=self._kept))
        indices = sorted(self._members)
        manifest = {**asdict(self._of), "records": schema(), "properties": indices}
        members = {MANIFEST: file.text_bytes(manifest)}
        for index in indices:
            members.update(self._members[index])
        file.write(self._path, members)
        ended = monotonic()
        self._due = ended + max(self._every, SHARE * (ended - started))


@final
class _FileSlot(AbstractSlot):
    def __init__(self, owner: FileCheckpoint, clock: Clock, key: str) -> None:
        self._owner = owner
        self._clock = clock
        self._key = key

    def load(self, kind: type[Stored], check: Callable[[Stored], Value]) -> Value | None:
        value = self._owner.load(self._key)
        if value is None:
            return None
        try:
            if not isinstance(value, kind):
                raise ValueError(f"holds {type(value).__name__}, expected {kind.__name__}")
            checked = check(value)
        except UNFIT as error:
            raise self._owner.unfit(self._key, error) from error
        self._owner.used()
        return checked

    def keep(self, value: object) -> None:
        if not self._clock.expired():
            self._owner.keep(self._key, value)


def open_checkpoint(network: Network, spec: Spec, config: VerifyConfig) -> AbstractCheckpoint:
    """The spec's checkpoint as the settings ask for.

    Raises `CheckpointError`: a file in the way, or one that cannot be resumed.
    """
    if config.checkpoint is None:
        return NoCheckpoint()
    path = checkpoint_file(config.checkpoint, spec)
    found = FileCheckpoint(path, config.checkpoint.every, identity(network, spec, config), config)
    if path.exists():
        check_free(config.checkpoint, path)
        found.restore()
    return found


def checkpoint_file(config: CheckpointConfig, spec: Spec) -> Path:
    """The path itself; in a folder, a name from the spec's, distinct for each spec."""
    if not config.path.is_dir():
        return config.path
    where = spec.name if spec.path is None else str(spec.path.resolve())
    stem = spec.name if spec.path is None else spec.path.stem
    return config.path / f"{distinct_name(stem, where)}.checkpoint"


def check_free(config: CheckpointConfig, path: Path) -> None:
    """`CheckpointError` for a file in the way of a run that does not resume it."""
    if path.exists() and not config.resume:
        raise CheckpointError(
            f"{path}: there is a checkpoint already; resume it (--resume), remove it, or name "
            "another file"
        )


def _names(index: int) -> list[str]:
    """Of a property's members."""
    if not isinstance(index, int) or isinstance(index, bool):
        raise ValueError("no property's number")
    return [f"property-{index}.json", *(f"property-{index}.{dtype}.npy" for dtype in DTYPES)]


def _packed(index: int, members: Mapping[str, bytes]) -> Packed:
    text, *arrays = (members[name] for name in _names(index))
    numbers = {}
    for dtype, data in zip(DTYPES, arrays, strict=True):
        array = file.read_array(data)
        if array.dtype.name != dtype or array.ndim != 1:
            raise ValueError(f"property {index}: not a flat array of {dtype}")
        numbers[dtype] = array
    return Packed(json.loads(text), numbers)
