"""Building blocks of a report: text, numbers, tables, figures and sections as HTML, and the page's style."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_METRICS = ("accuracy", "nll", "ece", "brier", "aurc")
_NUMERIC = ' class="n"'

CSS = """
:root { color-scheme: light dark; --page: #fff; --card: #f3f5f8; --ink: #1b2026; --muted: #5f6873; --grid: #d5dae1;
  --first: #0b62b8; --second: #b8480a; --good: #1a7f37; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1f242a; --ink: #e7eaee; --muted: #9ba5b0;
  --grid: #39404a; --first: #6db3ff; --second: #ffa25c; --good: #56d364; --bad: #ff8f86; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
.verdict { border-left: .35rem solid var(--muted); background: var(--card); padding: .8rem 1rem; font-size: 1.1rem; }
.verdict.better { border-color: var(--good); } .verdict.worse { border-color: var(--bad); }
.verdict p { margin: 0; } .verdict p + p { margin-top: .5rem; font-size: .95rem; color: var(--muted); }
.scroll { overflow-x: auto; container-type: inline-size; }
a { color: var(--first); }
:focus-visible { outline: 3px solid var(--first); outline-offset: 2px; }
.skip { position: absolute; left: -100vw; } .skip:focus { position: static; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
nav ul { list-style: none; margin: 1rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0 1.1rem; }
nav a { display: inline-block; padding: .3rem 0; font-size: .9rem; }
.gallery { list-style: none; margin: .6rem 0 1.2rem; padding: 0; display: grid; gap: .7rem 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
.gallery > li { display: flex; gap: .7rem; align-items: flex-start; font-size: .88rem; line-height: 1.4; }
.gallery img { flex: none; width: 72px; height: 72px; object-fit: contain; image-rendering: pixelated;
  border: 1px solid var(--muted); }
.gallery p, .gallery ul { margin: 0; padding: 0; list-style: none; }
.right > span { color: var(--good); } .wrong > span { color: var(--bad); }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-bottom: .4rem; }
caption span { display: block; position: sticky; left: 0; max-width: 100cqi; }
.tables { display: grid; gap: 1.5rem 3rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
.results td, td.n { white-space: nowrap; } .results th[scope=row] { min-width: 7rem; max-width: 18rem; }
.side { display: grid; gap: 1.5rem 2.5rem; }
@media (min-width: 60rem) { .side { grid-template-columns: 24rem 1fr; } }
.side > * { min-width: 0; }
.scroll + .scroll, .side + .scroll, .figures + .scroll, dl + .scroll, p + .scroll, ul + .scroll { margin-top: 1.4rem; }
th { overflow-wrap: break-word; } th.n, td.n { text-align: right; }
tr.member th { color: var(--second); } tr.top { background: var(--card); }
.figures { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
dt { font-weight: 600; color: var(--second); } dd { margin: 0 0 .6rem; max-width: 48rem; }
figure { margin: 0; } figure svg { display: block; width: 100%; height: auto; max-width: 34rem; }
figure svg text { font-family: system-ui, sans-serif !important; }
figcaption, .note { font-size: .88rem; color: var(--muted); }
.shared { color: var(--first); } .differs { color: var(--second); }
pre { background: var(--card); padding: .8rem; white-space: pre-wrap; } details { margin: .6rem 0; }
summary { cursor: pointer; }
@media (max-width: 40rem) {
  table { font-size: .82rem; } th, td { padding: .3rem .4rem; }
  .results th[scope=row] { max-width: 7.5rem; overflow-wrap: anywhere;
    position: sticky; left: 0; background: var(--page); }
}
"""


def esc(value: object) -> str:
    return html.escape(clean(value))


def fixed(value: Any, digits: int = 4, percent: bool = False) -> str:
    """Write a number, or a dash where there is none."""
    found = number(value)
    if found is None:
        return "–"
    return f"{found:.2%}" if percent else f"{found:.{digits}f}"


def plain(value: Any) -> str:
    """Write a value from a settings or data mapping in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value[:12]) + (" …" if len(value) > 12 else "")
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def table(caption: str, head: Sequence[str], rows: Iterable[str], name: str = "plain", scrolls: bool = True) -> str:
    """Lay out a table whose head's numeric columns start with "#"; `rows` are finished <tr> elements.

    One that `scrolls` can be reached and scrolled by the keyboard; another must fit any page.
    """
    heads = [(text.removeprefix("#"), _NUMERIC if text.startswith("#") else "") for text in head]
    cells = "".join(f'<th scope="col"{numeric}>{esc(text)}</th>' for text, numeric in heads)
    focus = f' role="region" tabindex="0" aria-label="{esc(caption)}"' if scrolls else ""
    return (
        f'<div class="scroll"{focus}><table class="{name}">'
        f"<caption><span>{esc(caption)}</span></caption><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(head: object, cells: Iterable[tuple[str, bool]], name: str = "") -> str:
    """Lay out a table row: its heading, then (text, whether it is a number) cells."""
    body = "".join(f"<td{_NUMERIC if numeric else ''}>{esc(text)}</td>" for text, numeric in cells)
    return f'<tr class="{name}"><th scope="row">{esc(head)}</th>{body}</tr>'


def pairs(caption: str, pairs: Mapping[str, Any]) -> str:
    rows = [row(key, [(plain(value), False)]) for key, value in pairs.items()]
    return table(caption, ("what", "value"), rows, scrolls=False)


def figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{esc(caption)}</figcaption></figure>"


def section(title: str, *parts: str) -> str:
    body = "\n".join(part for part in parts if part)
    anchor = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f'<section id="part-{anchor}">\n<h2>{esc(title)}</h2>\n{body}\n</section>' if body else ""


def document(title: str, opening: str, sections: Iterable[str], style: str = "") -> str:
    """Lay out a whole page: a link past the contents, the title, what comes first, the contents, the sections.

    Args:
        title: The title, as text.
        opening: HTML between title and contents.
        sections: As of `section`; empty ones are left out.
        style: CSS after that of every report.
    """
    body = "\n".join(part for part in sections if part)
    listed = re.findall(r'<section id="([^"]*)">\n<h2>(.*?)</h2>', body)
    links = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for anchor, name in listed)
    contents = f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if len(listed) > 1 else ""
    first = f'<a class="skip" href="#{listed[0][0]}">Skip to the first section</a>' if listed else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{esc(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{CSS}{style}</style>
</head>
<body>
{first}
<main>
<h1>{esc(title)}</h1>
{opening}
{contents}
{body}
</main>
</body>
</html>
"""


def metric_cells(metrics: Mapping[str, Any] | None) -> list[tuple[str, bool]]:
    return [(fixed((metrics or {}).get(key), percent=key == "accuracy"), True) for key in _METRICS]


def _count(value: Any) -> str:
    found = number(value)
    return "–" if found is None else f"{found:.0f}"


def number(value: Any) -> float | None:
    """Give a finite number as a float, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def clean(value: object) -> str:
    """Text in which every character can be written to a page: no control characters, no lone surrogates."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def short(value: object, width: int = 14) -> str:
    text = clean(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in what should be a list of them."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []
