"""Results in SQLite, written unit by unit: a killed audit goes on and repeats nothing."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from lipverify.audit.answer import Answer, Certificate, Found, Pair, Part, Trend
from lipverify.audit.curves import Curve
from lipverify.audit.line_block import Block
from lipverify.errors import CheckpointError
from lipverify.verdict import Reason

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE units (unit INTEGER PRIMARY KEY);
CREATE TABLE answers (
    record INTEGER NOT NULL, question INTEGER NOT NULL, found TEXT NOT NULL,
    reason TEXT, detail TEXT NOT NULL, lower REAL, upper REAL,
    pair TEXT, worst TEXT, parts TEXT NOT NULL, method TEXT NOT NULL, seconds REAL NOT NULL,
    certificate TEXT,
    PRIMARY KEY (question, record)
);
CREATE TABLE curves (
    unit INTEGER NOT NULL, question INTEGER NOT NULL, curve TEXT NOT NULL,
    PRIMARY KEY (question, unit)
);
"""
_COLUMNS = (
    "record, question, found, lower, upper, method, seconds, reason, detail, pair, worst, parts, "
    "certificate"
)


class Store:
    """One audit's database. To be closed, or used in a `with`."""

    def __init__(self, path: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Open or make it.

        `CheckpointError` for a file in the way (without `resume`), of another audit, or damaged.
        """
        self.path = path
        there = path.exists()
        if there and not resume:
            raise CheckpointError(
                f"{path} exists: it holds an earlier audit. Go on from it with --resume, or name "
                "another folder with --out"
            )
        try:
            self._base = sqlite3.connect(path)
            if there:
                self._check(identity)
            else:
                self._base.executescript(_TABLES)
                self._base.executemany(
                    "INSERT INTO meta VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in identity.items()],
                )
                self._base.commit()
        except sqlite3.Error as error:
            raise CheckpointError(
                f"{path}: cannot be used as an audit's database ({error}); name another --out"
            ) from error

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._base.close()

    def _check(self, identity: Mapping[str, Any]) -> None:
        """`CheckpointError` unless the database is of the same audit."""
        known = {key: json.loads(value) for key, value in self._rows("SELECT * FROM meta")}
        other = [key for key in identity if known.get(key) != identity[key]]
        if other:
            changed = ", ".join(
                f"{key} (was {known.get(key)!r}, is {identity[key]!r})" for key in other
            )
            raise CheckpointError(
                f"{self.path} is of another audit: {changed}. Name another --out, or undo that"
            )

    def _rows(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with closing(self._base.execute(query, values)) as cursor:
            yield from cursor

    def done(self) -> set[int]:
        """The units that are stored."""
        return {unit for (unit,) in self._rows("SELECT unit FROM units")}

    def add(self, unit: int, block: Block) -> None:
        """Store a unit's answers, all or none."""
        with self._base:
            self._base.execute("INSERT INTO units VALUES (?)", (unit,))
            self._base.executemany(
                f"INSERT INTO answers ({_COLUMNS}) VALUES ({', '.join('?' * 13)})",
                [_row(answer) for answer in block.answers],
            )
            self._base.executemany(
                "INSERT INTO curves VALUES (?, ?, ?)",
                [
                    (unit, question, json.dumps(curve.as_json()))
                    for question, curve in sorted(block.curves.items())
                ],
            )

    def answers(self, where: str = "1", *values: object) -> Iterator[Answer]:
        """Answers in order of question and record; `where` is a condition in SQL."""
        query = f"SELECT {_COLUMNS} FROM answers WHERE {where} ORDER BY question, record"
        for row in self._rows(query, *values):
            yield _answer(row)

    def counts(self) -> dict[tuple[int, Found], int]:
        """How many answers of each kind there are, by question."""
        query = "SELECT question, found, COUNT(*) FROM answers GROUP BY question, found"
        return {(number, Found(word)): count for number, word, count in self._rows(query)}

    def verdicts(self, question: int) -> Iterator[tuple[int, Found]]:
        """Record and verdict of every answer to a question, by record."""
        query = "SELECT record, found FROM answers WHERE question = ? ORDER BY record"
        for record, word in self._rows(query, question):
            yield record, Found(word)

    def reasons(self) -> list[tuple[int, str, str, int]]:
        """(question, reason, detail, how many) of what was not decided."""
        query = (
            "SELECT question, reason, detail, COUNT(*) FROM answers WHERE found = ? "
            "GROUP BY question, reason, detail ORDER BY question, COUNT(*) DESC, detail"
        )
        return list(self._rows(query, Found.UNKNOWN.value))

    def certified(self) -> dict[tuple[int, Found], int]:
        """How many answers of each kind have a certificate, by question."""
        query = (
            "SELECT question, found, COUNT(*) FROM answers WHERE certificate IS NOT NULL "
            "GROUP BY question, found"
        )
        return {(number, Found(word)): count for number, word, count in self._rows(query)}

    def uncertified(self) -> list[tuple[int, str, int]]:
        """(question, detail, how many) of falsified answers without a certificate."""
        query = (
            "SELECT question, detail, COUNT(*) FROM answers WHERE found = ? AND certificate IS "
            "NULL GROUP BY question, detail ORDER BY question, COUNT(*) DESC, detail"
        )
        return list(self._rows(query, Found.FALSIFIED.value))

    def certificates(self) -> Iterator[Certificate]:
        query = "SELECT certificate FROM answers WHERE certificate IS NOT NULL"
        for (text,) in self._rows(query):
            yield Certificate.from_json(json.loads(text))

    def seconds(self) -> list[float]:
        """Of all answers, ascending."""
        return [value for (value,) in self._rows("SELECT seconds FROM answers ORDER BY seconds")]

    def curve(self, question: int) -> Curve | None:
        """Of all stored records, joined in the order of the units."""
        joined: Curve | None = None
        query = "SELECT curve FROM curves WHERE question = ? ORDER BY unit"
        for (text,) in self._rows(query, question):
            curve = Curve.from_json(json.loads(text))
            joined = curve if joined is None else joined.joined(curve)
        return joined


def _row(answer: Answer) -> tuple[object, ...]:
    return (
        answer.record,
        answer.question,
        answer.found.value,
        answer.lower,
        answer.upper,
        answer.method,
        answer.seconds,
        None if answer.reason is None else answer.reason.value,
        answer.detail,
        _pair_text(answer.pair),
        _pair_text(answer.worst),
        json.dumps([part.as_json() for part in answer.parts]),
        None if answer.certificate is None else json.dumps(answer.certificate.as_json()),
    )


def _pair_text(pair: Pair | None) -> str | None:
    return None if pair is None else json.dumps(pair.as_json())


def _answer(row: tuple[Any, ...]) -> Answer:
    record, question, word, lower, upper, method, seconds, reason, detail, pair, worst = row[:11]
    parts, certificate = row[11:]
    return Answer(
        record,
        question,
        Found(word),
        lower,
        upper,
        method,
        seconds,
        None if reason is None else Reason(reason),
        detail,
        _pair(pair),
        _pair(worst),
        tuple(Part(start, end, Trend(trend)) for start, end, trend in json.loads(parts)),
        None if certificate is None else Certificate.from_json(json.loads(certificate)),
    )


def _pair(text: str | None) -> Pair | None:
    if text is None:
        return None
    data = json.loads(text)
    before, after = tuple(data["before"]), tuple(data["after"])
    return Pair(before, after, data["output_before"], data["output_after"], data["engine"])
