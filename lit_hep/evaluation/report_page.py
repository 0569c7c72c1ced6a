"""Pieces of a page of HTML that needs nothing but itself: tables, pictures, text, and the frame around them."""

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

_HERE = Path(__file__).parent
_LARGE = 60_000  # bytes of a picture above which its colours are counted out
_SCALE = 0.8  # of a picture's pixels on the page: its letters are then as large as the text
_LEAST = 0.5  # on a small screen, where it can be moved sideways: its letters can still be read


def page(title: str, lead: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page.

    Args:
        title: Of the page, text.
        lead: A sentence below it, text.
        sections: Headings, text, and their contents, HTML; without content a section is left out.
    """
    filled = [(heading, content) for heading, content in sections if content]
    anchors = [f"section-{heading.lower().replace(' ', '-')}" for heading, _ in filled]
    links = "".join(
        f'<li><a href="#{anchor}">{escape(heading)}</a></li>'
        for anchor, (heading, _) in zip(anchors, filled, strict=True)
    )
    body = "\n".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{escape(heading)}</h2>\n{content}</section>'
        for anchor, (heading, content) in zip(anchors, filled, strict=True)
    )
    parts = {name: (_HERE / f"report.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    return Template(parts["html"]).substitute(
        title=escape(title), lead=escape(lead), links=links, body=body, css=parts["css"], js=parts["js"]
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "", *, words: bool = False) -> str:
    """A table; the first column names the rows, the others are numbers or words.

    Args:
        header: Of the columns.
        rows: Cells, text.
        caption: Above the table, text.
        words: Whether cells are words, which may be broken anywhere.
    """
    breakable = (escape(cell).replace("_", "_<wbr>").replace("/", "/<wbr>") for cell in header)
    head = "".join(f'<th scope="col">{cell}</th>' for cell in breakable)
    body = "".join(
        f'<tr><th scope="row">{escape(str(first))}</th>'
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = ' class="words"' if words else ""
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption or header[0])}"><table{kind}>{named}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def paragraph(text: str) -> str:
    """A paragraph of text."""
    return f"<p>{escape(text)}</p>\n"


def preformatted(summary: str, text: str) -> str:
    """Text as it stands, to be unfolded.

    Args:
        summary: What is seen while it is folded.
        text: All of it.
    """
    return f'<details><summary>{escape(summary)}</summary><pre tabindex="0">{escape(text)}</pre></details>\n'


def picture(png: bytes, title: str, words: str) -> str:
    """A picture with its caption.

    Args:
        png: Its file.
        title: Of the picture, text.
        words: What it shows, for those who do not see it and as the caption, text.
    """
    small, width, height = _compact(png)
    source, alt = f"data:image/png;base64,{base64.b64encode(small).decode()}", escape(f"{title}: {words}")
    sentence = escape(words[:1].upper() + words[1:])
    return (
        f'<figure style="width:{round(_SCALE * width)}px"><div class="frame"><img src="{source}" width="{width}" '
        f'height="{height}" style="min-width:{round(_LEAST * width)}px" alt="{alt}"></div>'
        f"<figcaption><b>{escape(title)}.</b> {sentence}.</figcaption></figure>\n"
    )


def slider(counts: Mapping[str, Any], names: Sequence[str]) -> str:
    """A threshold to move, with the numbers that follow from it.

    Args:
        counts: Of `report_threshold.threshold_counts`.
        names: Of the two classes, text.
    """
    chosen, best = (f"{counts['threshold'][counts[kind]]:.4g}" for kind in ("chosen", "best"))
    numbers = json.dumps(counts, separators=(",", ":")).replace("<", "\\u003c")
    return Template((_HERE / "report_slider.html").read_text(encoding="utf-8")).substitute(
        last=len(counts["threshold"]) - 1,
        chosen=counts["chosen"],
        best=counts["best"],
        chosen_threshold=chosen,
        best_threshold=best,
        background=escape(names[0]),
        signal=escape(names[1]),
        numbers=numbers,
    )


def _compact(png: bytes) -> tuple[bytes, int, int]:
    """A PNG, of 256 colours if that makes it smaller, with its width and height."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        width, height = image.size
        if len(png) < _LARGE:
            return png, width, height
        colours = image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small = io.BytesIO()
    colours.save(small, format="PNG", optimize=True)
    return min(png, small.getvalue(), key=len), width, height
