"""Every smooth activation with its definition in high-precision arithmetic, as a judge."""

from collections.abc import Callable
from dataclasses import dataclass

from mpmath import cos, erf, erfc, exp, expm1, log, log1p, mp, mpf, pi, power, sin, sqrt, tanh

from lipverify.operators import (
    Cos,
    Curve,
    Elu,
    Erf,
    Exp,
    Factor,
    Gelu,
    GeluTanh,
    HardSwish,
    Log,
    Mish,
    Pow,
    Silu,
    Sin,
    Softplus,
    Softsign,
)

BITS = 400
FAR = 1e4
"""Beyond it functions are judged by what they equal there, up to underflow."""

Function = Callable[[mpf], mpf]


@dataclass(frozen=True)
class CurveInstance:
    """An operator, its function, and its first and second derivatives by hand.

    `far` gives value and derivative beyond FAR, where the definition is out of mpmath's reach;
    `kinked` the derivative from the left at the operator's kinks. `least` is where points start.
    """

    operator: Curve
    value: Function
    slope: Function
    bend: Function
    far: Callable[[mpf], tuple[mpf, mpf]] | None = None
    kinked: Callable[[float], mpf] | None = None
    least: float = -float("inf")
    most: float = float("inf")

    def __str__(self) -> str:
        fields = ("alpha", "scale", "input_scale", "exponent", "cubic")
        given = [str(getattr(self.operator, name, "")) for name in fields]
        return f"{type(self.operator).__name__}({', '.join(text for text in given if text)})"

    def at(self, x: float) -> tuple[mpf, list[mpf]]:
        """The value, and the derivatives from both sides, within 2^-200 or underflow."""
        with mp.workprec(BITS):
            point = mpf(x)
            if self.far is not None and abs(x) > FAR:
                value, slope = self.far(point)
                return mpf(value), [mpf(slope)]
            slopes = [mpf(self.slope(point))]
            if self.kinked is not None and x in self.operator.kinks:
                slopes.append(mpf(self.kinked(x)))
            return mpf(self.value(point)), slopes


def _elu(alpha: float, scale: float = 1.0, input_scale: float = 1.0) -> CurveInstance:
    a, s, r = mpf(alpha), mpf(scale), mpf(input_scale)
    return CurveInstance(
        Elu(alpha, scale, input_scale),
        lambda x: s * x if x > 0 else s * a * expm1(r * x),
        lambda x: s if x >= 0 else s * a * r * exp(r * x),
        lambda x: mpf(0) if x > 0 else s * a * r * r * exp(r * x),
        far=lambda x: (s * x, s) if x > 0 else (-s * a, mpf(0)),
        kinked=lambda _: s * a * r,
    )


def _logistic(x: mpf) -> mpf:
    return 1 / (1 + exp(-x))


def _density(x: mpf) -> mpf:
    return exp(-x * x / 2) / sqrt(2 * pi)


def _gelu_tanh(cubic: float) -> CurveInstance:
    k = mpf(cubic)

    def inner(x: mpf) -> tuple[mpf, mpf, mpf]:
        r = 2 * sqrt(2 / pi)
        return r * (x + k * x**3), r * (1 + 3 * k * x * x), 6 * r * k * x

    def slope(x: mpf) -> mpf:
        v, speed, _ = inner(x)
        share = _logistic(v)
        return share + x * share * _logistic(-v) * speed

    def bend(x: mpf) -> mpf:
        v, speed, turn = inner(x)
        bump = _logistic(v) * _logistic(-v)
        return bump * (2 * speed - x * tanh(v / 2) * speed**2 + x * turn)

    return CurveInstance(
        GeluTanh(cubic), lambda x: x * _logistic(inner(x)[0]), slope, bend, far=_ramp
    )


def _ramp(x: mpf) -> tuple[mpf, mpf]:
    return (x, mpf(1)) if x > 0 else (mpf(0), mpf(0))


def _mish_parts(x: mpf) -> tuple[mpf, mpf, mpf]:
    """tanh(softplus(x)) and its first two derivatives."""
    t, s = tanh(log1p(exp(x))), _logistic(x)
    d = 1 - t * t
    if x > 40:  # 1 - t^2 cancels
        d = 4 / (exp(log1p(exp(x))) + exp(-log1p(exp(x)))) ** 2
    return t, d * s, -2 * t * d * s * s + d * s * (1 - s)


def _pow(exponent: float, least: float = -float("inf"), most: float = 1e60) -> CurveInstance:
    p = mpf(exponent)

    def raised(x: mpf, q: mpf) -> mpf:
        if q == 0:
            return mpf(1)
        return mpf(0) if x == 0 else power(x, int(q) if q == int(q) else q)

    return CurveInstance(
        Pow(exponent),
        lambda x: raised(x, p),
        lambda x: p * raised(x, p - 1),
        lambda x: p * (p - 1) * raised(x, p - 2),
        least=least,
        most=most,
    )


def _hard_swish_value(x: mpf) -> mpf:
    return x * min(max(x + 3, 0), 6) / 6


CURVES = [
    _elu(1.0),
    _elu(1.6732632423543772, 1.0507009873554805),
    _elu(0.3, 1.0, 1 / 0.3),
    _elu(-0.5, 2.0),
    CurveInstance(
        Softplus(),
        lambda x: max(x, 0) + log1p(exp(-abs(x))),
        _logistic,
        lambda x: _logistic(x) * _logistic(-x),
        far=_ramp,
    ),
    CurveInstance(
        Softsign(),
        lambda x: x / (1 + abs(x)),
        lambda x: 1 / (1 + abs(x)) ** 2,
        lambda x: (-2 if x > 0 else 2) / (1 + abs(x)) ** 3,
    ),
    CurveInstance(
        Erf(),
        lambda x: erf(x) if x < 0 else -erf(-x),
        lambda x: 2 / sqrt(pi) * exp(-x * x),
        lambda x: -4 * x / sqrt(pi) * exp(-x * x),
        far=lambda x: (mpf(1 if x > 0 else -1), mpf(0)),
    ),
    CurveInstance(
        Gelu(),
        lambda x: x * erfc(-x / sqrt(2)) / 2,
        lambda x: erfc(-x / sqrt(2)) / 2 + x * _density(x),
        lambda x: (2 - x * x) * _density(x),
        far=_ramp,
    ),
    _gelu_tanh(0.044715),
    _gelu_tanh(0.04471499845385551),
    CurveInstance(
        Silu(),
        lambda x: x * _logistic(x),
        lambda x: _logistic(x) + x * _logistic(x) * _logistic(-x),
        lambda x: _logistic(x) * _logistic(-x) * (2 - x * tanh(x / 2)),
        far=_ramp,
    ),
    CurveInstance(
        Mish(),
        lambda x: x * _mish_parts(x)[0],
        lambda x: _mish_parts(x)[0] + x * _mish_parts(x)[1],
        lambda x: 2 * _mish_parts(x)[1] + x * _mish_parts(x)[2],
        far=_ramp,
    ),
    CurveInstance(
        HardSwish(),
        _hard_swish_value,
        lambda x: mpf(0) if x < -3 else (2 * x + 3) / 6 if x < 3 else mpf(1),
        lambda x: mpf(1) / 3 if -3 < x < 3 else mpf(0),
        kinked=lambda x: mpf(0) if x < 0 else mpf("1.5"),
    ),
    CurveInstance(Exp(), exp, exp, exp, most=700.0),
    CurveInstance(Log(), log, lambda x: 1 / x, lambda x: -1 / x**2, least=1e-300),
    _pow(2.0),
    _pow(3.0),
    _pow(4.0),
    _pow(0.5, least=1e-300),
    _pow(1.5, least=0.0),
    _pow(2.5, least=0.0),
    _pow(-0.5, least=1e-60),
    _pow(-1.0, least=1e-60),
    _pow(-2.0, least=1e-60),
    _pow(-3.0, least=1e-60),
    CurveInstance(Factor(), lambda x: x * x / 2, lambda x: x, lambda x: mpf(1)),
    CurveInstance(Sin(), sin, cos, lambda x: -sin(x)),
    CurveInstance(Cos(), cos, lambda x: -sin(x), lambda x: -cos(x)),
]
