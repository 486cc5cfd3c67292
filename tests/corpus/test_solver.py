"""No method gives a wrong verdict on the corpus.

Unknown is allowed, and counted; so is the refusal of a network whose own floats lose so many digits
that it cannot be told from another one (`NetworkMismatch`).
"""

from collections import Counter
from pathlib import Path

import pytest

from lipverify.errors import NetworkMismatch
from tests.corpus import CASES, Case
from tests.corpus.asking import ask
from tests.corpus.judging import wrong
from tests.oracles.budget import quickly

REFUSED = ("float32-loses-one", "float64-loses-all-digits")
METHODS = ("auto", "mean-split", "linear", "quadratic", "milp")


def check(case: Case, method: str, folder: Path, most: int | None = None) -> Counter[str]:
    counts: Counter[str] = Counter()
    found: list[str] = []
    try:
        answers = ask(case, method, folder, most)
    except NetworkMismatch:
        assert case.name in REFUSED
        return Counter(refused=len(case.claims))
    for claim, result in answers:
        counts[result.verdict.word] += 1
        found += [f"{claim}: {text}" for text in wrong(case, claim, result)]
    print(f"{case}, {method}: {dict(counts)}")  # noqa: T201 (shown by pytest -s, and on failure)
    assert not found, "\n".join([case.attacks, *found])
    return counts


@pytest.mark.parametrize("case", quickly(CASES, 40), ids=str)
def test_quick_bounds_are_not_wrong(case: Case, tmp_path: Path) -> None:
    assert sum(check(case, "mean-split", tmp_path, 4).values()) > 0


@pytest.mark.parametrize("case", quickly(CASES, 24), ids=str)
def test_searches_are_not_wrong(case: Case, tmp_path: Path) -> None:
    assert sum(check(case, "auto", tmp_path, 3).values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_method_is_wrong_about_any_claim(case: Case, method: str, tmp_path: Path) -> None:
    assert sum(check(case, method, tmp_path).values()) == len(case.claims)
