"""Specs in parallel processes: order, deaths, Ctrl-C."""

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lipverify.api import Progress
from lipverify.cli.messages import End, Failure, Message, Stage
from lipverify.cli.pool import run_parallel
from lipverify.config import VerifyConfig
from tests.cli.light_worker import LightTask, Script, serve

Receive = Callable[[int, Message], None]


def stage(number: int) -> Message:
    return Stage(Progress(number, "fake", None, None, 0, 0.0))


def script(*messages: Message, dies: bool = False, sleeps: float = 0.0) -> LightTask:
    ends = () if dies else (End(),)
    pickled = tuple(pickle.dumps(message) for message in (*messages, *ends))
    return LightTask(Script(pickled, dies, sleeps))


def work(tasks: Sequence[Any], jobs: int, receive: Receive) -> None:
    run_parallel(tasks, VerifyConfig(), jobs, 1, receive, serve)


def test_all_messages_arrive_and_deaths_are_confined() -> None:
    tasks = [
        script(stage(0), stage(1)),
        script(stage(2), dies=True),
        script(dies=True),
        script(Failure("told")),
        script(*(stage(i) for i in range(3, 60))),
    ]
    received: dict[int, list[Message]] = {index: [] for index in range(len(tasks))}

    def receive(index: int, message: Message) -> None:
        received[index].append(message)

    work(tasks, 2, receive)
    assert all(messages[-1] == End() for messages in received.values())
    assert received[0] == [stage(0), stage(1), End()]
    assert received[3] == [Failure("told"), End()]
    assert received[4] == [*(stage(i) for i in range(3, 60)), End()]
    for index, before in ((1, 1), (2, 0)):
        assert len(received[index]) == before + 2
        obituary = received[index][before]
        assert isinstance(obituary, Failure)
        assert "internal error" in obituary.message
        assert "exit code 9" in obituary.message
    assert not multiprocessing.active_children()


def test_interrupt_ends_the_processes() -> None:
    """Ctrl-C is this process's: the others are ended by it, also in the middle of their work."""

    def receive(index: int, message: Message) -> None:
        raise KeyboardInterrupt

    tasks = [script(stage(0), sleeps=600.0), script(sleeps=600.0)]
    with pytest.raises(KeyboardInterrupt):
        work(tasks, 2, receive)
    assert not multiprocessing.active_children()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_tasks() -> None:
    def receive(index: int, message: Message) -> None:
        raise AssertionError("nothing was asked")

    work([], 3, receive)
    assert not multiprocessing.active_children()
