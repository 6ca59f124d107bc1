"""Escaping of untrusted text for the medium that shows it: HTML, Markdown, a terminal or log, a chat.

From outside is all that a stranger may have written: values in a request or in data, names of columns, files and
models, reasons, owners, commit messages, ids, and errors that quote any of these. What is stored stays as it came; it
is made harmless where it is shown, by the function of that medium, and stays readable. Pure.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

# Control characters (escape codes, newlines, NUL), line separators, what turns the direction of writing (Boucher and
# Anderson 2021, "Trojan Source"), what shows nothing, and halves of characters, which no file can hold.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_MENTION = re.compile(r"@(?=(?:everyone|here|channel|all|group|team|room)\b)|(?<![\w.+-])@(?=\w)", re.IGNORECASE)
_LINK = re.compile(r":(?=//)|(?<=\bmailto):|(?<=\bjavascript):|(?<=\bdata):(?=\w+/)", re.IGNORECASE)
_HOST = re.compile(r"(?<=\bwww)\.|(?<=[\w-])\.(?=[a-z]{2,24}[/?#]\S)", re.IGNORECASE)
_TAG = re.compile(r"<(?=[^\s\d=<.-])")
# An interval, [0.58, 0.64], is left as it is: with nothing behind it, it can be no link.
_EMPHASIS = re.compile(r"\[[-+\d., e%]+\](?![\[(:])|[\\`*\[\]]|~(?=~)|(?<![^\W_])_|_(?![^\W_])|!(?=\[)")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_BLOCK = re.compile(r"^(\s*)([#>+=~-]|\d{1,9}(?=[.)]))")


def visible(text: object, keep: str = "") -> str:
    r"""The text in one line, its hidden characters as Python writes them: `\x1b`, `\n`, `\u202e`.

    For a terminal or a log.

    Args:
        keep: hidden characters that may stay, such as a newline where the medium has several lines.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _spelled(found[0]), str(text))


def html_text(text: object) -> str:
    """The text as HTML text or as an attribute's value between quotes. Newlines and tabs stay."""
    return html.escape(visible(text, keep="\n\t"), quote=True)


def inert(text: object) -> str:
    """The text for a tool that writes it into HTML or a script unescaped: no character in it can open a tag there.

    `<` and `>` become the quotation marks that look like them.
    """
    return visible(text).replace("<", "\u2039").replace(">", "\u203a")


def disambiguated(texts: Iterable[str]) -> dict[str, str]:
    """Each text and how it is shown, `inert`: no two are shown as one, as what differs must not be counted together."""
    shown: dict[str, str] = {}
    distinct = list(dict.fromkeys(texts))
    # What needs no change keeps its name.
    taken = {text for text in distinct if inert(text) == text}
    for text in distinct:
        name, number = inert(text), 1
        while name != text and name in taken:
            number += 1
            name = f"{inert(text)} ({number})"
        taken.add(name)
        shown[text] = name
    return shown


def markdown(text: object) -> str:
    """The text as Markdown prose in one line: no emphasis, heading, link, image or HTML comes of it.

    Only what would mean something is escaped (CommonMark 0.31, section 2.4), so that the source stays readable.
    """
    shown = _ENTITY.sub("&amp;", _LINK.sub("[:]", visible(text)))
    shown = _EMPHASIS.sub(lambda found: found[0] if len(found[0]) > 1 else "\\" + found[0], shown)
    shown = _BLOCK.sub(_block, shown)
    # MLflow's renderer makes a link to GitHub of a mention, and knows no backslash before these.
    return _TAG.sub("&lt;", _MENTION.sub("&#64;", shown))


def markdown_code(text: object) -> str:
    """The text as a Markdown code span in one line: shown as it is, nothing in it means anything."""
    shown = visible(text)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", shown)), default=0) + 1)
    pad = " " if not shown or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def markdown_link(text: object, url: str) -> str:
    """A Markdown link, or the text and the address as code where the address is none to follow."""
    if (link := safe_link(url)) is None:
        return f"{markdown(text)} {markdown_code(url)}"
    escaped = re.sub(r"[\s<>()\[\]|\\`\"]", lambda found: f"%{ord(found[0]):02X}", link)
    return f"[{markdown(text)}]({escaped})"


def chat(text: object, most: int = 500) -> str:
    """The text for a chat or a mail in one line: it calls nobody (`@channel`, `<!here>`), and links nowhere.

    Args:
        most: characters; what is longer is cut and says so.
    """
    shown = visible(text)
    shown = shown if len(shown) <= most else f"{shown[:most]}... ({len(shown):,} characters)"
    shown = _MENTION.sub("\uff20", shown)  # looks like an @, and is none to any chat
    shown = _HOST.sub("[.]", _LINK.sub("[:]", shown))
    return _TAG.sub("\u2039", shown).replace("](", "] (")


def safe_link(url: str | None) -> str | None:
    """The address, if it leads to http(s), a file or a relative place; else None: no link runs a script."""
    if not url or _HIDDEN.search(url):
        return None
    try:
        scheme = urlsplit(url.strip()).scheme.lower()
    except ValueError:
        return None
    return url.strip() if scheme in ("", "http", "https", "file") else None


def figure_text(text: object, most: int) -> str:
    """The text for a picture, in one line.

    Args:
        most: characters; what is longer is cut and ends in an ellipsis.
    """
    shown = visible(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}\u2026"


def without_formulas(figure: Any) -> None:
    """In no text of a matplotlib figure are dollar signs mathematics: a category such as `$x^{$` could not be drawn."""
    for text in figure.findobj(lambda drawn: hasattr(drawn, "set_parse_math")):
        text.set_parse_math(False)


class LineFormatter(logging.Formatter):
    """A record is one line of a log, whatever its message quotes; a traceback has its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """The line, its hidden characters spelled out."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        """The traceback, its lines kept."""
        return visible(super().formatException(ei), keep="\n\t")


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _block(found: re.Match[str]) -> str:
    # A number is escaped at what follows it: "1." makes a list, "1\." does not.
    return f"{found[1]}{found[2]}\\" if found[2].isdigit() else f"{found[1]}\\{found[2]}"
