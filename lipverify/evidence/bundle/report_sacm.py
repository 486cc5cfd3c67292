"""argument.sacm.xml: the argument and its artifacts in OMG's Structured Assurance Case Metamodel.

SACM 2.3 as XMI; goals are claims, strategies reasonings of inferences, files artifacts.
"""

from xml.etree import ElementTree as Xml

from lipverify.evidence.bundle.argument import Element, argument
from lipverify.evidence.bundle.record import Record

XMI = "http://www.omg.org/XMI"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
PARTS = ("assurancecase", "argumentation", "artifact", "base")
SACM = {part: f"http://omg.sacm/2.3/{part}" for part in PARTS}
ARGUMENT, ARTIFACT, BASE = "argumentation", "artifact", "base"
DECLARATIONS = {"established": "asserted", "open": "needsSupport", "refuted": "defeated"}


def sacm_xml(record: Record) -> str:
    for prefix, uri in (("xmi", XMI), ("xsi", XSI), *SACM.items()):
        Xml.register_namespace(prefix, uri)
    root = Xml.Element(f"{{{SACM['assurancecase']}}}AssuranceCasePackage")
    root.set(f"{{{XMI}}}version", "2.0")
    root.set(f"{{{XMI}}}id", "case")
    # Names of types in attributes are not seen by the writer: their prefixes are declared by hand.
    for part in (ARGUMENT, ARTIFACT, BASE):
        root.set(f"xmlns:{part}", SACM[part])
    _name(root, "lipverify evidence")
    elements = argument(record)
    _artifacts(Xml.SubElement(root, "artifactPackage"), elements)
    _argument(Xml.SubElement(root, "argumentPackage"), elements)
    Xml.indent(root)
    text = Xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _artifacts(package: Xml.Element, elements: tuple[Element, ...]) -> None:
    package.set(f"{{{XMI}}}id", "artifacts")
    _name(package, "files of the bundle")
    for path in dict.fromkeys(element.url for element in elements if element.url):
        item = _item(package, "artifactElement", f"{ARTIFACT}:Artifact", _file_id(path))
        _name(item, path)
        _describe(item, f"The file {path} of the bundle; its SHA-256 is in statement.json.")


def _argument(package: Xml.Element, elements: tuple[Element, ...]) -> None:
    package.set(f"{{{XMI}}}id", "argument")
    _name(package, "argument")
    known = {element.id: element for element in elements}
    for element in elements:
        _node(package, element)
    for element in elements:
        _relations(package, element, known)


def _node(package: Xml.Element, element: Element) -> None:
    def item(kind: str) -> Xml.Element:
        made = _item(package, "argumentationElement", f"{ARGUMENT}:{kind}", element.id)
        _name(made, element.id)
        _describe(made, element.text)
        return made

    match element.kind:
        case "goal":
            assert element.status is not None
            item("Claim").set("assertionDeclaration", DECLARATIONS[element.status])
        case "assumption":
            item("Claim").set("assertionDeclaration", "assumed")
        case "justification":
            item("Claim").set("assertionDeclaration", "axiomatic")
        case "strategy":
            item("ArgumentReasoning")
        case "solution" | "context":
            item("ArtifactReference").set("referencedArtifactElement", _file_id(element.url))


def _relations(package: Xml.Element, element: Element, known: dict[str, Element]) -> None:
    """Support and context; a strategy is no claim, but the reasoning of its goal's inference."""
    if element.kind == "strategy":
        return
    evidence, claims, reasoning = [], [], ""
    for name in element.supported_by:
        if known[name].kind == "strategy":
            reasoning = name
            claims += known[name].supported_by
        else:
            (evidence if known[name].kind == "solution" else claims).append(name)
    if claims:
        made = _relation(package, "AssertedInference", f"{element.id}.inference", claims, element)
        if reasoning:
            made.set("reasoning", reasoning)
    if evidence:
        _relation(package, "AssertedEvidence", f"{element.id}.evidence", evidence, element)
    for name in element.in_context_of:
        if known[name].counter:
            made = _relation(package, "AssertedEvidence", f"{element.id}.{name}", [name], element)
            made.set("isCounter", "true")
        else:
            kind = "AssertedArtifactContext" if known[name].kind == "context" else "AssertedContext"
            _relation(package, kind, f"{element.id}.{name}", [name], element)


def _relation(
    package: Xml.Element, kind: str, name: str, sources: list[str], target: Element
) -> Xml.Element:
    made = _item(package, "argumentationElement", f"{ARGUMENT}:{kind}", name)
    # An undeveloped goal's inference is as open as the goal itself.
    open_goal = target.status is not None and target.status != "established"
    made.set("assertionDeclaration", "needsSupport" if open_goal else "asserted")
    made.set("source", " ".join(sources))
    made.set("target", target.id)
    return made


def _item(parent: Xml.Element, role: str, kind: str, name: str) -> Xml.Element:
    return Xml.SubElement(parent, role, {f"{{{XSI}}}type": kind, f"{{{XMI}}}id": name, "gid": name})


def _name(element: Xml.Element, text: str) -> None:
    Xml.SubElement(element, "name", {"lang": "en", "content": text})


def _describe(element: Xml.Element, text: str) -> None:
    content = Xml.SubElement(Xml.SubElement(element, "description"), "content")
    Xml.SubElement(content, "value", {"lang": "en", "content": text})


def _file_id(path: str) -> str:
    """An XML id: letters, digits, dots, hyphens and low lines."""
    return "file." + "".join(c if c.isalnum() and c.isascii() or c in ".-" else "_" for c in path)
