"""The rules by which gsn2x judges a file (its V and C checks), so that it need not be there."""

from collections.abc import Iterator
from typing import Any

KINDS = ("Sn", "G", "S", "C", "A", "J")
"""Longer prefixes first."""
KEYS = {"text", "supportedBy", "inContextOf", "undeveloped", "url", "classes"}
SUPPORT = {"G", "S", "Sn"}
CONTEXT = {"C", "A", "J"}


def kind(name: str) -> str:
    return next((prefix for prefix in KINDS if name.startswith(prefix)), "")


def broken(elements: dict[str, Any]) -> Iterator[str]:
    """Every rule that is broken, by its number, with the element."""
    for name, element in elements.items():
        yield from _element(name, element, set(elements))
    referenced = {other for element in elements.values() for other in _references(element)}
    roots = [name for name in elements if name not in referenced]
    if len(roots) != 1:
        yield f"C01 {roots}"
    elif kind(roots[0]) != "G":
        yield f"C02 {roots[0]}"
    for root in roots:
        yield from _cycles(root, elements, ())
    reached: set[str] = set()
    for root in roots:
        _reach(root, elements, reached)
    yield from (f"C08 {name}" for name in elements if name not in reached)


def _element(name: str, element: Any, known: set[str]) -> Iterator[str]:
    mine = kind(name)
    if not mine:
        yield f"V01 {name}"
    if not isinstance(element, dict) or not isinstance(element.get("text"), str):
        yield f"text {name}"
        return
    if set(element) - KEYS:
        yield f"key {name}"
    support, context = element.get("supportedBy"), element.get("inContextOf")
    undeveloped = element.get("undeveloped", False)
    for references, allowed in ((support, SUPPORT), (context, CONTEXT)):
        if references is None:
            continue
        if not isinstance(references, list) or not references:
            yield f"C11 {name}"
            continue
        if mine not in ("G", "S") or any(kind(other) not in allowed for other in references):
            yield f"V04 {name}"
        if len(set(references)) < len(references):
            yield f"V05 {name}"
        if name in references:
            yield f"V06 {name}"
        yield from (f"C03 {name} {other}" for other in references if other not in known)
    if mine in ("G", "S") and not support and undeveloped is not True:
        yield f"V02 {name}"
    if support and undeveloped:
        yield f"V03 {name}"


def _references(element: Any) -> Iterator[str]:
    for key in ("supportedBy", "inContextOf"):
        yield from element.get(key) or ()


def _cycles(name: str, elements: dict[str, Any], above: tuple[str, ...]) -> Iterator[str]:
    if name in above:
        yield f"C04 {name}"
        return
    for other in elements.get(name, {}).get("supportedBy") or ():
        yield from _cycles(other, elements, (*above, name))


def _reach(name: str, elements: dict[str, Any], reached: set[str]) -> None:
    if name not in reached and name in elements:
        reached.add(name)
        for other in _references(elements[name]):
            _reach(other, elements, reached)
