"""Text from outside is harmless in each medium, and still read as what it was."""

from __future__ import annotations

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fullcircle.core.security.untrusted import (
    chat,
    disambiguated,
    html_text,
    inert,
    markdown,
    markdown_code,
    markdown_link,
    safe_link,
    visible,
)

ANY = st.text(st.characters(), max_size=60) | st.text("<>&\"'`*_[]()!|\\~#-+=1.)@:/ \n\x1b\u202ea", max_size=40)
"""All characters there are, halves of characters included, and those that mean something somewhere more often."""
RENDERED = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@given(ANY)
def test_a_line_stays_a_line_and_holds_no_control_and_no_turned_writing(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", shown)
    shown.encode("utf-8")
    assert visible(shown) == shown


@given(ANY)
def test_html_reads_as_the_text_and_holds_no_tag(text: str) -> None:
    shown = html_text(text)
    assert not set(shown) & set("<>\"'")
    assert html.unescape(shown) == visible(text, keep="\n\t")


@given(st.lists(ANY, max_size=8))
def test_no_two_texts_become_one_and_none_can_open_a_tag(texts: list[str]) -> None:
    shown = disambiguated(texts)
    assert set(shown) == set(texts)
    assert len(set(shown.values())) == len(shown)
    assert not [text for text in shown.values() if set(text) & set("<>\n\0")]


def test_names_that_differ_in_their_brackets_alone_stay_apart_and_plain_ones_stay_as_they_are() -> None:
    assert disambiguated(["<a>", "\u2039a\u203a", "plain"]) == {
        "<a>": "\u2039a\u203a (2)", "\u2039a\u203a": "\u2039a\u203a", "plain": "plain",
    }  # fmt: skip


@given(ANY)
def test_markdown_prose_renders_as_its_own_text_in_one_paragraph(text: str) -> None:
    """Whatever stands before it on the line: a word, nothing, a list's dash or a table's bar."""
    for before in ("said: ", "", "- "):
        shown = RENDERED.render(before + markdown(text))
        assert not re.search(r"<(?!/?(?:p|ul|li)>)", shown), shown
        assert "\n\n" not in shown


@pytest.mark.parametrize("text", ["&lt;img src=x&gt;", "@channel", "a & b", "&#60;"])
def test_markdown_has_no_entity_and_no_mention_for_a_renderer_that_knows_no_backslash_before_them(text: str) -> None:
    shown = markdown(text)
    assert "\\" not in shown and "@" not in shown
    assert html.unescape(re.sub(r"</?p>|\n$", "", RENDERED.render(shown))) == text


@given(ANY)
def test_markdown_code_renders_as_one_code_span_with_the_text(text: str) -> None:
    shown = RENDERED.render(f"said: {markdown_code(text)}.")
    found = re.fullmatch(r"<p>said: <code>(.*)</code>\.</p>\n", shown)
    assert found is not None, shown
    assert html.unescape(found[1]).strip() == visible(text).strip()


@pytest.mark.parametrize(
    "text",
    ["roc_auc of v_2 is 0.61 [0.58, 0.64], p < 0.05", "a & b", "dep_time > 5", "5 * 3", "1. first", "AT&T", "C:\\data"],
)
def test_ordinary_prose_renders_as_it_was_written(text: str) -> None:
    assert re.sub(r"</?p>|\n$", "", RENDERED.render(markdown(text))) == html.escape(text, quote=False)


@given(ANY)
def test_a_markdown_link_leads_where_it_says_or_nowhere(text: str) -> None:
    shown = RENDERED.render(markdown_link(text, "http://127.0.0.1:5000/#/runs/1"))
    assert re.findall(r'href="([^"]*)"', shown) == ["http://127.0.0.1:5000/#/runs/1"]
    assert "<a" not in RENDERED.render(markdown_link(text, "javascript:alert(1)"))
    assert len(re.findall("<a ", RENDERED.render(markdown_link("here", f"https://a.example/{text}")))) <= 1


@pytest.mark.parametrize(
    "text",
    [
        *("@channel", "a@everyone", "<!here>", "<@U024BE7LH>", "@bob", "<#C1|x>", "<https://evil.example|log in>"),
        *("@room", "https://evil.example", "[log in](https://evil.example)", "www.evil.example", "evil.example/login"),
        *("a\u202eb", "x\nOwner: ceo", "javascript:alert(1)"),
    ],
)
def test_a_chat_calls_nobody_and_links_nowhere(text: str) -> None:
    shown = chat(text)
    assert not re.search(
        r"@(?:channel|everyone|here|room|bob)|<[!@#h]|://|\]\(|www\.|\w\.\w+/|\n|\u202e|javascript:", shown
    )
    assert re.sub(r"\W", "", shown)  # and still says something


@pytest.mark.parametrize(
    "text", ["team@example.com", "ROC AUC is 0.61, p < 0.05", "dep_delay: 31.2% missing", "model.v2 / 3", "a <- b"]
)
def test_a_chat_gets_ordinary_words_as_they_are(text: str) -> None:
    assert chat(text) == text


def test_a_chat_gets_no_megabyte() -> None:
    assert chat("x" * 1_000_000).endswith("xx... (1,000,000 characters)")
    assert len(chat("x" * 1_000_000)) < 600


def test_what_a_tool_writes_into_a_script_closes_none(hostile: str) -> None:
    assert not set(inert(hostile)) & set("<>\n\x1b")
    assert "console.log(31337)" in inert(hostile)


@pytest.mark.parametrize(
    ("url", "kept"),
    [("https://a.example/x", True), ("x/y.html", True), ("file:///x", True), ("data:text/html,x", False), ("", False),
     ("JavaScript:alert(1)", False), ("java\nscript:alert(1)", False), ("\x01javascript:alert(1)", False),
     ("http://[", False), ("vbscript:x", False), (None, False)],
)  # fmt: skip
def test_only_links_that_run_nothing_are_kept(url: str | None, kept: bool) -> None:
    assert (safe_link(url) is not None) == kept
