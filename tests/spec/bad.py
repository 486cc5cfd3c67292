"""Bad spec files, and what is expected of the error."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from lipverify.errors import SpecError
from lipverify.spec import read_spec
from tests.spec.files import line_of, write


@dataclass(frozen=True)
class Bad:
    """A file, a piece of the line that is to blame (None: no line), and what the message says."""

    name: str
    text: str
    line: str | None
    says: tuple[str, ...]


def check_refused(bad: Bad, folder: Path) -> None:
    """One line that starts with file and line, and says what it should."""
    path = write(folder, bad.text)
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert caught.value.path == str(path)
    if bad.line is not None:
        assert caught.value.line == line_of(bad.text, bad.line), message
        assert message.startswith(f"{path}:{caught.value.line}: ")
    for piece in bad.says:
        assert piece in message


def check_table(table: list[Bad]) -> None:
    assert len({bad.name for bad in table}) == len(table) > 0
