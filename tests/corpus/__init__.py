"""The attack corpus: small networks and regions on which careless verifiers are wrong.

`CASES` is a plain list; each case writes its files (`case.write(folder)`) and knows the exact
answers (`case.exact`, `case.claims`), worked out in rational arithmetic (`exact.py`), or to sixty
digits where functions are smooth (`smooth.py`).
"""

from tests.corpus import cases_degenerate, cases_kinks, cases_numbers, cases_smooth
from tests.corpus.case import Case

CASES: tuple[Case, ...] = (
    *cases_kinks.CASES,
    *cases_numbers.CASES,
    *cases_degenerate.CASES,
    *cases_smooth.CASES,
)
