"""Two runs as a JUnit report, for what shows tests: a test case for each figure of each cell.

As GitLab (`lib/gitlab/ci/parsers/test/junit.rb`) and Jenkins (junit-plugin, and the XML Schema junit-10.xsd of its
xunit-plugin) read it. Both follow a test from run to run by its names, so these have nothing that was measured.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from wsgilab.model import CheckOutcome, Limit, LimitCheck, RunsComparison
from wsgilab.model.text import visible
from wsgilab.report.ab import checks as words

_ELEMENTS: Mapping[CheckOutcome, str] = {"breached": "failure", "inconclusive": "error", "skipped": "skipped"}


def runs_junit(
    comparison: RunsComparison, checks: Sequence[LimitCheck], limit: Limit | None, need: float | None
) -> str:
    """The two as XML, in ASCII alone, whatever the encoding that it is printed in."""
    outcomes = [check.outcome for check in checks]
    versions = comparison.versions
    suite = _suite(
        f"{'lab.compare' if versions is None else 'lab.run'} {comparison.b.experiment.name}",
        tests=len(outcomes),
        failures=outcomes.count("breached"),
        errors=outcomes.count("inconclusive"),
        skipped=outcomes.count("skipped"),
    )
    asked = {
        "A": comparison.a.id if versions is None else versions.a,
        "B": comparison.b.id if versions is None else versions.b,
        "limit": "" if limit is None else words.option(limit),
        "need": "" if need is None else words.need_option(need),
    }
    properties = ET.SubElement(suite, "properties")
    for name, value in asked.items():
        ET.SubElement(properties, "property", name=name, value=visible(value))
    for check in checks:
        conditions = words.conditions(comparison, check)
        case = _case(suite, f"wsgilab.{check.cell.server}", f"{conditions}: {check.figure}")
        if (element := _ELEMENTS.get(check.outcome)) is not None:
            _because(case, element, words.said(check, limit))
        if measured := words.figures(check):
            ET.SubElement(case, "system-out").text = visible(measured)
    return _document(suite)


def nothing_junit(reason: str, task: str = "lab.compare") -> str:
    """The same where the two cannot be compared: one case, which is an error."""
    suite = _suite(task, tests=1, failures=0, errors=1, skipped=0)
    _because(_case(suite, "wsgilab", "the two can be compared"), "error", reason)
    return _document(suite)


def _suite(name: str, **counts: int) -> ET.Element:
    return ET.Element("testsuite", {"name": visible(name), **{key: str(count) for key, count in counts.items()}})


def _case(suite: ET.Element, class_name: str, name: str) -> ET.Element:
    # What is after the last dot of a class's name is shown as the class, and what is before it as its package.
    return ET.SubElement(suite, "testcase", classname=visible(class_name), name=visible(name))


def _because(case: ET.Element, element: str, reason: str) -> None:
    # GitLab shows the text, Jenkins the message and then the text. A `type` would be taken for that of a value by GitLab.
    ET.SubElement(case, element, message=visible(reason)).text = visible(reason)


def _document(suite: ET.Element) -> str:
    root = ET.Element("testsuites", {key: value for key, value in suite.attrib.items() if key != "skipped"})
    root.append(suite)
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=True)
    return written.decode("ascii") + "\n"
