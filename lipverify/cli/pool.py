"""Specs in parallel processes.

One process per job, each with its own pipe rather than a shared pool: so a process that dies is
known together with the spec it was working on, and the others go on.
"""

import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # a new process must not load torch before it is told how many threads to use
    from lipverify.cli.messages import Message
    from lipverify.cli.prepare import Task
    from lipverify.config import VerifyConfig

JOIN_SECONDS = 5.0

Receive = Callable[[int, "Message"], None]
Work = Callable[[Connection, "VerifyConfig", int], None]


class _Worker(NamedTuple):
    process: SpawnProcess
    connection: Connection


def run_parallel(
    tasks: Sequence["Task"],
    config: "VerifyConfig",
    jobs: int,
    threads: int,
    receive: Receive,
    work: Work | None = None,
) -> None:
    """Work on all tasks, `jobs` at a time; messages are received in this process, as they come.

    `work` is what a process does (`serve`). Ctrl-C ends the processes and passes on.
    """
    from lipverify.cli.messages import End, Failure

    waiting = deque(enumerate(tasks))
    busy: dict[Connection, tuple[_Worker, int]] = {}

    def hand_out(worker: _Worker) -> None:
        if waiting:
            index, task = waiting.popleft()
            busy[worker.connection] = (worker, index)
            with suppress(OSError):  # it has just ended, which the loop below will see
                _send(worker.connection, (task.spec, task.file, task.network.sha256))
        else:
            _dismiss(worker)

    try:
        for _ in range(min(jobs, len(tasks))):
            hand_out(_start(config, threads, work or serve))
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                worker, index = busy[ready]
                try:
                    message: Message = pickle.loads(ready.recv_bytes())
                except (EOFError, OSError):  # the process is gone
                    del busy[ready]
                    receive(index, Failure(_obituary(worker)))
                    receive(index, End())
                    if waiting:
                        hand_out(_start(config, threads, work or serve))
                    continue
                if isinstance(message, End):
                    del busy[ready]
                    hand_out(worker)
                receive(index, message)
    finally:
        for worker, _ in busy.values():
            worker.process.terminate()
            _dismiss(worker)


def serve(connection: Connection, config: "VerifyConfig", threads: int) -> None:
    """The life of a worker process: specs come in, messages go out, until None comes."""
    import torch

    from lipverify.cli.messages import End, Failure, Message, answer, failure
    from lipverify.network import Network, load_network
    from lipverify.reading import Reading

    torch.set_num_threads(threads)
    networks: dict[tuple[str, Reading], Network] = {}

    def send(message: Message) -> None:
        _send(connection, message)

    while (task := pickle.loads(connection.recv_bytes())) is not None:
        spec, file, sha256 = task
        try:
            key = (file, spec.reading)
            if key not in networks:
                networks[key] = load_network(file, reading=spec.reading)
        except Exception as error:
            send(failure(error))
            send(End())
            continue
        if networks[key].sha256 != sha256:
            send(Failure(f"{file} changed while lipverify was running; run it again"))
            send(End())
            continue
        answer(networks[key], spec, config, send)


def _send(connection: Connection, value: object) -> None:
    # Pickled here, since a connection's own way would hand over tensors as open files of the
    # sender, which are lost if it ends before they are read.
    connection.send_bytes(pickle.dumps(value))


def _start(config: "VerifyConfig", threads: int, work: Work) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, config, threads), daemon=True)
    with _no_interrupt():
        process.start()
    theirs.close()  # so that the end of the process ends the pipe
    return _Worker(process, ours)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C: they inherit it. This one ends them itself."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _dismiss(worker: _Worker) -> None:
    with suppress(OSError):  # it has ended already
        _send(worker.connection, None)
    worker.process.join(JOIN_SECONDS)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    worker.connection.close()


def _obituary(worker: _Worker) -> str:
    worker.process.join(JOIN_SECONDS)
    code = worker.process.exitcode
    worker.connection.close()
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return f"internal error: the process that worked on it ended ({how}); out of memory?"
