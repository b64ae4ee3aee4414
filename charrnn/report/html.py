"""The HTML elements of the report.

Each function returns HTML. Arguments called `html`, `wide_svg`, `narrow_svg`, `rows` and `css` are HTML too; all others
are plain text, which `text`, `attribute` and `line` escape.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from html import escape


def text(value: object) -> str:
    r"""Return plain text as HTML: markup and quotes are escaped, characters that HTML forbids are made visible.

    >>> text('<b> "é" \x07')
    '&lt;b&gt; &quot;é&quot; <span class="odd">U+0007</span>'
    """
    shown = (f'<span class="odd">{_name(c)}</span>' if _is_odd(c) else escape(c) for c in str(value))
    return "".join(shown)


def attribute(value: object) -> str:
    """Return plain text as the value of an attribute or a title, which cannot hold elements; see `text`."""
    return escape("".join(_name(character) if _is_odd(character) else character for character in str(value)))


def line(value: str) -> str:
    """Return a line of any script as HTML; a right-to-left line does not change the direction of its neighbours."""
    return f"<bdi>{text(value)}</bdi>" if value else '<span class="odd">empty</span>'


def section(title: str, *html: str) -> str:
    """Return a section of the page."""
    return f"<section>\n<h2>{text(title)}</h2>\n" + "\n".join(html) + "\n</section>"


def paragraph(value: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    return f'<p class="{kind}">{text(value)}</p>' if kind else f"<p>{text(value)}</p>"


def card(value: str, what: str, detail: str) -> str:
    """Return a number that is shown large, with a label and a detail."""
    return (
        f'<div class="card"><span class="what">{text(what)}</span><b>{text(value)}</b><span>{text(detail)}</span></div>'
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Return a table.

    Args:
        head: The heading of each column, plain text.
        rows: The cells of each row, HTML.
        numbers: The columns, from 0, that are aligned to the right.
    """
    kinds = [' class="number"' if column in numbers else "" for column in range(len(head))]
    first = "".join(f"<th{kind}>{text(name)}</th>" for kind, name in zip(kinds, head, strict=True))
    rest = [
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    ]
    return f'<div class="scroll"><table>\n<tr>{first}</tr>\n' + "\n".join(rest) + "\n</table></div>"


def facts(values: Mapping[str, str], kind: str = "rows") -> str:
    """Return labels with their values, one on each line ("rows") or side by side ("grid")."""
    pairs = (f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in values.items())
    return f'<dl class="{kind}">' + "".join(pairs) + "</dl>"


def figure(wide_svg: str, narrow_svg: str, described: str, caption: str = "") -> str:
    """Return a picture in two sizes, of which a screen shows one.

    Args:
        wide_svg: The picture for a wide screen.
        narrow_svg: The picture for a phone.
        described: The description for screen readers.
        caption: The text below the picture.
    """
    shapes = "".join(
        f'<div class="{kind}" role="img" aria-label="{attribute(described)}">{svg}</div>'
        for kind, svg in (("wide", wide_svg), ("narrow", narrow_svg))
    )
    return f"<figure>{shapes}<figcaption>{text(caption)}</figcaption></figure>"


def command(words: str) -> str:
    """Return a command to copy."""
    return f"<pre><code>{text(words)}</code></pre>"


def page(title: str, css: str, *html: str) -> str:
    """Return a whole document that needs no other file."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{attribute(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        + "\n".join(html)
        + "\n</body>\n</html>\n"
    )


def _is_odd(character: str) -> bool:
    """Return whether HTML forbids or hides a character: controls, line separators, surrogates, noncharacters."""
    is_forbidden = unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") or ord(character) & 0xFFFE == 0xFFFE
    return is_forbidden and character not in "\n\t"


def _name(character: str) -> str:
    return f"U+{ord(character):04X}"
