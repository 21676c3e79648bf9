"""The HTML report: well formed, escaped, self-contained."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest

from refkp.viz.figures import write_figure
from refkp.viz.report import Report

VOID = {"meta", "img"}


class Outline(HTMLParser):
    """Tags with their attributes and the text between them; checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))


def test_sections_texts_and_tables_come_in_order(tmp_path: Path) -> None:
    report = Report("A & B", "one <machine>")
    report.section("First")
    report.text("x < y & z")
    report.numbers([("7", "views")])
    report.section("Second")
    report.table(("op", "ms"), [("warp", "1.5")])
    path = report.write(tmp_path / "new" / "report.html")
    outline = Outline(path.read_text())
    assert [text for tag, text in outline.texts if tag == "h2"] == ["First", "Second"]
    for entry in (("h1", "A & B"), ("p", "one <machine>"), ("p", "x < y & z"), ("b", "7"), ("td", "1.5")):
        assert entry in outline.texts
    cells = [attributes.get("class") for tag, attributes in outline.tags if tag in ("th", "td")]
    assert cells == [None, "number", None, "number"]
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_report_is_well_formed(tmp_path: Path) -> None:
    Outline(Report("title", "subtitle").write(tmp_path / "report.html").read_text())


def test_pictures_are_inside(tmp_path: Path) -> None:
    figures = pytest.importorskip("matplotlib.figure", reason="needs the extra `viz`")
    report = Report("title", "subtitle")
    report.section("Pictures")
    report.figure(figures.Figure(figsize=(1, 1)), 'a "quoted" caption')
    outline = Outline(report.write(tmp_path / "report.html").read_text())
    (image,) = (attributes for tag, attributes in outline.tags if tag == "img")
    kind, _, data = (image["src"] or "").partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert image["alt"] == 'a "quoted" caption'


def test_a_figure_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="needs the extra `viz`").Figure(figsize=(2, 1))
    path = tmp_path / "new" / "figure.png"
    write_figure(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    before = path.read_bytes()
    figure.savefig = lambda *_, **__: 1 / 0
    with pytest.raises(ZeroDivisionError):
        write_figure(figure, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
