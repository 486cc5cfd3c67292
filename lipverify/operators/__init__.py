"""Operators, by name. A new operator is one file and one line here."""

from lipverify.operators.abs import Abs
from lipverify.operators.add import Add
from lipverify.operators.average_pool import AveragePool
from lipverify.operators.base import (
    AbstractOperator,
    Activation,
    AffineOperator,
    Relaxation,
    Shape,
)
from lipverify.operators.choice import Choice
from lipverify.operators.concat import Concat
from lipverify.operators.conv import Conv
from lipverify.operators.conv_transpose import ConvTranspose
from lipverify.operators.cos import Cos
from lipverify.operators.curve import Curve
from lipverify.operators.dense import Dense
from lipverify.operators.einsum import Einsum
from lipverify.operators.elu import Elu
from lipverify.operators.erf import Erf
from lipverify.operators.exp import Exp
from lipverify.operators.gate import Gate
from lipverify.operators.gelu import Gelu, GeluTanh
from lipverify.operators.hard_swish import HardSwish
from lipverify.operators.layout import Pad, Reshape, Transpose
from lipverify.operators.leaky_relu import LeakyReLU
from lipverify.operators.log import Log
from lipverify.operators.mish import Mish
from lipverify.operators.power import Pow
from lipverify.operators.product import FACTOR, Factor, PlaneRelaxation, Product
from lipverify.operators.pullback import Pullback
from lipverify.operators.relu import ReLU
from lipverify.operators.scale import Scale
from lipverify.operators.select import Select
from lipverify.operators.sigmoid import Sigmoid
from lipverify.operators.silu import Silu
from lipverify.operators.sin import Sin
from lipverify.operators.softplus import Softplus
from lipverify.operators.softsign import Softsign
from lipverify.operators.tanh import Tanh

ACTIVATIONS: dict[str, type[Activation]] = {
    operator.name: operator
    for operator in (
        ReLU,
        LeakyReLU,
        Abs,
        Tanh,
        Sigmoid,
        Elu,
        Softplus,
        Softsign,
        Erf,
        Gelu,
        GeluTanh,
        Silu,
        Mish,
        HardSwish,
        Exp,
        Log,
        Pow,
        Sin,
        Cos,
    )
}
AFFINE: dict[str, type[AffineOperator]] = {
    operator.name: operator
    for operator in (
        Dense,
        Conv,
        ConvTranspose,
        AveragePool,
        Scale,
        Reshape,
        Transpose,
        Pad,
        Select,
        Concat,
        Einsum,
        Add,
    )
}
PRODUCTS: dict[str, type[Product]] = {Product.name: Product}

__all__ = [
    "ACTIVATIONS",
    "AFFINE",
    "FACTOR",
    "PRODUCTS",
    "Abs",
    "AbstractOperator",
    "Activation",
    "Add",
    "AffineOperator",
    "AveragePool",
    "Choice",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Cos",
    "Curve",
    "Dense",
    "Einsum",
    "Elu",
    "Erf",
    "Exp",
    "Factor",
    "Gate",
    "Gelu",
    "GeluTanh",
    "HardSwish",
    "LeakyReLU",
    "Log",
    "Mish",
    "Pad",
    "PlaneRelaxation",
    "Pow",
    "Product",
    "Pullback",
    "ReLU",
    "Relaxation",
    "Reshape",
    "Scale",
    "Select",
    "Shape",
    "Sigmoid",
    "Silu",
    "Sin",
    "Softplus",
    "Softsign",
    "Tanh",
    "Transpose",
]
