"""An audit from its file to its database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from threadpoolctl import threadpool_limits

from lipverify import __version__
from lipverify.audit.answer import Answer, Found
from lipverify.audit.context import Context, prepare
from lipverify.audit.line_block import Block
from lipverify.audit.plan import Unit, answer_unit, asked_count, units_of
from lipverify.audit.pool import Source, answers_of
from lipverify.audit.report.records import record_rows
from lipverify.audit.sample import sampled
from lipverify.audit.store import Store
from lipverify.bounds.methods import method_named
from lipverify.config import CertifyConfig, VerifyConfig
from lipverify.errors import InputError

if TYPE_CHECKING:
    import pandas

DATABASE = "audit.sqlite"


@dataclass(frozen=True)
class AuditConfig:
    """How an audit is run. `sample` records are drawn with `seed`; None: all of them.

    `timeout` (seconds) and `max_subproblems` limit each question that bounds and searches decide;
    lines need neither. With a timeout that is reached, answers depend on the machine.
    """

    jobs: int = 1
    resume: bool = False
    sample: int | None = None
    seed: int = 0
    skip_bad_rows: bool = False
    method: str = "auto"
    timeout: float | None = 10.0
    max_subproblems: int | None = 2000
    certify: Path | None = None
    """A folder for certificates: then a verified answer is one whose certificate was accepted."""

    @property
    def verify(self) -> VerifyConfig:
        return VerifyConfig(
            method=self.method,
            timeout=self.timeout,
            max_subproblems=self.max_subproblems,
            seed=self.seed,
            certify=None if self.certify is None else CertifyConfig(self.certify),
        )


@dataclass(frozen=True)
class AuditProgress:
    """How many of `total` answers are there, by verdict."""

    total: int
    verified: int
    falsified: int
    unknown: int

    @property
    def decided(self) -> int:
        return self.verified + self.falsified


@dataclass(frozen=True, eq=False)
class AuditResult:
    """A finished audit. `context` is what was asked; `store` holds the answers (open)."""

    context: Context
    store: Store
    sample: tuple[int, ...]
    config: AuditConfig
    interrupted: bool = False
    counts: dict[tuple[int, Found], int] = field(default_factory=dict)

    @property
    def totals(self) -> list[dict[str, Any]]:
        """One row per question: feature, region, direction, verified, falsified, unknown."""
        rows = []
        for number, question in enumerate(self.context.audit.questions):
            row: dict[str, Any] = {
                "feature": question.feature,
                "region": question.region.name,
                "direction": question.direction.value,
            }
            for found in Found:
                row[found.value] = self.counts.get((number, found), 0)
            rows.append(row)
        return rows

    def answers(self) -> Iterator[Answer]:
        """By question and record."""
        return self.store.answers()

    def frame(self) -> "pandas.DataFrame":
        """One row per answer: the columns of records.csv."""
        import pandas

        return pandas.DataFrame(list(record_rows(self.context, self.store)))


def run_audit(
    path: str | Path,
    out: str | Path,
    config: AuditConfig | None = None,
    on_progress: Callable[[AuditProgress], None] | None = None,
) -> AuditResult:
    """Answer all questions of an audit file; answers go into the folder `out` as they come.

    Raises `InputError` (its subclasses say what, where and what to do) before any work, or
    `WorkerDied`; answers that are there by then stay, and `resume` goes on from them. Ctrl-C ends
    the work, not the audit: the result says `interrupted`.
    """
    config = config or AuditConfig()
    if config.sample is not None and config.sample < 1:
        raise InputError(f"--sample {config.sample}: expected a number of records, 1 or more")
    method_named(config.method)
    context = prepare(str(path), config.verify, skip_bad_rows=config.skip_bad_rows)
    sample = sampled(context.records, config.sample, config.seed)
    folder = _made(Path(out), "--out")
    if config.certify is not None:
        _made(config.certify, "--certify")
    store = Store(folder / DATABASE, identity_of(context, config), resume=config.resume)
    units = units_of(context, sample)
    waiting = [unit for unit in units if unit.number not in store.done()]
    tally = _Tally(asked_count(context, units), store.counts())
    interrupted = False
    try:
        for unit, block in _work(context, str(path), waiting, config):
            store.add(unit.number, block)
            progress = tally.add(block)
            if on_progress is not None:
                on_progress(progress)
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        store.close()
        raise
    return AuditResult(context, store, sample, config, interrupted, store.counts())


def _made(folder: Path, option: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {folder}: cannot be made: {error.strerror}") from error
    return folder


class _Tally:
    def __init__(self, total: int, counts: dict[tuple[int, Found], int]) -> None:
        self._total = total
        self._count = {
            found: sum(count for (_, word), count in counts.items() if word is found)
            for found in Found
        }

    def add(self, block: Block) -> AuditProgress:
        for answer in block.answers:
            self._count[answer.found] += 1
        return AuditProgress(
            self._total,
            self._count[Found.VERIFIED],
            self._count[Found.FALSIFIED],
            self._count[Found.UNKNOWN],
        )


def _work(
    context: Context, path: str, units: Sequence[Unit], config: AuditConfig
) -> Iterator[tuple[Unit, Block]]:
    if config.jobs > 1 and len(units) > 1:
        sha256 = context.target.network.sha256
        source = Source(path, config.verify, config.skip_bad_rows, sha256)
        yield from answers_of(source, units, config.jobs)
        return
    for unit in units:
        with one_thread():
            block = answer_unit(context, unit)
        yield unit, block


@contextmanager
def one_thread() -> Iterator[None]:
    """More threads would add the same numbers in another order, and give other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def identity_of(context: Context, config: AuditConfig) -> dict[str, Any]:
    """What answers depend on: a database of other ones is not resumed."""
    return {
        "lipverify": __version__,
        "audit_sha256": context.audit.sha256,
        "network_sha256": context.target.network.sha256,
        "table_sha256": context.records.sha256,
        "rows": context.records.rows,
        "method": config.method,
        "timeout": config.timeout,
        "max_subproblems": config.max_subproblems,
        "sample": config.sample,
        "seed": config.seed,
        "skip_bad_rows": config.skip_bad_rows,
        "certified": config.certify is not None,
    }
