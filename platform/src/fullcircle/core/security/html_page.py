"""HTML pages with a Content-Security-Policy that lets nothing run but what we wrote. Pure.

The policy stands in the page, not in a header, since pages are opened from a folder or from MLflow's artifacts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html.parser import HTMLParser

from fullcircle.core.security.untrusted import html_text

_FRAME_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; display: flex; flex-direction: column; height: 100vh; font: 15px/1.5 system-ui, sans-serif; }
header { padding: 12px 24px; border-bottom: 1px solid #8884; }
h1 { font-size: 18px; margin: 0; } p { margin: 2px 0 0; }
iframe { flex: 1; width: 100%; border: 0; background: #fff; }
"""


def html_page(title: str, body: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = ()) -> str:
    """A whole page. It asks nothing of the network.

    Args:
        title: text.
        body: HTML, in which text from outside is escaped already.
        styles, scripts: what the page may use, by its text. Ours, never taken from a body that is written already:
            whatever else ends up in the body does not run, nor is a `style="..."` in it obeyed.
    """
    return _page(title, body, styles, scripts=_hashes(scripts), style_source=_hashes(styles), end=_scripts(scripts))


def framed_page(title: str, summary: str, inner: str) -> str:
    """A page around another tool's page, in a frame without rights: its scripts run, and reach nothing.

    The frame has no origin: no storage, no cookie, no way to what serves the page, no form, window or download. It
    inherits this page's policy: no connection, and no script but those that `inner` holds.

    Args:
        title, summary: text, above the frame.
        inner: the tool's page as HTML. Text from outside must be harmless in it already; see `untrusted.inert`.
    """
    found = _Scripts()
    found.feed(inner)
    found.close()
    header = f"<header><h1>{html_text(title)}</h1><p>{html_text(summary)}</p></header>"
    frame = f'<iframe sandbox="allow-scripts" title="{html_text(title)}" srcdoc="{_attribute(inner)}"></iframe>'
    # Such a page writes its styles while it runs. A style runs nothing and, without a connection, tells nobody.
    return _page(
        title, f"{header}\n{frame}", (_FRAME_STYLE,), scripts=_hashes(found.texts), style_source="'unsafe-inline'"
    )


def _page(title: str, body: str, styles: Sequence[str], *, scripts: str, style_source: str, end: str = "") -> str:
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {style_source}; img-src data: blob:; font-src data:; "
        "connect-src 'none'; frame-src 'none'; base-uri 'none'; form-action 'none'"
    )
    head = "".join(f"<style>{style}</style>\n" for style in styles)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html_text(title)}</title>\n{head}</head>\n<body>\n{body}\n{end}</body>\n</html>\n"
    )


def _scripts(texts: Sequence[str]) -> str:
    return "".join(f"<script>{text}</script>\n" for text in texts)


def _hashes(texts: Sequence[str]) -> str:
    """The texts as sources of a policy (CSP level 3, section 2.3.1), `'none'` when there are none."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"


def _attribute(page: str) -> str:
    # Between quotes these two suffice, and megabytes of script do not grow.
    return page.replace("&", "&amp;").replace('"', "&quot;")


class _Scripts(HTMLParser):
    """The texts of a page's inline scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.texts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script"
        if self._inside:
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False
