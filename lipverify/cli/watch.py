"""What is shown while specs are being worked on."""

from abc import ABC, abstractmethod
from time import monotonic
from types import TracebackType
from typing import final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lipverify.api import Progress
from lipverify.cli import figures
from lipverify.cli.messages import STARTING
from lipverify.cli.prepare import Task
from lipverify.evidence import PropertyResult

REFRESHES = 4
"""Per second."""
REPEAT_SECONDS = 10.0
"""A stage that goes on is reported again after so long."""


class AbstractWatch(ABC):
    """Told of what happens, between `__enter__` and `__exit__`."""

    @abstractmethod
    def __enter__(self) -> None: ...

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    def stage(self, task: Task, progress: Progress) -> None:
        """A property goes on, to this stage."""

    @abstractmethod
    def answer(self, task: Task, result: PropertyResult) -> None:
        """A property has its answer."""

    @abstractmethod
    def failure(self, task: Task, message: str) -> None:
        """A spec was given up."""


@final
class SilentWatch(AbstractWatch):
    """Shows nothing."""

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def stage(self, task: Task, progress: Progress) -> None: ...

    def answer(self, task: Task, result: PropertyResult) -> None: ...

    def failure(self, task: Task, message: str) -> None: ...


@final
class _Sieve:
    """Searches report after every step; a log wants each stage's first, and then one a while."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, str, float]] = {}

    def passes(self, task: Task, progress: Progress) -> bool:
        index, stage, seconds = self._last.get(task.name, (-1, "", 0.0))
        same = (index, stage) == (progress.property, progress.stage)
        if same and progress.seconds < seconds + REPEAT_SECONDS:
            return False
        self._last[task.name] = (progress.property, progress.stage, progress.seconds)
        return True


@final
class LineWatch(AbstractWatch):
    """One line per answer, as it comes: for logs. `stages`: one per stage as well."""

    def __init__(self, console: Console, total: int, *, stages: bool) -> None:
        self._console = console
        self._total = total
        self._stages = stages
        self._sieve = _Sieve()
        self._done = 0

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def stage(self, task: Task, progress: Progress) -> None:
        if self._stages and self._sieve.passes(task, progress):
            self._print(stage_line(task, progress))

    def answer(self, task: Task, result: PropertyResult) -> None:
        self._done += 1
        bound = result.bound
        parts = [
            f"[{self._done}/{self._total}] {result.verdict.word:<9} {task.name}",
            task.describe(result.property),
            "" if bound is None else figures.interval(bound.lower, bound.upper),
            figures.seconds(result.seconds),
        ]
        self._print("  ".join(part for part in parts if part))

    def failure(self, task: Task, message: str) -> None:
        self._print(f"error     {task.name}")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


@final
class LiveWatch(AbstractWatch):
    """The properties at work, kept up to date at the foot of a terminal."""

    def __init__(self, console: Console, total: int, *, stages: bool) -> None:
        self._total = total
        self._stages = stages
        self._sieve = _Sieve()
        self._done = 0
        self._current: dict[str, tuple[Task, Progress, float]] = {}
        self._spinner = Spinner("dots")
        self._console = console
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=REFRESHES,
            transient=True,
        )

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def stage(self, task: Task, progress: Progress) -> None:
        self._current[task.name] = (task, progress, monotonic())
        if self._stages and self._sieve.passes(task, progress):
            self._console.print(stage_line(task, progress), soft_wrap=True)

    def answer(self, task: Task, result: PropertyResult) -> None:
        self._done += 1
        following = result.property + 1
        if following < len(task.spec.properties):
            waiting = Progress(following, STARTING, None, None, 0, 0.0)
            self._current[task.name] = (task, waiting, monotonic())
        else:
            self._current.pop(task.name, None)

    def failure(self, task: Task, message: str) -> None:
        self._current.pop(task.name, None)

    def _render(self) -> RenderableType:
        """Called from the thread that refreshes: reads one copy of the state."""
        table = Table.grid(padding=(0, 2))
        for task, progress, since in list(self._current.values()):
            elapsed = progress.seconds + monotonic() - since
            table.add_row(
                self._spinner,
                Text(task.name, overflow="ellipsis"),
                Text(task.describe(progress.property)),
                Text(progress.stage, style="cyan"),
                Text(figures.interval(progress.lower, progress.upper)),
                Text(figures.seconds(elapsed)),
            )
        table.add_row("", Text(f"{self._done} of {self._total} properties", style="dim"))
        return table


def stage_line(task: Task, progress: Progress) -> str:
    """A stage in one line."""
    known = figures.interval(progress.lower, progress.upper)
    why = f" ({progress.detail})" if progress.detail else ""
    return (
        f"  {task.name} [{progress.property}] {progress.stage}{why}: {known} after "
        f"{figures.seconds(progress.seconds)}"
    )


def watch_for(console: Console, total: int, *, quiet: bool, verbose: bool) -> AbstractWatch:
    """The way to show progress that fits the console."""
    if quiet:
        return SilentWatch()
    if console.is_terminal:
        return LiveWatch(console, total, stages=verbose)
    return LineWatch(console, total, stages=verbose)
