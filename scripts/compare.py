"""Compare methods and branching heuristics: the bound over time, and over subproblems.

    python scripts/compare.py SPEC... [--variants quadratic/area quadratic/pseudo-costs linear/area]
                              [--timeout 60] [--reference results.json] [--out out/compare]

A variant is METHOD or METHOD/BRANCHING; `linear/BRANCHING` is branch and bound over gates on linear
bounds alone (with `area`: the search of Shi et al. 2022). All variants run in one process on one
thread, one after the other, each with its own networks and caches. For every Lipschitz property,
OUT.md says what was reached, and how many subproblems (and seconds) each variant took until its
bound was as good as the weakest variant's last one, with ratios to the first variant. One plot per
property, OUT-NAME.svg, shows both curves; OUT.json holds them. With --reference, the branch and
bound figures of other tools on the same cases are drawn as lines.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib
import torch

from lipverify.api import Progress, verify_spec
from lipverify.config import QuadraticConfig, VerifyConfig
from lipverify.network import load_network
from lipverify.spec import bind, find_specs, read_spec

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402 - after the choice of its output

LINEAR = "linear"


@dataclass(frozen=True)
class Point:
    """The interval at some time."""

    seconds: float
    subproblems: int
    lower: float | None
    upper: float


@dataclass(frozen=True)
class Curve:
    """One property by one variant; the last point is the answer."""

    case: str
    property: int
    variant: str
    verdict: str
    points: tuple[Point, ...]

    @property
    def last(self) -> Point:
        return self.points[-1]

    def reaching(self, upper: float) -> Point | None:
        """The first point whose bound is at most `upper`."""
        return next((p for p in self.points if p.upper <= upper * (1 + 1e-9)), None)


def main() -> int:
    options = _options()
    torch.set_num_threads(1)
    reference = [] if options.reference is None else json.loads(options.reference.read_text())
    curves: list[Curve] = []
    for path in find_specs(options.specs):
        for variant in options.variants:
            curves.extend(_run(path, variant, options))
            print(_line(curves[-1]), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = _markdown(curves)
    options.out.with_suffix(".md").write_text(text)
    options.out.with_suffix(".json").write_text(json.dumps([asdict(c) for c in curves], indent=1))
    for key in dict.fromkeys((curve.case, curve.property) for curve in curves):
        _plot([c for c in curves if (c.case, c.property) == key], reference, options.out)
    print(f"\n{text}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("specs", nargs="+", type=Path, help="spec files, or folders of them")
    parser.add_argument(
        "--variants", nargs="+", default=["quadratic/area", "quadratic/pseudo-costs", "linear/area"]
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per property")
    parser.add_argument("--max-subproblems", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", type=Path, default=None, help="other tools' results.json")
    parser.add_argument("--out", type=Path, default=Path("out/compare"))
    return parser.parse_args()


def _run(path: Path, variant: str, options: argparse.Namespace) -> list[Curve]:
    file = read_spec(path)
    network = load_network(file.network, reading=file.reading)
    spec = bind(file, network.graph.input_size, network.graph.output_size)
    traces: dict[int, list[Point]] = {}

    def record(progress: Progress) -> None:
        if progress.upper is None:
            return
        trace = traces.setdefault(progress.property, [])
        if trace and trace[-1].upper <= progress.upper:
            return
        trace.append(Point(progress.seconds, progress.subproblems, progress.lower, progress.upper))

    curves = []
    for result in verify_spec(network, spec, _config(variant, options), record):
        if result.kind != "lipschitz" or result.bound is None:
            continue
        end = Point(result.seconds, result.subproblems, result.bound.lower, result.bound.upper)
        points = (*traces.get(result.property, []), end)
        curves.append(Curve(path.stem, result.property, variant, result.verdict.word, points))
    return curves


def _config(variant: str, options: argparse.Namespace) -> VerifyConfig:
    method, _, branching = variant.partition("/")
    config = VerifyConfig(
        method=method,
        timeout=options.timeout,
        max_subproblems=options.max_subproblems,
        seed=options.seed,
    )
    if not branching:
        return config
    config = replace(config, branching=branching)
    if method == LINEAR:
        quadratic = QuadraticConfig(max_steps=0, conflicts=0)
        config = replace(config, method="quadratic", quadratic=quadratic)
    return config


def _line(curve: Curve) -> str:
    last = curve.last
    return (
        f"{curve.case} {curve.property} {curve.variant}: [{last.lower:.6g}, {last.upper:.6g}], "
        f"{last.subproblems} subproblems, {last.seconds:.1f} s"
    )


def _markdown(curves: list[Curve]) -> str:
    lines = [
        "| case | variant | lower | upper | subproblems | seconds "
        "| subproblems to the weakest bound | seconds to it | times as many as the first |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for key in dict.fromkeys((curve.case, curve.property) for curve in curves):
        mine = [c for c in curves if (c.case, c.property) == key]
        weakest = max(c.last.upper for c in mine)
        reached = [c.reaching(weakest) for c in mine]
        first = reached[0]
        assert first is not None
        for curve, point in zip(mine, reached, strict=True):
            assert point is not None
            last = curve.last
            lines.append(
                f"| {curve.case} | {curve.variant} | {last.lower:.6g} | {last.upper:.6g} "
                f"| {last.subproblems} | {last.seconds:.1f} | {point.subproblems} "
                f"| {point.seconds:.1f} | {point.subproblems / first.subproblems:.3g} |"
            )
    return "\n".join(lines) + "\n"


def _plot(curves: list[Curve], reference: list[dict], out: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, name in zip(axes, ("seconds", "subproblems"), strict=True):
        for curve in curves:
            x = [max(getattr(p, name), 0.01) for p in curve.points]
            y = [p.upper for p in curve.points]
            axis.step(x, y, where="post", label=curve.variant, marker=".", markersize=3)
        lower = max(c.last.lower or 0.0 for c in curves)
        axis.axhline(lower, color="black", linewidth=0.8, label="attained")
        for entry in reference:
            if entry["case"] == curves[0].case and "BaB" in entry["method"] and entry["bound"]:
                label = f"{entry['method']}: {entry['bound']:.4g}"
                axis.axhline(entry["bound"], color="gray", linestyle=":", label=label)
        axis.set_xscale("log")
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("proved upper end of the Lipschitz constant")
    axes[1].legend(fontsize=7)
    figure.suptitle(curves[0].case)
    name = curves[0].case if curves[0].property == 0 else f"{curves[0].case}-{curves[0].property}"
    figure.savefig(out.with_name(f"{out.name}-{name}.svg"))
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
