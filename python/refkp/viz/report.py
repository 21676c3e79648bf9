"""A self-contained HTML report: headings, text, tables and pictures in one file that opens anywhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refkp._files import write_text
from refkp.viz.figures import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f4f5f7; color: #1c2330; font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px; }
header { background: #14213d; color: #fff; }
header div { max-width: 1080px; margin: 0 auto; padding: 36px 24px 28px; }
header h1 { margin: 0 0 6px; font-size: 32px; letter-spacing: -0.01em; }
header p { margin: 0; color: #c9d3e6; }
section { background: #fff; border-radius: 10px; padding: 22px 28px 26px; margin-top: 22px; }
section { box-shadow: 0 1px 3px #0002; }
h2 { margin: 0 0 8px; font-size: 21px; }
p { margin: 8px 0; max-width: 78ch; }
figure { margin: 18px 0 4px; }
figure img { width: 100%; border-radius: 6px; display: block; }
figcaption { color: #5a6577; font-size: 14px; margin-top: 6px; }
table { border-collapse: collapse; margin: 14px 0 6px; font-size: 15px; }
th, td { padding: 6px 18px 6px 0; text-align: left; border-bottom: 1px solid #e4e7ec; }
th { color: #5a6577; font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.numbers { display: flex; flex-wrap: wrap; gap: 14px; margin: 14px 0 4px; }
.numbers div { background: #eef2f8; border-radius: 8px; padding: 12px 20px; }
.numbers b { display: block; font-size: 26px; line-height: 1.2; }
.numbers span { color: #5a6577; font-size: 14px; }
code { background: #eef2f8; padding: 1px 5px; border-radius: 4px; }
"""


class Report:
    """Collects sections in order and writes them as one HTML file.

    Text is escaped; pictures are embedded, so the file has no companions.
    """

    def __init__(self, title: str, subtitle: str) -> None:
        self._title, self._subtitle = title, subtitle
        self._parts: list[str] = []

    def section(self, title: str) -> None:
        """Start a section; what follows belongs to it."""
        self._parts.append(f"{'</section>' if self._parts else ''}<section><h2>{html.escape(title)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def numbers(self, values: Sequence[tuple[str, str]]) -> None:
        """Large figures side by side: (value, what it is)."""
        cells = (f"<div><b>{html.escape(v)}</b><span>{html.escape(what)}</span></div>" for v, what in values)
        self._parts.append(f'<div class="numbers">{"".join(cells)}</div>')

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> None:
        """A table of texts; columns after the first `text_columns` are set as numbers."""
        head = "".join(_cell("th", text, index >= text_columns) for index, text in enumerate(columns))
        lines = ([_cell("td", text, index >= text_columns) for index, text in enumerate(row)] for row in rows)
        body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in lines)
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def figure(self, figure: Figure, caption: str) -> None:
        """A matplotlib figure as an embedded PNG."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
        data = base64.b64encode(buffer.getvalue()).decode()
        alt = html.escape(caption, quote=True)
        self._parts.append(
            f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"><figcaption>{alt}</figcaption></figure>'
        )

    def write(self, path: str | Path) -> Path:
        """Write the file whole or not at all; returns its path."""
        path = Path(path)
        title, subtitle = html.escape(self._title), html.escape(self._subtitle)
        body = "\n".join(self._parts) + ("</section>" if self._parts else "")
        text = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
            f"<header><div><h1>{title}</h1><p>{subtitle}</p></div></header><main>{body}</main></body></html>"
        )
        write_text(path, text)
        return path


def _cell(tag: str, text: str, is_number: bool) -> str:
    kind = ' class="number"' if is_number else ""
    return f"<{tag}{kind}>{html.escape(text)}</{tag}>"
