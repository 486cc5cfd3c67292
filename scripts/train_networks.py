"""Train the example networks under specs/networks and write the arrays under specs/data.

    python scripts/train_networks.py [--out specs]

Seven small networks are trained on the tables that come with scikit-learn, on one thread, from
fixed seeds, and written as ONNX graphs built node by node: the same versions of torch and onnx on
the same kind of processor give the same bytes. Each network gets a model card NAME.md beside it.
Needs numpy, torch, onnx, onnxruntime and scikit-learn.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

OPSET = 17
IR_VERSION = 8
TEST_FRACTION = 0.25
SPLIT_SEED = 0
# Largest difference between torch and onnxruntime that float32 rounding explains on these networks.
EXPORT_TOLERANCE = 1e-4
# Adversarial training: steps of projected gradient ascent, each of 2.5 * radius / steps.
ATTACK_STEPS = 5

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Table:
    """A data set split in two. Feature arrays have shape [rows, features], float32."""

    source: str
    features: tuple[str, ...]
    train_inputs: np.ndarray
    train_targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray


def split_table(
    source: str, features: list[str], inputs: np.ndarray, targets: np.ndarray, classes: bool
) -> Table:
    """Split off a quarter for testing; for class labels, with the same share of each class."""
    train_inputs, test_inputs, train_targets, test_targets = train_test_split(
        inputs.astype(np.float32),
        targets,
        test_size=TEST_FRACTION,
        random_state=SPLIT_SEED,
        stratify=targets if classes else None,
    )
    names = tuple(name.replace(" ", "_") for name in features)
    return Table(source, names, train_inputs, train_targets, test_inputs, test_targets)


def digits_table() -> Table:
    """8x8 grey images of handwritten digits; pixel values 0..16 divided by 16, so in [0, 1]."""
    data = load_digits()
    source = "scikit-learn `load_digits` (UCI, Optical Recognition of Handwritten Digits)"
    return split_table(source, data.feature_names, data.data / 16.0, data.target, classes=True)


def diabetes_table() -> Table:
    """Ten patient measurements, and disease progression one year later, in standard deviations.

    Means and standard deviations are those of the training part, for inputs and target alike.
    """
    data = load_diabetes(scaled=False)
    source = (
        "scikit-learn `load_diabetes(scaled=False)` (Efron et al. 2004, Least Angle Regression)"
    )
    raw = split_table(source, data.feature_names, data.data, data.target, classes=False)
    target_mean, target_deviation = raw.train_targets.mean(), raw.train_targets.std()
    mean, deviation = raw.train_inputs.mean(axis=0), raw.train_inputs.std(axis=0)
    return Table(
        source,
        raw.features,
        (raw.train_inputs - mean) / deviation,
        ((raw.train_targets - target_mean) / target_deviation).astype(np.float32),
        (raw.test_inputs - mean) / deviation,
        ((raw.test_targets - target_mean) / target_deviation).astype(np.float32),
    )


def breast_cancer_table() -> Table:
    """Thirty measurements of cell nuclei in the table's own units; class 0 malignant, 1 benign."""
    data = load_breast_cancer()
    source = "scikit-learn `load_breast_cancer` (UCI, Breast Cancer Wisconsin, Diagnostic)"
    return split_table(source, list(data.feature_names), data.data, data.target, classes=True)


def wine_table() -> Table:
    """Thirteen chemical measurements of wines of three cultivars, in the table's own units."""
    data = load_wine()
    source = "scikit-learn `load_wine` (UCI, Wine)"
    return split_table(source, data.feature_names, data.data, data.target, classes=True)


class Scale(nn.Module):
    """(x - offset) / scale, per feature: carries a network from table units to trained units."""

    offset: Tensor
    scale: Tensor

    def __init__(self, offset: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("offset", torch.from_numpy(offset))
        self.register_buffer("scale", torch.from_numpy(scale))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.offset) / self.scale


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def min_max_scale(table: Table) -> Scale:
    """Maps the training range of every feature to [0, 1]."""
    lower = table.train_inputs.min(axis=0)
    return Scale(lower, table.train_inputs.max(axis=0) - lower)


def standard_scale(table: Table) -> Scale:
    """Maps every feature to mean 0 and standard deviation 1 over the training part."""
    return Scale(table.train_inputs.mean(axis=0), table.train_inputs.std(axis=0))


def mlp(widths: list[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Affine layers of the given widths, inputs first, with an activation between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def digits_cnn() -> nn.Sequential:
    """Two strided convolutions (8x4x4, 16x2x2), then 64-32-10."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def digits_resnet() -> nn.Sequential:
    """A strided convolution (8x4x4), one residual block, average pooling to 8x2x2, then 32-10."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        Residual(
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
        ),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def no_penalty(_: nn.Module) -> Tensor | float:
    """Adds nothing to the loss."""
    return 0.0


def no_projection(_: nn.Module) -> None:
    """Leaves the weights as the optimiser set them."""


@dataclass(frozen=True)
class Training:
    """How one network is trained. Inputs are in the units of its first trained layer."""

    seed: int
    loss: Loss
    epochs: int
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    # Radius of the linf ball in which training points are moved to raise the loss; 0 for none.
    attack_radius: float = 0.0
    # Valid input range, to which moved points are clipped.
    clip: tuple[float, float] = (-np.inf, np.inf)
    penalty: Callable[[nn.Module], Tensor | float] = no_penalty
    # Applied to the network after every step of the optimiser.
    project: Callable[[nn.Module], None] = no_projection


def sign_penalty(
    signs: dict[int, float], features: int, radius: float, seed: int, margin: float
) -> Callable[[nn.Module], Tensor]:
    """Penalises derivatives of the only output that fall below margin in the wanted direction.

    signs maps feature positions to +1 (increasing) or -1; the derivatives are taken at uniform
    points of the box [-radius, radius], drawn anew at every call.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.zeros(features)
    for position, sign in signs.items():
        direction[position] = sign

    def penalty(network: nn.Module) -> Tensor:
        points = (2 * torch.rand(128, features, generator=generator) - 1) * radius
        points.requires_grad_(True)
        (derivative,) = torch.autograd.grad(network(points).sum(), points, create_graph=True)
        missing = functional.relu(margin - derivative * direction) * direction.abs()
        return missing.sum(dim=1).mean()

    return penalty


def keep_increasing(features: list[int], least: float) -> Callable[[nn.Module], None]:
    """Projection of an MLP onto those that increase in the given features everywhere.

    Every weight on a path from such a feature to the output is kept at or above least > 0.
    """

    def project(network: nn.Module) -> None:
        first, *later = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            first.weight[:, features] = first.weight[:, features].clamp(min=least)
            for layer in later:
                layer.weight.clamp_(min=least)

    return project


def attack(network: nn.Module, inputs: Tensor, targets: Tensor, training: Training) -> Tensor:
    """Points within attack_radius (linf) of the inputs, moved to raise the loss."""
    radius, step = training.attack_radius, 2.5 * training.attack_radius / ATTACK_STEPS
    points = inputs
    for _ in range(ATTACK_STEPS):
        points = points.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(training.loss(network(points), targets), points)
        points = points + step * gradient.sign()
        points = inputs + (points - inputs).clamp(-radius, radius)
        points = points.clamp(*training.clip)
    return points.detach()


def train(network: nn.Module, inputs: Tensor, targets: Tensor, training: Training) -> None:
    """Train the network in place with Adam and a cosine schedule; leaves it in evaluation mode."""
    optimizer = torch.optim.Adam(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.epochs)
    generator = torch.Generator().manual_seed(training.seed)
    network.train()
    for _ in range(training.epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(training.batch):
            points, wanted = inputs[rows], targets[rows]
            if training.attack_radius > 0:
                points = attack(network, points, wanted, training)
            optimizer.zero_grad()
            (training.loss(network(points), wanted) + training.penalty(network)).backward()
            optimizer.step()
            training.project(network)
        schedule.step()
    network.eval()


@dataclass
class GraphWriter:
    """Collects ONNX nodes and initializers, one module after the other."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def node(
        self, operator: str, inputs: list[str], tensors: dict[str, Tensor], **attributes: Any
    ) -> str:
        """Append one node that reads inputs, then tensors; returns the name of its output."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        stored = [f"{name}_{role}" for role in tensors]
        for key, tensor in zip(stored, tensors.values(), strict=True):
            array = np.ascontiguousarray(tensor.detach().numpy())
            self.initializers.append(numpy_helper.from_array(array, key))
        output = f"{name}_out"
        self.nodes.append(
            helper.make_node(operator, [*inputs, *stored], [output], name=name, **attributes)
        )
        return output

    def add(self, module: nn.Module, source: str) -> str:
        """Append the module applied to the named value; returns the name of the result."""
        match module:
            case nn.Sequential():
                for child in module:
                    source = self.add(child, source)
                return source
            case Residual():
                return self.node("Add", [source, self.add(module.branch, source)], {})
            case Scale():
                moved = self.node("Sub", [source], {"offset": module.offset})
                return self.node("Div", [moved], {"scale": module.scale})
            case nn.Linear():
                weights = {"weight": module.weight, "bias": module.bias}
                return self.node("Gemm", [source], weights, transB=1)
            case nn.Conv2d():
                weights = {"weight": module.weight}
                if module.bias is not None:
                    weights["bias"] = module.bias
                return self.node(
                    "Conv",
                    [source],
                    weights,
                    kernel_shape=list(module.kernel_size),
                    strides=list(module.stride),
                    pads=[*module.padding, *module.padding],
                )
            case nn.BatchNorm2d():
                weights = {
                    "scale": module.weight,
                    "bias": module.bias,
                    "mean": module.running_mean,
                    "variance": module.running_var,
                }
                return self.node("BatchNormalization", [source], weights, epsilon=module.eps)
            case nn.AvgPool2d():
                size = [module.kernel_size] * 2
                return self.node("AveragePool", [source], {}, kernel_shape=size, strides=size)
            case nn.LeakyReLU():
                return self.node("LeakyRelu", [source], {}, alpha=module.negative_slope)
            case nn.ReLU() | nn.Tanh() | nn.Sigmoid() | nn.Flatten():
                operator = type(module).__name__.replace("ReLU", "Relu")
                return self.node(operator, [source], {})
            case _:
                raise TypeError(f"no ONNX form for {type(module).__name__}; add a case here")


def onnx_model(name: str, network: nn.Module, input_shape: tuple[int, ...]) -> onnx.ModelProto:
    """The network as an ONNX model; input [batch, *input_shape], output [batch, outputs]."""
    writer = GraphWriter()
    writer.add(network, "input")
    writer.nodes[-1].output[0] = "output"
    with torch.no_grad():
        outputs = network(torch.zeros(1, *input_shape)).shape[1]
    graph = helper.make_graph(
        writer.nodes,
        name,
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", *input_shape])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["batch", outputs])],
        writer.initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lipverify-examples",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def evaluate_onnx(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """Outputs of the exported file, by onnxruntime: what the model card's numbers are about."""
    runtime = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(runtime.run(None, {"input": inputs})[0])


@dataclass(frozen=True)
class Example:
    """One shipped network: its data, its layers, how it is trained, and what the card says."""

    name: str
    table: Table
    input_shape: tuple[int, ...]
    build: Callable[[], nn.Sequential]
    training: Training
    architecture: str
    preprocessing: str
    outputs: str
    regularisation: str
    # Part of the exported network, but not trained: the table's units to those of training.
    scale: Scale | None = None


DIGITS_INPUT = "Pixel values divided by 16, so in [0, 1], row by row; nothing inside the graph."
DIGITS_OUTPUT = "Ten logits; the class is the largest."
RAW_UNITS = "Inputs are in the table's own units; `Sub` and `Div` nodes at the graph's start map "


def digits_examples() -> list[Example]:
    """Three classifiers of the same images; trained against linf attacks, so fairly robust."""
    table = digits_table()

    def example(
        name: str,
        shape: tuple[int, ...],
        build: Callable[[], nn.Sequential],
        seed: int,
        radius: float,
        architecture: str,
    ) -> Example:
        training = Training(
            seed=seed,
            loss=functional.cross_entropy,
            epochs=60,
            attack_radius=radius,
            clip=(0.0, 1.0),
        )
        return Example(
            name=name,
            table=table,
            input_shape=shape,
            build=build,
            training=training,
            architecture=architecture,
            preprocessing=DIGITS_INPUT,
            outputs=DIGITS_OUTPUT,
            regularisation=f"trained on points moved by up to {radius} (linf) to raise the loss",
        )

    return [
        example(
            "digits_mlp",
            (64,),
            lambda: mlp([64, 32, 32, 10], nn.ReLU),
            1,
            0.08,
            "64-32-32-10, ReLU",
        ),
        example(
            "digits_cnn",
            (1, 8, 8),
            digits_cnn,
            2,
            0.08,
            "Conv 1->8 (3x3, stride 2, pad 1), ReLU, Conv 8->16 (3x3, stride 2, pad 1), ReLU, "
            "Flatten, 64-32-10, ReLU",
        ),
        example(
            "digits_resnet",
            (1, 8, 8),
            digits_resnet,
            3,
            0.08,
            "Conv 1->8 (3x3, stride 2, pad 1), BatchNormalization, ReLU, residual block (Conv, "
            "BatchNormalization, ReLU, Conv; Add), ReLU, AveragePool 2x2, Flatten, 32-10",
        ),
    ]


def diabetes_example() -> Example:
    """A tanh regressor pushed, not forced, to increase in bmi, bp and s5."""
    table = diabetes_table()
    signs = {table.features.index(name): 1.0 for name in ("bmi", "bp", "s5")}
    penalty = sign_penalty(signs, features=10, radius=2.5, seed=40, margin=0.05)
    return Example(
        name="diabetes_tanh",
        table=table,
        input_shape=(10,),
        build=lambda: mlp([10, 16, 16, 1], nn.Tanh),
        training=Training(
            seed=4,
            loss=functional.mse_loss,
            epochs=200,
            weight_decay=1e-2,
            penalty=penalty,
        ),
        architecture="10-16-16-1, tanh",
        preprocessing="Inputs are standardised outside the graph: (value - mean) / standard "
        "deviation over the training part, both in `data/diabetes.npz`.",
        outputs="Disease progression one year later, standardised in the same way.",
        regularisation="penalty on derivatives below 0.05 in bmi, bp and s5, at random points",
    )


def breast_cancer_examples() -> list[Example]:
    """A plain classifier, and a risk score that increases in five features by construction."""
    table = breast_cancer_table()
    scale = min_max_scale(table)
    units = RAW_UNITS + "the training range of each feature to [0, 1]."
    increasing = (
        "mean_concave_points",
        "worst_radius",
        "worst_texture",
        "worst_smoothness",
        "worst_concave_points",
    )

    def risk_loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], (targets == 0).float())

    plain = Example(
        name="breast_cancer_mlp",
        table=table,
        input_shape=(30,),
        build=lambda: mlp([30, 16, 16, 2], nn.ReLU),
        training=Training(
            seed=5,
            loss=functional.cross_entropy,
            epochs=100,
            weight_decay=1e-3,
            attack_radius=0.02,
        ),
        architecture="Sub, Div, 30-16-16-2, ReLU",
        preprocessing=units,
        outputs="Two logits: 0 malignant, 1 benign, as in the table.",
        regularisation="trained on points moved by up to 0.02 of each feature's range (linf)",
        scale=scale,
    )
    monotone = Example(
        name="breast_cancer_monotone",
        table=table,
        input_shape=(30,),
        build=lambda: mlp([30, 16, 16, 1], lambda: nn.LeakyReLU(0.1)),
        training=Training(
            seed=6,
            loss=risk_loss,
            epochs=100,
            weight_decay=1e-3,
            project=keep_increasing([table.features.index(name) for name in increasing], 0.01),
        ),
        architecture="Sub, Div, 30-16-16-1, leaky ReLU (slope 0.1)",
        preprocessing=units,
        outputs="One logit, the risk score: malignant where positive.",
        regularisation="all weights on paths from "
        + ", ".join(increasing)
        + " to the output are at least 0.01, so the score increases in these five",
        scale=scale,
    )
    return [plain, monotone]


def wine_example() -> Example:
    """A sigmoid classifier of three cultivars."""
    table = wine_table()
    return Example(
        name="wine_sigmoid",
        table=table,
        input_shape=(13,),
        build=lambda: mlp([13, 12, 12, 3], nn.Sigmoid),
        training=Training(
            seed=7,
            loss=functional.cross_entropy,
            epochs=200,
            batch=32,
            learning_rate=1e-2,
            weight_decay=1e-3,
        ),
        architecture="Sub, Div, 13-12-12-3, sigmoid",
        preprocessing=RAW_UNITS + "each feature to mean 0 and standard deviation 1.",
        outputs="Three logits, one per cultivar.",
        regularisation="weight decay only",
        scale=standard_scale(table),
    )


@dataclass(frozen=True)
class Result:
    """What the summary and the card say about one exported file."""

    example: Example
    parameters: int
    score_name: str
    score: float
    content: bytes


def score_on(targets: np.ndarray, outputs: np.ndarray) -> tuple[str, float]:
    """R2 for real targets, else accuracy; one output column is a logit of class 0."""
    if targets.dtype.kind == "f":
        residual = ((outputs[:, 0] - targets) ** 2).sum()
        return "R2", float(1 - residual / ((targets - targets.mean()) ** 2).sum())
    predicted = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] <= 0)
    return "accuracy", float((predicted == targets).mean())


def train_example(example: Example) -> Result:
    """Train, export, and score the exported file on the test part."""
    torch.manual_seed(example.training.seed)
    trained = example.build()
    inputs = torch.from_numpy(example.table.train_inputs)
    if example.scale is not None:
        inputs = example.scale(inputs)
    targets = torch.from_numpy(example.table.train_targets)
    if targets.ndim == 1 and targets.is_floating_point():
        targets = targets[:, None]
    train(trained, inputs.reshape(-1, *example.input_shape), targets, example.training)
    network = trained if example.scale is None else nn.Sequential(example.scale, trained)

    content = onnx_model(example.name, network, example.input_shape).SerializeToString(
        deterministic=True
    )
    test_inputs = example.table.test_inputs.reshape(-1, *example.input_shape)
    outputs = evaluate_onnx(content, test_inputs)
    with torch.no_grad():
        difference = np.abs(outputs - network(torch.from_numpy(test_inputs)).numpy()).max()
    if not difference <= EXPORT_TOLERANCE:
        raise RuntimeError(
            f"{example.name}: exported graph differs from torch by {difference}, "
            f"expected at most {EXPORT_TOLERANCE}; check the module's case in GraphWriter.add"
        )
    score_name, score = score_on(example.table.test_targets, outputs)
    parameters = sum(parameter.numel() for parameter in trained.parameters())
    return Result(example, parameters, score_name, score, content)


def model_card(result: Result) -> str:
    """The text of NAME.md."""
    example, training = result.example, result.example.training
    table = example.table
    return f"""# {example.name}

| | |
|---|---|
| data | {table.source} |
| split | {len(table.train_inputs)} training rows, {len(table.test_inputs)} test rows \
(`train_test_split`, seed {SPLIT_SEED}) |
| input | shape [batch, {", ".join(map(str, example.input_shape))}], float32 |
| preprocessing | {example.preprocessing} |
| architecture | {example.architecture} |
| output | {example.outputs} |
| trained parameters | {result.parameters} |
| training | Adam, {training.epochs} epochs, batch {training.batch}, learning rate \
{training.learning_rate}, weight decay {training.weight_decay}; {example.regularisation} |
| seed | {training.seed} |
| test {result.score_name} | {result.score:.4f} (onnxruntime, on this file) |
| format | ONNX, opset {OPSET}, {len(result.content)} bytes |
| sha256 | `{hashlib.sha256(result.content).hexdigest()}` |
| made by | `scripts/train_networks.py`, torch {torch.__version__.split("+")[0]} |

For examples and tests of lipverify only; not for any decision about people or products.
"""


def write_arrays(folder: Path, examples: dict[str, Example]) -> None:
    """Write the arrays that spec files refer to: float64 values that float32 holds exactly.

    digits.npz holds the first two test images of each digit, in order: digit d is rows 2 d and
    2 d + 1. The tables hold their first ten test rows, in the units of their networks' inputs, and
    per feature over the training part: mean and deviation (raw units), or lower, upper and radius,
    a tenth of the standard deviation.
    """
    digits = examples["digits_mlp"].table
    rows = np.concatenate([np.flatnonzero(digits.test_targets == k)[:2] for k in range(10)])
    images = digits.test_inputs[rows].astype(np.float64)
    np.savez(folder / "digits.npz", images=images, labels=digits.test_targets[rows])

    raw = load_diabetes(scaled=False).data.astype(np.float32)
    raw_train, _ = train_test_split(raw, test_size=TEST_FRACTION, random_state=SPLIT_SEED)
    diabetes = examples["diabetes_tanh"].table
    np.savez(
        folder / "diabetes.npz",
        rows=diabetes.test_inputs[:10].astype(np.float64),
        targets=diabetes.test_targets[:10].astype(np.float64),
        mean=raw_train.mean(axis=0).astype(np.float64),
        deviation=raw_train.std(axis=0).astype(np.float64),
    )

    for data, example in (("breast_cancer", "breast_cancer_mlp"), ("wine", "wine_sigmoid")):
        table = examples[example].table
        np.savez(
            folder / f"{data}.npz",
            rows=table.test_inputs[:10].astype(np.float64),
            labels=table.test_targets[:10],
            lower=table.train_inputs.min(axis=0).astype(np.float64),
            upper=table.train_inputs.max(axis=0).astype(np.float64),
            radius=(table.train_inputs.std(axis=0) / 10).astype(np.float64),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "specs")
    out: Path = parser.parse_args().out

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    (out / "networks").mkdir(parents=True, exist_ok=True)
    (out / "data").mkdir(parents=True, exist_ok=True)

    examples = [
        *digits_examples(),
        diabetes_example(),
        *breast_cancer_examples(),
        wine_example(),
    ]
    lines = [f"{'network':24}{'parameters':>12}{'bytes':>8}  test score"]
    for example in examples:
        result = train_example(example)
        (out / "networks" / f"{example.name}.onnx").write_bytes(result.content)
        (out / "networks" / f"{example.name}.md").write_text(model_card(result), encoding="utf-8")
        lines.append(
            f"{example.name:24}{result.parameters:12}{len(result.content):8}"
            f"  {result.score_name} {result.score:.4f}"
        )
    write_arrays(out / "data", {example.name: example for example in examples})
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
