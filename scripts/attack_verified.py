"""Attack what was verified: random points, corners, and gradients, judged by the original network.

    python scripts/attack_verified.py INSTANCES.csv [--results RUN.json] [--points 10000]
                                      [--restarts 256] [--steps 100] [--seconds 60] [--seed 0]

Takes the instances that RUN.json (`lipverify verify INSTANCES.csv --json RUN.json`) says to be
verified; without it, those whose column `verdict` says `unsat`. Every point is evaluated by the
original's engine (onnxruntime) in its own precision, and the property's file says whether inputs
and outputs satisfy it. Nothing of lipverify's own attack or bounds is used but our graph's
gradients. Prints one line per instance: how near an output came to an unsafe set, as the largest
depth met (below 0: outside), and relative to the outputs' size. Exit code 1 where a point
satisfies a property: a verdict is wrong then.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor

from lipverify import load_network
from lipverify.cli.instances import Instance, read_instances
from lipverify.graph import output
from lipverify.network import Network
from lipverify.query_output import Clause, OutputQuery
from lipverify.spec.vnnlib import VnnLibFile, read_vnnlib

BATCH = 500
MOST_BOXES = 20
"""Boxes of a file that are attacked, spread over all."""
RATES = (0.5, 0.1, 0.02)
"""First steps of the gradient's ascents, relative to half the box; restarts take turns."""


@dataclass(frozen=True)
class Attacked:
    """The largest depth that an evaluation by the original met, and whether the file held."""

    depth: float
    relative: float
    points: int
    broken: bool


def main() -> int:
    options = _options()
    torch.set_num_threads(1)
    verified = _verified(options)
    broken = 0
    print(f"{'network':<46} {'property':<26} {'points':>8} {'depth':>11} {'relative':>10} {'s':>6}")
    for instance in verified:
        began = monotonic()
        network, file = load_network(str(instance.network)), read_vnnlib(instance.vnnlib)
        found = attack(network, file, options)
        broken += found.broken
        print(
            f"{instance.network.name:<46} {instance.vnnlib.name[-26:]:<26} {found.points:>8} "
            f"{found.depth:>11.4g} {found.relative:>10.2g} {monotonic() - began:>6.1f}"
            f"{'  SATISFIED: the verdict is wrong' if found.broken else ''}",
            flush=True,
        )
    print(f"{len(verified)} verified instances, {broken} refuted")
    return int(broken > 0)


def _verified(options: argparse.Namespace) -> list[Instance]:
    lines = [line for line in read_instances(options.instances) if isinstance(line, Instance)]
    if options.results is not None:
        run = json.loads(options.results.read_text())
        words = {(one["network"], one["property"]): one["result"] for one in run["instances"]}
    else:
        with options.instances.open(newline="") as stream:
            words = {(row["onnx"], row["vnnlib"]): row["verdict"] for row in csv.DictReader(stream)}
    return [line for line in lines if words.get(line.written) == "unsat"]


def attack(network: Network, file: VnnLibFile, options: argparse.Namespace) -> Attacked:
    generator = torch.Generator().manual_seed(options.seed)
    total = sum(1 for _ in file.queries())
    stride = max(1, total // MOST_BOXES)
    queries = [query for k, query in enumerate(file.queries()) if k % stride == 0]
    best = Attacked(-float("inf"), -float("inf"), 0, False)
    for query in queries:
        share = options.seconds / len(queries)
        best = _box(network, file, query, share, generator, options, best)
    return best


def _box(
    network: Network,
    file: VnnLibFile,
    query: OutputQuery,
    seconds: float,
    generator: torch.Generator,
    options: argparse.Namespace,
    best: Attacked,
) -> Attacked:
    """All three kinds of points on one box."""
    end = monotonic() + seconds
    for points in _points(query, generator, options.points):
        best = _judged(network, file, query, points, best)
    restart = 0
    while restart < options.restarts and monotonic() < end:
        count = min(BATCH, options.restarts - restart)
        starts = _random(query, generator, count)
        for which, clause in enumerate(query.unsafe):
            rate = RATES[(restart // BATCH + which) % len(RATES)]
            climbed = climb(network, query, clause, starts, rate, options.steps, end)
            best = _judged(network, file, query, climbed, best)
        restart += count
    return best


def _points(query: OutputQuery, generator: torch.Generator, count: int) -> Iterator[Tensor]:
    """`count` uniform points, and a tenth as many corners."""
    box = query.region.bounding
    for _ in range(0, count, BATCH):
        yield _random(query, generator, BATCH)
    for _ in range(0, max(1, count // 10), BATCH):
        sides = torch.rand(BATCH, query.region.size, generator=generator, dtype=torch.float64)
        yield torch.where(sides < 0.5, box.lower, box.upper)


def _random(query: OutputQuery, generator: torch.Generator, count: int) -> Tensor:
    box = query.region.bounding
    share = torch.rand(count, query.region.size, generator=generator, dtype=torch.float64)
    return box.lower + share * box.width


def climb(
    network: Network,
    query: OutputQuery,
    clause: Clause,
    points: Tensor,
    rate: float,
    steps: int,
    end: float,
) -> Tensor:
    """Signed gradients with momentum on the least deep row, steps shrinking to a hundredth."""
    box = query.region.bounding
    speed = torch.zeros_like(points)
    deepest, best = torch.full((len(points),), -torch.inf, dtype=points.dtype), points
    for step in range(steps + 1):
        x = points.clone().requires_grad_(True)
        depth = -clause.values(output(network.graph, x)).amax(1)
        gradient = torch.autograd.grad(depth.sum(), x)[0]
        better = depth.detach() > deepest
        deepest = torch.where(better, depth.detach(), deepest)
        best = torch.where(better.unsqueeze(1), points, best)
        if step == steps or monotonic() > end:
            break
        size = gradient.abs().sum(1, keepdim=True)
        speed = 0.75 * speed + gradient / size.clamp(min=1e-300)
        reach = rate * 0.01 ** (step / steps) * box.width / 2
        points = torch.clamp(points + reach * speed.sign(), box.lower, box.upper)
    return best


def _judged(
    network: Network, file: VnnLibFile, query: OutputQuery, points: Tensor, best: Attacked
) -> Attacked:
    """With the points [k, n], in the original's precision and inside of the box."""
    box = query.region.bounding
    points = points.to(network.dtype)
    points = torch.where(points.double() < box.lower, _next(points, torch.inf), points)
    points = torch.where(points.double() > box.upper, _next(points, -torch.inf), points).double()
    outputs = network.original(points)
    # The least deep row of the clause that holds by the most.
    depths = torch.stack([-c.values(outputs).amax(1) for c in query.unsafe], 1).amax(1)
    place = int(depths.argmax())
    depth = float(depths[place])
    size = float(outputs[place].abs().max())
    suspects = (depths >= -1e-6 * (1.0 + size)).nonzero().flatten().tolist()
    broken = any(file.holds(points[k].tolist(), outputs[k].tolist()) for k in suspects)
    count = best.points + len(points)
    if depth > best.depth:
        return Attacked(depth, depth / max(size, 1e-300), count, best.broken or broken)
    return Attacked(best.depth, best.relative, count, best.broken or broken)


def _next(points: Tensor, towards: float) -> Tensor:
    return torch.nextafter(points, torch.full_like(points, towards))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("instances", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--points", type=int, default=10_000, help="random points per box")
    parser.add_argument("--restarts", type=int, default=256, help="ascents per clause and box")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0, help="of ascents, per instance")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
