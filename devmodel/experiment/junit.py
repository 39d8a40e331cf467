"""A KTAP run as JUnit XML, for those who show test results: a test case for each leaf.

The names of the tests around a leaf are its class, so that viewers show the same tree. What is
wrong with the run as a whole is an error of a case of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as xml

from devmodel.experiment.ktap import Leaf, Outcome, Run

WHOLE = "the run as a whole"
# Of all characters, XML has no way to write these.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(
    run: Run, *, suite: str, seconds: float, began: str, troubles: Sequence[str] = ()
) -> bytes:
    """The file: one suite called `suite`, which took `seconds` and `began` then (ISO 8601).

    `troubles` is what else went wrong, a text each, whose first line says it.
    """
    leaves = run.leaves
    counts = {
        "tests": str(len(leaves) + len(troubles)),
        "failures": str(run.count(Outcome.FAILED)),
        "errors": str(len(troubles)),
        "time": f"{seconds:.3f}",
    }
    top = xml.Element("testsuites", counts)
    skipped = str(run.count(Outcome.SKIPPED) + run.count(Outcome.XFAILED))
    attributes = {"name": _legal(suite), **counts, "skipped": skipped, "timestamp": began}
    element = xml.SubElement(top, "testsuite", attributes)
    for leaf in leaves:
        _case(element, leaf, suite)
    for trouble in troubles:
        case = _add(element, (suite, WHOLE))
        _told(case, "error", trouble)
    xml.indent(top)
    written: bytes = xml.tostring(top, encoding="utf-8", xml_declaration=True)
    return written


def _add(parent: xml.Element, path: Sequence[str]) -> xml.Element:
    # A dot is what viewers split a class at.
    above = ".".join(part.replace(".", "_") for part in path[:-1])
    names = {"classname": _legal(above), "name": _legal(path[-1]), "time": "0"}
    return xml.SubElement(parent, "testcase", names)


def _case(parent: xml.Element, leaf: Leaf, suite: str) -> None:
    case = _add(parent, (suite, *leaf.path))
    said = "\n".join(leaf.notes)
    match leaf.outcome:
        case Outcome.FAILED:
            _told(case, "failure", said or "not ok")
        case Outcome.SKIPPED:
            _told(case, "skipped", said or "skipped")
        case Outcome.XFAILED:
            _told(case, "skipped", f"failed, as expected: {said}")
        case Outcome.PASSED if said:
            xml.SubElement(case, "system-out").text = _legal(said)


def _told(parent: xml.Element, tag: str, text: str) -> None:
    message = text.splitlines()[-1] if tag != "error" else text.splitlines()[0]
    xml.SubElement(parent, tag, {"message": _legal(message)}).text = _legal(text)


def _legal(text: str) -> str:
    """With what XML cannot hold as Python would write it."""
    return _ILLEGAL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
