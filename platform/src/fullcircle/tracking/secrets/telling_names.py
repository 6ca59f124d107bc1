"""Names that tell of a secret, and which values of such a name are one. Every rule is linear in its line."""

from __future__ import annotations

import re

MARKER = "fullcircle-masked-secret"
"""In the place of a secret; in a patch a number follows, the same for the same secret."""
TELLING_VALUE = "a value with a telling name"
_TELLING = (
    r"(?:passw(?:or)?d|passphrase|passwd|pwd|secret|token(?!i[sz])|credential|api[_.-]?key|access[_.-]?key|private[_.-]?key|"
    r"auth[_.-]?key|account[_.-]?key|routing[_.-]?key|service[_.-]?key|encryption[_.-]?key)"
)
_SHORT = r"(?<![A-Za-z])(?:pass_?|pw|_?auth)(?![\w.-])"
"""Telling where they are the whole name, or its last part: `DB_PASS`, and neither `passes` nor `author`."""
NAME = rf"(?i:{_TELLING}[\w.-]{{0,30}}|{_SHORT})"
"""From the telling word on: what stands before it would be tried anew at each character."""
_TEMPLATE = re.compile(r"env:\w+\W?|\^.*\$|\$?\{[^}]*\}|\$\w+|\$\([^)]*\)|<[^>]*>|%\(?\w*\)?s|\*+|x{3,}|\.{3,}|…")
_NOT_THE_VALUE = re.compile(
    r"(?i)(?:name|file|path|folder|dir|id|ids|type|env|var|variable|field|column|header|url|uri|endpoint|len|length|size|count|prefix|limit|ttl)$"
)
_PASSWORD = re.compile(r"(?i)secret|passw|passphrase|pwd|pass_?$")
_NUMBER = re.compile(r"[\d.,eE+-]+")
_PLACE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
"""In a list, or behind a name and a comma: the next variable that holds a secret, and not the secret."""
_SPEECH = re.compile(
    r"(?i)\b(?:a|an|and|are|at|be|by|can|cannot|do|enter|for|from|given|has|have|if|in|invalid|is|it|its|must|my|needed|new|no|"
    r"not|of|on|or|please|required|should|than|that|the|their|this|to|was|when|with|wrong|you|your)\b"
)
_SENTENCE = re.compile(r"[.:?!,;%()<>{}]")
_SHORTEST = 4
"""Fewer characters are tried in a second, whoever hides them; what stands there is a placeholder or a separator."""


def tells(name: str, value: str) -> bool:
    """Whether a value is the secret that its name speaks of, and not a count, a path to it, or a token of a text."""
    if _NOT_THE_VALUE.search(name) or is_template(value) or MARKER in value or len(value) < _SHORTEST:
        return False
    if value.lower() in ("true", "false", "none", "null", "yes", "no"):
        return False
    password = _PASSWORD.search(name)
    if _NUMBER.fullmatch(value) and not (password and value.isdigit()):
        return False
    if re.search(r"(?i)token|^_?auth$", name) and not password:
        return len(value) >= 16 and not re.search(r"\s", value) and bool(re.search(r"\d", value))
    return not re.search(r"\s.*\s", value) or _is_passphrase(name, value)


def is_template(value: str) -> bool:
    """Whether a value stands for another one: `${PASSWORD}`, `env:NAME`, `<password>`, `API_KEY`, `xxx`."""
    if _TEMPLATE.fullmatch(value) is not None:
        return True
    return _PLACE.fullmatch(value) is not None and re.search(NAME, value) is not None


def _is_passphrase(name: str, value: str) -> bool:
    """Whether several words behind the name of a password are one: words without the marks and the small words of a
    sentence, which is what a message about a password has.
    """
    return bool(
        re.search(r"(?i)(?:passw(?:or)?d|passphrase|pwd|secret)s?$", name)
        and not _SENTENCE.search(value)
        and not _SPEECH.search(value)
        and not re.search(NAME, value)
    )
