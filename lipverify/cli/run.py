"""All specs of a run, in this process or in several, and what they answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from lipverify.api import Progress, asked_of
from lipverify.cli.figures import interval
from lipverify.cli.messages import Answer, Failure, Message, Stage, answer
from lipverify.cli.pool import run_parallel
from lipverify.cli.prepare import Task
from lipverify.cli.watch import AbstractWatch
from lipverify.config import VerifyConfig
from lipverify.evidence import Bound, PropertyResult
from lipverify.evidence.report_json import SpecFailure
from lipverify.spec.property import Property
from lipverify.verdict import Reason, Unknown


@dataclass(frozen=True, eq=False)
class Row:
    """One answer. `spec` is the path as given, `description` the property in a few words."""

    spec: str
    description: str
    result: PropertyResult
    property: Property | None = None
    """What was asked; None where nothing but the answer is shown."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Answers and failures in the order of the specs, whatever order they came in."""

    rows: tuple[Row, ...]
    failures: tuple[SpecFailure, ...]
    traces: tuple[str, ...]
    interrupted: bool
    seconds: float


class _Collector:
    """Takes messages in, keeps answers and failures, tells the watch."""

    def __init__(self, tasks: Sequence[Task], watch: AbstractWatch) -> None:
        self._tasks = tasks
        self._watch = watch
        self._stages: dict[tuple[int, int], Stage] = {}
        self.results: dict[tuple[int, int], PropertyResult] = {}
        self.failures: dict[int, Failure] = {}

    def receive(self, index: int, message: Message) -> None:
        task = self._tasks[index]
        match message:
            case Stage(progress):
                self._stages[index, progress.property] = message
                self._watch.stage(task, progress)
            case Answer(result):
                self.results[index, result.property] = result
                self._watch.answer(task, result)
            case Failure(text):
                self.failures[index] = message
                self._watch.failure(task, text)

    def interrupt(self, method: str) -> None:
        """Mark all that has no answer yet as unknown."""
        for index, task in enumerate(self._tasks):
            if index not in self.failures:
                for which in range(len(task.spec.properties)):
                    if (index, which) not in self.results:
                        result = self._interrupted(index, which, method)
                        self.results[index, which] = result

    def _interrupted(self, index: int, which: int, method: str) -> PropertyResult:
        task = self._tasks[index]
        stage = self._stages.get((index, which))
        detail = "stopped by Ctrl-C before it was its turn"
        bound = None
        subproblems, seconds = 0, 0.0
        if stage is not None:
            progress = stage.progress
            known = interval(progress.lower, progress.upper)
            detail = f"stopped by Ctrl-C in stage {progress.stage}, interval so far {known}"
            bound = _bound(progress)
            subproblems, seconds = progress.subproblems, progress.seconds
        return PropertyResult(
            spec=task.name,
            name=task.spec.name,
            property=which,
            kind=task.spec.properties[which].kind,
            verdict=Unknown(Reason.INTERRUPTED, detail),
            bound=bound,
            witness=None,
            method=f"{method}: none",
            subproblems=subproblems,
            seconds=seconds,
            network_sha256=task.network.sha256,
            network=task.file,
            **asked_of(task.spec, which),
        )


def _bound(progress: Progress) -> Bound | None:
    """The interval so far; None while nothing is known."""
    lower, upper = progress.lower, progress.upper
    if lower is None and upper is None:
        return None
    infinite = float("inf")
    return Bound(-infinite if lower is None else lower, infinite if upper is None else upper)


def run(
    tasks: Sequence[Task], config: VerifyConfig, jobs: int, threads: int, watch: AbstractWatch
) -> Outcome:
    """Work on all tasks. Ctrl-C ends the work, not the run: what is there is returned."""
    started = monotonic()
    collector = _Collector(tasks, watch)
    interrupted = False
    try:
        with watch:
            if jobs > 1 and len(tasks) > 1:
                run_parallel(tasks, config, jobs, threads, collector.receive)
            else:
                _run_here(tasks, config, threads, collector)
    except KeyboardInterrupt:
        interrupted = True
        collector.interrupt(config.method)
    rows = [
        Row(
            tasks[index].name,
            tasks[index].describe(which),
            result,
            tasks[index].spec.properties[which],
        )
        for (index, which), result in sorted(collector.results.items(), key=lambda item: item[0])
    ]
    failed = sorted(collector.failures.items())
    return Outcome(
        rows=tuple(rows),
        failures=tuple(SpecFailure(tasks[index].name, f.message) for index, f in failed),
        traces=tuple(f.trace for _, f in failed if f.trace),
        interrupted=interrupted,
        seconds=monotonic() - started,
    )


def _run_here(
    tasks: Sequence[Task], config: VerifyConfig, threads: int, collector: _Collector
) -> None:
    import torch

    torch.set_num_threads(threads)
    for index, task in enumerate(tasks):

        def send(message: Message, index: int = index) -> None:
            collector.receive(index, message)

        answer(task.network, task.spec, config, send)
