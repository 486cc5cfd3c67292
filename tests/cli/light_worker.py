"""What worker processes do in the tests of the pool. Imports nothing that is slow to import."""

import os
import pickle
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection


@dataclass(frozen=True)
class Script:
    """Stands for a spec: messages to send (pickled already), then an end."""

    messages: tuple[bytes, ...]
    dies: bool = False
    sleeps: float = 0.0


@dataclass(frozen=True)
class LightNetwork:
    sha256: str = "abc"


@dataclass(frozen=True)
class LightTask:
    """Stands for a task."""

    spec: Script
    file: str = "net.onnx"
    network: LightNetwork = field(default_factory=LightNetwork)


def serve(connection: Connection, config: object, threads: int) -> None:
    while (task := pickle.loads(connection.recv_bytes())) is not None:
        script, _, _ = task
        for message in script.messages:
            connection.send_bytes(message)
        time.sleep(script.sleeps)
        if script.dies:
            os._exit(9)
