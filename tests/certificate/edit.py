"""Certificates that have been altered."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Head = dict[str, Any]
Nodes = list[dict[str, Any]]


def contents(path: Path) -> tuple[Head, Nodes]:
    with zipfile.ZipFile(path) as archive:
        head = json.loads(archive.read("manifest.json"))
        nodes = []
        if "tree.jsonl" in archive.namelist():
            nodes = [json.loads(line) for line in archive.read("tree.jsonl").splitlines()]
    return head, nodes


def edited(path: Path, change: Callable[[Head, Nodes], object]) -> Path:
    """A copy in which `change` has been made in place."""
    head, nodes = contents(path)
    change(head, nodes)
    return stored(path.with_name("edited.lipcert"), json.dumps(head), lines(nodes))


def lines(nodes: Nodes) -> str:
    return "".join(json.dumps(node) + "\n" for node in nodes)


def stored(path: Path, head: str | bytes, tree: str | bytes | None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if tree is not None:
            archive.writestr("tree.jsonl", tree)
        archive.writestr("manifest.json", head)
    return path
