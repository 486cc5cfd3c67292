"""junit.xml: one test case per property, for CI. Falsified is a failure, unknown an error."""

from xml.etree import ElementTree as Xml

from lipverify.evidence.bundle.argument import why_open
from lipverify.evidence.bundle.record import Property, Record


def junit_xml(record: Record) -> str:
    suites = Xml.Element("testsuites", {"name": "lipverify", **_counts(record.properties)})
    for spec in record.specs:
        mine = [p for p in record.properties if p.spec == spec.path]
        suite = Xml.SubElement(suites, "testsuite", {"name": spec.path, **_counts(mine)})
        for prop in mine:
            _case(suite, prop)
    Xml.indent(suites)
    text = Xml.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _counts(properties: list[Property]) -> dict[str, str]:
    return {
        "tests": str(len(properties)),
        "failures": str(sum(p.verdict == "falsified" for p in properties)),
        "errors": str(sum(_is_error(p) for p in properties)),
        "time": f"{sum(p.seconds for p in properties):.3f}",
    }


def _is_error(prop: Property) -> bool:
    return prop.status == "open" and prop.verdict != "falsified"


def _case(suite: Xml.Element, prop: Property) -> None:
    name = f"[{prop.index}] {prop.asked}"
    case = Xml.SubElement(
        suite, "testcase", {"classname": prop.spec, "name": name, "time": f"{prop.seconds:.3f}"}
    )
    if prop.requirements:
        properties = Xml.SubElement(case, "properties")
        for requirement in prop.requirements:
            Xml.SubElement(properties, "property", {"name": "requirement", "value": requirement})
    if prop.verdict == "falsified":
        assert prop.counterexample is not None
        said = {"type": "falsified", "message": prop.counterexample.statement}
        Xml.SubElement(case, "failure", said)
    elif _is_error(prop):
        Xml.SubElement(case, "error", {"type": "unknown", "message": why_open(prop)})
