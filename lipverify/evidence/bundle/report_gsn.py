"""gsn.yaml: the argument in the YAML of gsn2x, which draws and checks GSN."""

from typing import Any

import yaml

from lipverify.evidence.bundle.argument import argument
from lipverify.evidence.bundle.record import Record

HEADER = "# Goal Structuring Notation, for gsn2x. Elements that are not shown are undeveloped.\n"


def gsn_yaml(record: Record) -> str:
    elements: dict[str, dict[str, Any]] = {}
    for element in argument(record):
        entry: dict[str, Any] = {"text": element.text}
        if element.supported_by:
            entry["supportedBy"] = list(element.supported_by)
        if element.in_context_of:
            entry["inContextOf"] = list(element.in_context_of)
        if element.undeveloped:
            entry["undeveloped"] = True
        if element.url:
            entry["url"] = element.url
        if element.status is not None:
            entry["classes"] = [element.status]
        elements[element.id] = entry
    text = yaml.safe_dump(
        elements, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return HEADER + text
