"""No method gives a wrong verdict on the corpus; unknown is allowed, and counted."""

from collections import Counter
from pathlib import Path

import pytest

from tests.corpus import CASES, Case
from tests.corpus.asking import ask
from tests.corpus.judging import wrong
from tests.oracles.budget import quickly

METHODS = ("auto", "mean-split", "linear", "quadratic", "milp")


def check(case: Case, method: str, folder: Path, most: int | None = None) -> Counter[str]:
    counts: Counter[str] = Counter()
    found = []
    for claim, result in ask(case, method, folder, most):
        counts[result.verdict.word] += 1
        found += [f"{claim}: {text}" for text in wrong(case, claim, result)]
    print(f"{case}, {method}: {dict(counts)}")  # noqa: T201 (shown by pytest -s, and on failure)
    assert not found, "\n".join([case.attacks, *found])
    return counts


@pytest.mark.parametrize("case", quickly(CASES, 60), ids=str)
def test_quick_bounds_are_not_wrong(case: Case, tmp_path: Path) -> None:
    assert sum(check(case, "mean-split", tmp_path, 4).values()) > 0


@pytest.mark.parametrize("case", quickly(CASES, 30), ids=str)
def test_searches_are_not_wrong(case: Case, tmp_path: Path) -> None:
    assert sum(check(case, "auto", tmp_path, 3).values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_method_is_wrong_about_any_claim(case: Case, method: str, tmp_path: Path) -> None:
    assert sum(check(case, method, tmp_path).values()) == len(case.claims)
