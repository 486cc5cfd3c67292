"""What a spec at work reports, in this process or in another."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from lipverify.api import Progress, verify_spec
from lipverify.config import VerifyConfig
from lipverify.errors import InputError
from lipverify.evidence import PropertyResult
from lipverify.network import Network
from lipverify.spec import Spec

STARTING = "starting"
"""The stage before a method reports any."""


@dataclass(frozen=True)
class Stage:
    """A property is being worked on."""

    progress: Progress


@dataclass(frozen=True)
class Answer:
    """A property is decided, or given up."""

    result: PropertyResult


@dataclass(frozen=True)
class Failure:
    """The rest of the spec was given up; `trace` is empty where the input is to blame."""

    message: str
    trace: str = ""


@dataclass(frozen=True)
class End:
    """Nothing more comes from this spec."""


Message = Stage | Answer | Failure | End
Send = Callable[[Message], None]


def answer(network: Network, spec: Spec, config: VerifyConfig, send: Send) -> None:
    """Verify one spec. Whatever goes wrong becomes a `Failure`, but Ctrl-C, which passes."""
    send(Stage(Progress(0, STARTING, None, None, 0, 0.0)))
    try:
        for result in verify_spec(network, spec, config, lambda event: send(Stage(event))):
            send(Answer(result))
    except Exception as error:
        send(failure(error))
    send(End())


def failure(error: Exception) -> Failure:
    """In words: the message of an error in the input, the kind and message of any other."""
    if isinstance(error, InputError):
        return Failure(str(error))
    name, text = type(error).__name__, str(error)
    return Failure(f"internal error: {name}: {text}", "".join(traceback.format_exception(error)))
