"""Reads the reports of one run as strangers do, and says what they agree on.

Arguments: JSON, JUnit, HTML. Prints one line for each case; whatever is not as it should be is an
exception.
"""

import html.parser
import json
import sys
import xml.etree.ElementTree

VOID = {"meta", "br", "hr"}


class Page(html.parser.HTMLParser):
    """Every element is closed where it was opened, and nothing leads out of the page."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.rows, self.policy = [], {}, {}, None

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert tag not in ("script", "link", "img", "iframe", "object", "base"), tag
        for name, value in attrs.items():
            assert name not in ("src", "srcset", "style", "action"), (tag, name)
            assert not name.startswith("on"), (tag, name)
            assert name != "href" or value.startswith("#"), (tag, value)
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy":
            self.policy = attrs["content"]
        if tag == "tr" and "id" in attrs:
            self.rows[attrs["id"]] = {"outcome": attrs["class"], "pre": None, "claim": ""}
            self.row = attrs["id"]
        if tag == "pre":
            self.rows[self.row]["pre"] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            assert "url(" not in data and "@import" not in data, data
        if self.open[-1:] == ["pre"]:
            self.rows[self.row]["pre"] += data
        if self.open[-2:] == ["td", "p"]:
            self.rows[self.row]["claim"] += data


def same(what, one, other):
    assert one == other, f"{what}: {one!r} is not {other!r}"


def main(json_file, junit_file, html_file):
    report = json.load(open(json_file, encoding="utf-8"))
    suites = xml.etree.ElementTree.parse(junit_file).getroot()
    page = Page()
    page.feed(open(html_file, encoding="utf-8").read())
    page.close()
    same("what is left open", page.open, [])
    assert page.policy and page.policy.startswith("default-src 'none'"), page.policy

    same("root", suites.tag, "testsuites")
    (suite,) = list(suites)
    cases = {case["name"]: case for case in report["cases"]}
    junit = {case.get("name"): case for case in suite.iter("testcase")}
    for counted in (suites, suite):
        same("tests", int(counted.get("tests")), len(cases))
        same("failures", int(counted.get("failures")), report["totals"]["failed"])
        same("skipped", int(counted.get("skipped")), report["totals"]["skipped"])
        same("errors", int(counted.get("errors")), 0)
    same("cases of JUnit", set(junit), set(cases))
    same("cases of the page", set(page.rows), set(cases))
    for name, case in cases.items():
        outcome, reason = case["outcome"], case.get("reason")
        same(f"{name} in the page", page.rows[name]["outcome"], outcome)
        same(f"{name}'s claim", page.rows[name]["claim"], case["claim"])
        same(f"{name}'s class", junit[name].get("classname"), "conformance." + case["operation"])
        same(f"{name}'s time", round(float(junit[name].get("time")) * 1000), case["milliseconds"])
        told = list(junit[name])
        if outcome == "pass":
            same(f"{name} in JUnit", told, [])
        else:
            (child,) = told
            tag = "failure" if outcome == "fail" else "skipped"
            same(f"{name} in JUnit", child.tag, tag)
            same(f"{name}'s type", child.get("type"), outcome)
            for text in (child.text or "", page.rows[name]["pre"]):
                same(f"{name}'s reason", text, seen(reason))
        print(name, outcome)


def seen(text):
    """The text as a document shows it: what nobody could see is written out."""

    def one(char):
        code = ord(char)
        control = code < 32 and char not in "\n\t" or 127 <= code < 160
        turns = code in (0x200E, 0x200F) or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
        none = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
        return "\\u{%x}" % code if control or turns or none else char

    return "".join(map(one, text))


main(*sys.argv[1:])
