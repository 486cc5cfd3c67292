"""Operators, by name. A new operator is one file and one line here."""

from lipverify.operators.add import Add
from lipverify.operators.average_pool import AveragePool
from lipverify.operators.base import (
    AbstractOperator,
    Activation,
    AffineOperator,
    Relaxation,
    Shape,
)
from lipverify.operators.conv import Conv
from lipverify.operators.dense import Dense
from lipverify.operators.gate import Gate
from lipverify.operators.layout import Pad, Reshape, Transpose
from lipverify.operators.leaky_relu import LeakyReLU
from lipverify.operators.pullback import Pullback
from lipverify.operators.relu import ReLU
from lipverify.operators.scale import Scale
from lipverify.operators.sigmoid import Sigmoid
from lipverify.operators.tanh import Tanh

ACTIVATIONS: dict[str, type[Activation]] = {
    operator.name: operator for operator in (ReLU, LeakyReLU, Tanh, Sigmoid)
}
AFFINE: dict[str, type[AffineOperator]] = {
    operator.name: operator
    for operator in (Dense, Conv, AveragePool, Scale, Reshape, Transpose, Pad, Add)
}

__all__ = [
    "ACTIVATIONS",
    "AFFINE",
    "AbstractOperator",
    "Activation",
    "Add",
    "AffineOperator",
    "AveragePool",
    "Conv",
    "Dense",
    "Gate",
    "LeakyReLU",
    "Pad",
    "Pullback",
    "ReLU",
    "Relaxation",
    "Reshape",
    "Scale",
    "Shape",
    "Sigmoid",
    "Tanh",
    "Transpose",
]
