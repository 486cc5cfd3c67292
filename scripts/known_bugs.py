"""Bugs that real verifiers had (STYLE 6.6), as changes of our code."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownBug:
    """`old`, which stands once in the file, becomes `new`; `tests` are those that should notice."""

    story: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]


BUGS = (
    KnownBug(
        "an empty stop reason is Verified (abcrown)",
        "lipverify/search/lipschitz.py",
        "    return (found.stop or TOO_LOOSE).verdict\n\n\ndef _falsified",
        "    return Verified()\n\n\ndef _falsified",
        ("tests/search/test_stops.py", "tests/search/test_lipschitz.py"),
    ),
    KnownBug(
        "the dual exponent (bound_propagation)",
        "lipverify/norms/l1.py",
        "        return LInf()",
        "        return self",
        ("tests/rules/test_norms.py",),
    ),
    KnownBug(
        "NaN passes the interval check (bound_propagation)",
        "lipverify/interval.py",
        "        if not bool((self.lower <= self.upper).all()):",
        "        if bool((self.lower > self.upper).any()):",
        ("tests/rules/test_interval.py",),
    ),
    KnownBug(
        "a power is taken beyond its domain (immrax sqrt)",
        "lipverify/operators/power.py",
        "positive = Piece(0.0 if p > 1 else SMALLEST, torch.inf,",
        "positive = Piece(-1.0 if p > 1 else -1.0, torch.inf,",
        ("tests/rules/test_curves.py", "tests/rules/test_activations.py"),
    ),
    KnownBug(
        "a rule that is not monotone counts as monotone (immrax eq)",
        "lipverify/operators/two_slopes.py",
        "    through = (x.lower < 0) & (x.upper > 0)\n    return Interval(",
        "    through = torch.zeros_like(x.lower, dtype=torch.bool)\n    return Interval(",
        ("tests/rules",),
    ),
    KnownBug(
        "a gap of 1e-9 between children (Local-Lipschitz)",
        "lipverify/region.py",
        "        above[index] = middle",
        "        above[index] = min(middle + 1e-9, float(self.upper[index]))",
        ("tests/rules/test_region.py",),
    ),
    KnownBug(
        "the incumbent is used as the bound (CertifiedMonotonic, jax_verify)",
        "lipverify/milp/highs.py",
        "        info.mip_dual_bound,",
        "        info.objective_function_value,",
        ("tests/milp/test_solvers.py",),
    ),
    KnownBug(
        "a candidate that nothing confirms is Falsified (nnenum, dnnv)",
        "lipverify/confirm.py",
        "    if not (excess > noise and sign * change > query.threshold * step + noise):",
        "    if False:",
        ("tests/search/test_confirm.py",),
    ),
    KnownBug(
        "results are compared by a zip that may be empty (auto_LiRPA's tests)",
        "tests/search/questions.py",
        "zip(found.outputs, again, strict=True)",
        "zip((), again)",
        ("tests/search/test_confirm.py",),
    ),
    KnownBug(
        "a second parent's part is dropped at a merge (Local-Lipschitz)",
        "lipverify/graph/backward.py",
        "            pieces[source].append(name)\n    _check_names",
        "            pieces[source] = [name]\n    _check_names",
        ("tests/graph/test_backward.py",),
    ),
    KnownBug(
        "small coefficients are dropped from constraints (jax_verify)",
        "lipverify/milp/prepare.py",
        "        row_upper=np.where(touched, upper, model.row_upper),",
        "        row_upper=model.row_upper,",
        ("tests/milp/test_prepare.py",),
    ),
    KnownBug(
        "a misspelt key is ignored (auto_LiRPA)",
        "lipverify/spec/fields.py",
        'extra="forbid"',
        'extra="ignore"',
        ("tests/spec",),
    ),
)
