"""Secret scanning: finds passwords, tokens and keys, and masks them. Nothing is sent anywhere.

The shapes of providers' tokens are those of detect-secrets; beside these count passwords in URLs, values with telling
names, blocks of private keys, and, in code, strings that look random. Every rule looks at one line and is linear in it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fullcircle.tracking.secrets.credential_lines import in_credential_lines
from fullcircle.tracking.secrets.listed_values import listed
from fullcircle.tracking.secrets.telling_names import MARKER, NAME, TELLING_VALUE, VARIABLE, is_template, tells

_NOTIFIERS = (
    "slack|discord|tgram|msteams|pagerduty|opsgenie|pover|pbul|mailgun|sendgrid|twilio|gchat|mmost|mmosts|rocket|rockets|"
    "wxteams|webex|gotify|gotifys|ntfy|ntfys|matrix|matrixs|workflows?|workflow|signal|signals|victorops|spugpush|join|"
    "ifttt|pushy|prowl|simplepush|strmlabs|flock|ryver|zulip|guilded|lametric|sns|ses"
)
_BEHIND_A_COMMA = re.compile(
    rf"({NAME})['\"]\s{{0,9}}(?:,|\svalue\s{{0,3}}=)\s{{0,9}}(?:default\s{{0,3}}=\s{{0,3}})?"
    r"[rbfuRBFU]{0,2}(['\"])(?P<value>[^'\"\n]{6,300})\2"
)
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a password in a URL", re.compile(r"(?<!http)(?<!https)://[^\s:/@'\"<>]{0,100}:([^\s'\"<>]{1,300})@")),
    # A port and a path with an @ in it are no password there.
    ("a password in a URL", re.compile(r"(?:http|https)://[^\s:/@'\"<>]{0,100}:(?!\d{1,5}/)([^\s'\"<>]{1,300})@")),
    ("a token in a URL", re.compile(r"://([^\s:/@'\"<>]{16,200})@")),
    (
        "a token in a URL",
        re.compile(
            r"(?i)[?&;](?:access_?token|token|api_?key|key|auth|sig|signature|password|passwd|pwd|secret|client_secret|"
            r"x-amz-signature|x-amz-security-token)=([^&\s'\"<>#]{4,300})"
        ),
    ),
    ("a notification's address", re.compile(rf"\b(?:{_NOTIFIERS})://([^\s'\"<>]{{6,300}})")),
    (
        "a webhook's address",
        re.compile(r"(?i)https?://[\w.:-]{1,100}/(?:[\w./-]{0,60}/)?(?:web)?hooks?(?:b2)?/([\w@./-]{16,300})"),
    ),
    ("credentials", re.compile(r"(?i)\b(?:bearer|basic)\s{1,3}([\w.~+/-]{16,500}={0,2})")),
    (
        TELLING_VALUE,
        re.compile(
            # A list's first, and what stands in another text, where quotes are escaped: the cell of a notebook.
            rf"({NAME})\\?['\"\]]{{0,2}}\s{{0,9}}(?::\s{{0,3}}[\w.|\[\] ]{{1,40}}(?==))?(?::=|=>|==|!=|=|:)\s{{0,9}}"
            r"[\[({]?[rbfuRBFU]{0,2}(\"{3}|'{3}|\\{0,3}['\"])(?P<value>[^'\"\n]{1,300}?)\2"
        ),
    ),
    (
        TELLING_VALUE,
        re.compile(rf"(?m)^[+\- ]?ENV\s{{1,9}}\w{{0,40}}?({NAME})\s{{1,9}}(?P<value>[^\s='\"]{{4,300}})"),
    ),
    (TELLING_VALUE, re.compile(rf"<[\w.-]{{0,30}}?({NAME})>(?P<value>[^<>\n]{{1,300}})</")),
    (
        "a password behind a user's name",
        re.compile(
            r"(?i)auth\s{0,3}(?:=\s{0,3})?\(\s{0,3}['\"][^'\"\n]{1,100}['\"]\s{0,3},\s{0,3}['\"]([^'\"\n]{1,300})['\"]"
        ),
    ),
    (
        "a password behind a user's name",
        re.compile(r"\s(?:-u|--user)[ =]['\"]?[^\s:'\"/]{1,100}:(?!\d+\b)([^\s'\"]{4,300})"),
    ),
    (TELLING_VALUE, _BEHIND_A_COMMA),
    (TELLING_VALUE, re.compile(rf"--[\w-]{{0,30}}?({NAME})[ =](?P<value>[^\s'\"-][^\s'\"]{{3,300}})")),
)  # fmt: skip
_UNQUOTED = re.compile(
    rf"^[+\- ]?\s{{0,20}}(?:(?:export|ENV|ARG|set)\s{{1,9}}|- )?[\w.-]{{0,40}}?({NAME})"
    r"\s{0,3}(?::=|\?=|[:=])\s{0,3}(?P<value>[^\s'\"#,\[\](){}][^\s'\",\[\](){}]{3,300})(?=\s|$)",
    re.MULTILINE,
)
"""In files that are configuration: in code, what stands there without quotes is no literal."""
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_LONGEST_KEY = 20_000
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{16,}")
_RANDOM = re.compile(r"(?<=['\"=: ])[A-Za-z0-9+/_-]{24,200}={0,2}(?=['\"\s,;]|$)", re.MULTILINE)
_HEX = re.compile(r"[0-9a-fA-F-]+")
_HASH = re.compile(r"(?i)(?:sha\d+|md5)[-_:]?$")
_DIGESTS = ("sha1-", "sha256-", "sha384-", "sha512-")
_CHUNK = re.compile(r"[A-Za-z0-9]+")
_MIN_ENTROPY_BITS, _MIN_CHANGES = 3.9, 0.38
_CONFIGURATION = (
    ".env",
    ".yaml",
    ".yml",
    ".ini",
    ".cfg",
    ".conf",
    ".toml",
    ".properties",
    ".sh",
    ".tfvars",
    ".dvc",
    ".lock",
)
_CONFIGURES = ("Dockerfile", "Containerfile", "Makefile", "kubeconfig", "credentials", "config", "_netrc", "pgpass")
"""Configuration by the whole name; so is whatever begins with a dot, such as `.netrc`."""
_TEXTS = (*_CONFIGURATION, ".py", ".txt", ".md", ".json", ".log", ".ipynb", ".diff", ".patch")
LARGEST_TEXT = 4_000_000
_MORE = (
    ("a JSON Web Token", re.compile(r"\beyJ[\w=-]{10,2000}\.[\w=-]{4,4000}\.[\w+/=-]{0,2000}")),  # theirs is quadratic
    (
        "a token",
        re.compile(
            r"\b(?:github_pat_\w{20,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,}|sk-[\w-]{20,}|AIza[\w-]{35}|dapi[0-9a-f]{32})"
        ),
    ),
)
"""Shapes that came up since."""


@dataclass(frozen=True, kw_only=True)
class Secret:
    """Where one is: characters `start` to `end` of the text that was looked at, and what it is, as a phrase."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class MaskedSecret:
    """A secret that was masked, without the secret itself.

    Attributes:
        file: its path in the checkout, or the artifact.
        line: in that file as it was then, from 1 on.
        number: of the marker; two of one number were the same secret.
        lost: whether nothing but the patch had it; else the commit has it, too.
    """

    file: str
    line: int
    kind: str
    number: int = 0
    lost: bool = True

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}" if self.line else self.file


def secrets_in(text: str, *, name: str = "", guess: bool = False) -> tuple[Secret, ...]:
    """The secrets of a text, in order, none overlapping another.

    Args:
        name: of the file that it is from: in configuration, values stand without quotes.
        guess: take strings that look random for secrets, too. Digests in hex, UUIDs and base64 of a hash never are.
    """
    found = [
        *_by_rules(text), *_by_shape(text), *_keys(text),
        *(_unquoted(text) if _is_configuration(name) else ()),
        *(Secret(start=at, end=end, kind=TELLING_VALUE) for at, end in listed(text, yaml=_is_configuration(name))),
        *(Secret(start=at, end=end, kind=kind) for at, end, kind in in_credential_lines(text, name)),
        *(_random(text) if guess else ()),
    ]  # fmt: skip
    kept: list[Secret] = []
    for each in sorted(found, key=lambda one: (one.start, -one.end)):
        if (
            each.end > each.start
            and (not kept or each.start >= kept[-1].end)
            and MARKER not in text[each.start : each.end]
        ):
            kept.append(each)
    return tuple(kept)


def masked(text: str, *, name: str = "") -> tuple[str, tuple[str, ...]]:
    """(the text with `MARKER` in the place of each secret, what each was). For text that is no code."""
    found = secrets_in(text, name=name)
    return replaced(text, ((each, MARKER) for each in found)), tuple(each.kind for each in found)


def masked_file(path: Path) -> tuple[str, tuple[str, ...]]:
    """As `masked`, of a file that is a text of at most `LARGEST_TEXT` bytes by its name; nothing of any other."""
    name = path.name
    if not name.endswith(_TEXTS) and not _is_configuration(name):
        return "", ()
    try:
        if path.stat().st_size > LARGEST_TEXT:
            return "", ()
        return masked(path.read_bytes().decode(), name=name)
    except (OSError, UnicodeDecodeError):
        return "", ()


def masked_value(name: str, value: str) -> tuple[str, str]:
    """(the value of a parameter, tag or field with that name, without its secrets; what they were, "" for none)."""
    if value and re.search(rf"{NAME}$", name.rpartition(".")[2]) and tells(name, value) and MARKER not in value:
        return MARKER, TELLING_VALUE
    text, kinds = masked(value)
    return text, ", ".join(sorted(set(kinds)))


def without_secrets(values: Mapping[str, str]) -> dict[str, str]:
    """Parameters or tags with `MARKER` in the place of each secret."""
    return {name: masked_value(name, value)[0] for name, value in values.items()}


def replaced(text: str, places: Iterable[tuple[Secret, str]]) -> str:
    """The text with each of these secrets replaced."""
    parts, at = [], 0
    for each, marker in places:
        parts += [text[at : each.start], marker]
        at = each.end
    return "".join([*parts, text[at:]])


def _is_configuration(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith(_CONFIGURATION) or name.startswith((".", *_CONFIGURES))


def _by_rules(text: str) -> Iterator[Secret]:
    for kind, rule in _RULES:
        named = "value" in rule.groupindex
        for found in rule.finditer(text):
            group: int | str = "value" if named else 1
            value = found.group(group)
            if is_template(value) or (named and not tells(found.group(1), value)):
                continue
            if rule is _BEHIND_A_COMMA and VARIABLE.fullmatch(value):
                continue
            yield Secret(start=found.start(group), end=found.end(group), kind=kind)


def _unquoted(text: str) -> Iterator[Secret]:
    for found in _UNQUOTED.finditer(text):
        if tells(found.group(1), found["value"]):
            yield Secret(start=found.start("value"), end=found.end("value"), kind=TELLING_VALUE)


def _by_shape(text: str) -> Iterator[Secret]:
    for kind, rule in (*_shapes(), *_MORE):
        for found in rule.finditer(text):
            # Some mark the token within the line by a group, others only its prefix.
            groups = [n for n in range(1, (rule.groups or 0) + 1) if len(found.group(n) or "") >= 12]
            group = groups[-1] if groups else 0
            if "\n" not in found.group(group):
                yield Secret(start=found.start(group), end=found.end(group), kind=kind)


def _keys(text: str) -> Iterator[Secret]:
    done = 0
    for block in _PRIVATE_KEY.finditer(text):
        if block.start() < done:
            continue
        end = text.find("-----END", block.end(), block.end() + _LONGEST_KEY)
        done = end if end >= 0 else min(len(text), block.end() + _LONGEST_KEY)
        for line in _KEY_LINE.finditer(text, block.end(), done):
            # At the beginning of a line + is a patch's own sign.
            start = line.start() + (text[line.start()] == "+" and text[line.start() - 1] == "\n")
            yield Secret(start=start, end=line.end(), kind="a private key")


def _random(text: str) -> Iterator[Secret]:
    for found in _RANDOM.finditer(text):
        value = found.group()
        digest = _HEX.fullmatch(value) or _HASH.search(text, max(0, found.start() - 8), found.start())
        if not digest and not value.lower().startswith(_DIGESTS) and _looks_random(value):
            yield Secret(start=found.start(), end=found.end(), kind="a string that looks random")


def _looks_random(value: str) -> bool:
    """Whether its longest run of letters and digits mixes both cases and digits as no name in code does."""
    run = max(_CHUNK.findall(value), key=len, default="")
    kinds = "".join("ul"[c.islower()] if c.isalpha() else "d" for c in run)
    if len(run) < 16 or set(kinds) != set("uld"):
        return False
    changes = sum(a != b for a, b in itertools.pairwise(kinds)) / len(run)
    return changes >= _MIN_CHANGES and _entropy_bits(value) >= _MIN_ENTROPY_BITS


def _entropy_bits(value: str) -> float:
    """Shannon's entropy of its characters, in bits each."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


@lru_cache(maxsize=1)
def _shapes() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """detect-secrets' shapes. Its scanner is not used: it would ask the providers whether a token works."""
    from detect_secrets.plugins.artifactory import ArtifactoryDetector
    from detect_secrets.plugins.aws import AWSKeyDetector
    from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
    from detect_secrets.plugins.discord import DiscordBotTokenDetector
    from detect_secrets.plugins.github_token import GitHubTokenDetector
    from detect_secrets.plugins.mailchimp import MailchimpDetector
    from detect_secrets.plugins.npm import NpmDetector
    from detect_secrets.plugins.sendgrid import SendGridDetector
    from detect_secrets.plugins.slack import SlackDetector
    from detect_secrets.plugins.square_oauth import SquareOAuthDetector
    from detect_secrets.plugins.stripe import StripeDetector
    from detect_secrets.plugins.twilio import TwilioKeyDetector

    detectors = (
        ArtifactoryDetector, AWSKeyDetector, AzureStorageKeyDetector, DiscordBotTokenDetector, GitHubTokenDetector,
        MailchimpDetector, NpmDetector, SendGridDetector, SlackDetector, SquareOAuthDetector, StripeDetector,
        TwilioKeyDetector,
    )  # fmt: skip
    return tuple((str(each.secret_type), rule) for each in detectors for rule in each.denylist)


def summary(found: Sequence[MaskedSecret]) -> str:
    """`3 secrets: a.py:12 (a password in a URL), ...`."""
    count = "1 secret" if len(found) == 1 else f"{len(found)} secrets"
    return f"{count}: {', '.join(f'{each.where} ({each.kind})' for each in found)}"
