"""One self-contained page of HTML: tables, drawings as inline SVG and escaped text; it asks no network and runs no script.

A content security policy in the page itself forbids both, so that a page that somebody passes on stays what it was.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from html import escape
from itertools import groupby
from math import isnan

import pandas as pd

from engine.charts import Chart
from engine.views.export import flat
from engine.views.pictures import to_svg

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2524; --soft: #55605d; --line: #d8dedc; --paper: #ffffff; --tint: #f3f5f4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebe9; --soft: #a5b0ad; --line: #353d3b; --paper: #141716; --tint: #1e2322; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1320px; padding: 2rem 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 "Noto Sans", Inter, system-ui, "Segoe UI", Roboto, "Noto Sans Devanagari", "Kohinoor Devanagari", "Nirmala UI",
  sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { max-width: 80ch; margin: .4rem 0; overflow-wrap: anywhere; }
.soft, figcaption, footer { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { background: var(--tint); font-weight: 600; vertical-align: bottom; }
td.number, th.number { text-align: right; }
td.number { white-space: nowrap; }
.ours { background: #17897d22; }
tbody td:first-child { white-space: nowrap; }
.settings { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 0 1.5rem; margin: 0; }
.settings div { display: flex; gap: .8rem; justify-content: space-between; border-bottom: 1px solid var(--line); }
dt { color: var(--soft); }
dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
.facts th { font-weight: 600; white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
.drawings { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .6rem; break-inside: avoid; min-width: 0;
  overflow-x: auto; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
svg { display: block; width: 100%; min-width: 440px; height: auto; color: var(--ink); }
.warning { border-left: 4px solid #cf6d17; padding-left: .8rem; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .6rem; font-size: .9rem; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #333; --line: #bbb; --paper: #fff; --tint: #eee; }
  body { max-width: none; padding: 0; font-size: 11px; }
  .wide { overflow: visible; }
  svg { min-width: 0; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
}
"""
_DRAWN = 520
"""Pixels that a drawing is wide before the page fits it to its column."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def document(title: str, parts: Sequence[str], written: datetime) -> str:
    """Return the whole page; ``parts`` are HTML that the functions below have made."""
    name = escape(title)
    day = written.strftime("%d %B %Y, %H:%M %Z").strip()
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{name}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n"
        + "\n".join(part for part in parts if part)
        + f"\n</main>\n<footer>Written by Chhatni (छाटणी) on {escape(day)}. This page holds all it shows: it needs no "
        "network and runs no script.</footer>\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """Return the heading of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; ``kind`` is empty, ``soft`` or ``warning``."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Return a table of names and values, without those that are empty."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows if value
    )
    return f'<div class="wide"><table class="facts"><tbody>{lines}</tbody></table></div>'


def settings(rows: Sequence[tuple[str, str]]) -> str:
    """Return many short names and values, side by side where there is room."""
    pairs = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    return f'<dl class="settings">{pairs}</dl>'


def table(data: pd.DataFrame) -> str:
    """Return a table: numbers to the right, as many digits as a column needs, gaps as dashes, what is ours tinted."""
    one, cells, kinds = flat(data), [], []
    for place, name in enumerate(one.columns):
        number = pd.api.types.is_numeric_dtype(one.dtypes.iloc[place])
        kinds.append(" ".join((["number"] if number else []) + (["ours"] if str(name).startswith("Ours: ") else [])))
        cells.append(_column(one.iloc[:, place].tolist()))
    rows = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{escape(cell)}</td>' for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in zip(*cells, strict=True)
    )
    return f'<div class="wide"><table><thead>{_head(data, kinds)}</thead><tbody>{rows}</tbody></table></div>'


def _head(data: pd.DataFrame, kinds: Sequence[str]) -> str:
    """Return the row of column names, under a row of groups where columns have two levels."""
    names, groups = [str(name) for name in flat(data).columns], ""
    if isinstance(data.columns, pd.MultiIndex):
        first = [str(levels[0]) for levels in data.columns]
        before = [""] * (len(names) - len(first))
        names = before + [str(levels[-1]) for levels in data.columns]
        for group, members in groupby(before + first):
            groups += f'<th scope="colgroup" colspan="{len(list(members))}">{escape(group)}</th>'
        groups = f"<tr>{groups}</tr>"
        names[: len(before)] = [str(data.index.name)] * len(before)
    cells = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}</th>' for name, kind in zip(names, kinds, strict=True)
    )
    return f"{groups}<tr>{cells}</tr>"


def drawings(charts: dict[str, Chart]) -> str:
    """Return charts as figures, title above drawing, in the ink of the page."""
    figures = []
    for place, (title, chart) in enumerate(charts.items()):
        drawing = _own_names(to_svg(chart, width=_DRAWN, ink="currentColor", background=None), f"d{place}")
        figures.append(f"<figure><figcaption>{escape(title)}</figcaption>{drawing}</figure>")
    return f'<div class="drawings">{"".join(figures)}</div>' if figures else ""


def _own_names(drawing: str, prefix: str) -> str:
    """Give what a drawing names inside itself names of its own: a page has one space of names for all its drawings."""
    names = set(re.findall(r'\bid="([^"]+)"', drawing))
    for name in sorted(names, key=len, reverse=True):
        drawing = drawing.replace(f'id="{name}"', f'id="{prefix}-{name}"')
        drawing = drawing.replace(f"url(#{name})", f"url(#{prefix}-{name})").replace(
            f'"#{name}"', f'"#{prefix}-{name}"'
        )
    return drawing


def _column(values: Sequence[object]) -> list[str]:
    """Write the values of one column with equally many digits."""
    numbers = [abs(value) for value in values if isinstance(value, float) and not isnan(value)]
    form = "{:,.2f}" if numbers and max(numbers) >= 1 else "{:.6f}"
    if all(number.is_integer() for number in numbers):
        form = "{:,.0f}"
    return [_cell(value, form) for value in values]


def _cell(value: object, form: str) -> str:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return form.format(value)
    if isinstance(value, datetime):
        return value.strftime("%d %b %Y, %H:%M")
    return f"{value:,}" if isinstance(value, int) else str(value)
