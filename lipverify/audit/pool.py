"""Units in parallel processes. Each process reads audit, table and network for itself."""

import multiprocessing
import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from lipverify.audit.line_block import Block
from lipverify.audit.plan import Unit
from lipverify.config import VerifyConfig
from lipverify.errors import LipverifyError

JOIN_SECONDS = 5.0


@dataclass(frozen=True)
class Source:
    """What a process needs to make its own context."""

    path: str
    config: VerifyConfig
    skip_bad_rows: bool
    sha256: str
    """Of the network, which must not change meanwhile."""


class WorkerDied(LipverifyError):
    """A process ended, or failed; what was stored before is safe."""


class _Ended(WorkerDied):
    """It was killed: by whom, and why, it could not say."""


def answers_of(source: Source, units: Sequence[Unit], jobs: int) -> Iterator[tuple[Unit, Block]]:
    """Each unit with its answers, as they come. Ends all processes when it is closed.

    The unit of a process that is killed is given to a new one, once. If that is killed too, what
    the others are at is waited for, and `WorkerDied` is raised then.
    """
    waiting = deque(units)
    busy: dict[Connection, tuple[SpawnProcess, Unit]] = {}
    processes: list[tuple[SpawnProcess, Connection]] = []
    again: set[int] = set()
    failed: WorkerDied | None = None

    def begin(unit: Unit) -> None:
        process, connection = _started(source)
        processes.append((process, connection))
        _give(connection, unit)
        busy[connection] = (process, unit)

    try:
        for _ in range(min(jobs, len(units))):
            begin(waiting.popleft())
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                process, unit = busy.pop(ready)
                try:
                    block = _received(ready, process)
                except WorkerDied as error:
                    if isinstance(error, _Ended) and unit.number not in again and not failed:
                        again.add(unit.number)
                        begin(unit)
                    else:
                        failed = failed or error
                    continue
                yield unit, block
                if waiting and failed is None:
                    following = waiting.popleft()
                    _give(ready, following)
                    busy[ready] = (process, following)
        if failed is not None:
            raise failed
    finally:
        for process, connection in processes:
            if connection not in busy:
                _give(connection, None)
                process.join(JOIN_SECONDS)
            if process.is_alive():
                process.terminate()
                process.join(JOIN_SECONDS)
            connection.close()


def _started(source: Source) -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, source), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process ends the pipe
    return process, ours


def _give(connection: Connection, unit: Unit | None) -> None:
    """None: there is no more. That a process is gone is seen when its answer is read."""
    with suppress(OSError):
        connection.send_bytes(pickle.dumps(unit))


def _received(connection: Connection, process: SpawnProcess) -> Block:
    try:
        found = pickle.loads(connection.recv_bytes())
    except (EOFError, OSError):
        process.join(JOIN_SECONDS)
        raise _Ended(
            f"a process ended (exit code {process.exitcode}); out of memory? What was decided is "
            "stored: go on with --resume, perhaps with fewer --jobs"
        ) from None
    if isinstance(found, str):
        raise WorkerDied(found)
    return found


def _serve(connection: Connection, source: Source) -> None:
    """The life of a process: units come in, answers go out, until None comes."""
    import signal

    import torch

    from lipverify.audit.context import prepare
    from lipverify.audit.plan import answer_unit

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends this one
    torch.set_num_threads(1)
    with suppress(EOFError, OSError):  # the first process is gone
        unit = pickle.loads(connection.recv_bytes())
        try:
            made = prepare(source.path, source.config, skip_bad_rows=source.skip_bad_rows)
            if made.target.network.sha256 != source.sha256:
                raise LipverifyError("the network changed while the audit was running")
        except Exception as error:
            connection.send_bytes(pickle.dumps(f"{type(error).__name__}: {error}"))
            return
        while unit is not None:
            try:
                found: Block | str = answer_unit(made, unit)
            except Exception as error:
                found = f"internal error in unit {unit.number}: {type(error).__name__}: {error}"
            connection.send_bytes(pickle.dumps(found))
            unit = pickle.loads(connection.recv_bytes())
