"""Passwords where no name stands beside them: lines of files of credentials, options of commands, hashes, and Basic."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from fullcircle.tracking.secrets.telling_names import MARKER, is_template

BEHIND_A_USER = "a password behind a user's name"
HASHED = "the hash of a password"
_SQL = r"(?:mysql|mysqldump|mysqladmin|mysqlimport|mysqlcheck|mysqlsh|mariadb|mariadb-dump|mariadb-admin)"
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    # A line of .pgpass: host:port:database:user:password, in which a backslash keeps a colon.
    (
        BEHIND_A_USER,
        re.compile(
            r"(?m)^[+\- ]?[\w.*/-]{1,100}:(?:\d{4,5}|\*):(?:[\w.*-]|\\.){1,63}:(?:[\w.*@-]|\\.){1,63}:"
            r"((?:[^\s:\\]|\\.){1,200})[ \t]*$"
        ),
    ),
    (
        BEHIND_A_USER,
        re.compile(rf"\b{_SQL}\b[^\n|;&]{{0,200}}?[\s'\"]-p(?!\s)(['\"]?)(?P<value>[^\s'\",\])]{{1,100}})\1"),
    ),
    (BEHIND_A_USER, re.compile(r"\bsshpass\s{1,3}-p\s{0,3}['\"]?([^\s'\"]{1,100})")),
    (BEHIND_A_USER, re.compile(r"\bredis-cli\b[^\n|;&]{0,200}?\s(?:-a|--pass)\s{1,3}['\"]?([^\s'\"]{1,100})")),
    (BEHIND_A_USER, re.compile(r"\bdocker\s{1,3}login\b[^\n|;&]{0,200}?\s-p\s{1,3}['\"]?([^\s'\"]{1,100})")),
    (BEHIND_A_USER, re.compile(r"\b(?:PGPASSWORD|MYSQL_PWD|REDISCLI_AUTH|SSHPASS)=['\"]?([^\s'\"$]{1,200})")),
    # A line of .netrc, or its lines: alone, "login and password" are words of any text.
    (
        BEHIND_A_USER,
        re.compile(
            r"\b(?:machine\s{1,9}\S{1,100}|default)\s{1,9}[+\- ]?\s{0,9}login\s{1,9}\S{1,100}\s{1,9}[+\- ]?\s{0,9}"
            r"(?:account\s{1,9}\S{1,100}\s{1,9}[+\- ]?\s{0,9})?password\s{1,9}(\S{1,300})"
        ),
    ),
    # bcrypt, the crypts of Unix, argon2, PBKDF2; and of LDAP and Apache.
    (HASHED, re.compile(r"(\$(?:apr1|2[abxy]|[156y]|argon2(?:id|i|d)|pbkdf2-sha\d{1,3})\$[\w./$=,+-]{12,200})")),
    (HASHED, re.compile(r"\{S?SHA(?:256|512)?\}([A-Za-z0-9+/]{20,120}={0,2})")),
)
_OF_FILE: tuple[tuple[tuple[str, ...], str, re.Pattern[str]], ...] = (
    # What stands in a line of these has no other mark.
    (
        (".pgpass", "pgpass.conf"),
        BEHIND_A_USER,
        re.compile(r"(?m)^[+\- ]?[^#\n:]{1,100}(?::[^\n:]{0,100}){3}:([^\n]{1,200})$"),
    ),
    ((".netrc", "_netrc"), BEHIND_A_USER, re.compile(r"\bpassword\s{1,20}[+\- ]?(\S{1,300})")),
    ((".htpasswd", "htpasswd"), HASHED, re.compile(r"(?m)^[+\- ]?[^#\s:]{1,100}:([^\s:]{1,300})")),
)
_BASIC = re.compile(
    r"(?i)(?:\bbasic\s{1,3}|\bauth\\?['\"]?\s{0,3}[:=]\s{0,3}\\?['\"])([A-Za-z0-9+/]{4,400}={0,2})(?![A-Za-z0-9+/=])"
)


def in_credential_lines(text: str, name: str = "") -> Iterator[tuple[int, int, str]]:
    """(start, end, what it is) of each. `name`: of the file that the text is from."""
    base = name.rpartition("/")[2]
    rules = [*_RULES, *((kind, rule) for names, kind, rule in _OF_FILE if base.endswith(names))]
    for kind, rule in rules:
        group: int | str = "value" if "value" in rule.groupindex else 1
        for found in rule.finditer(text):
            if not is_template(found.group(group)) and MARKER not in found.group(group):
                yield found.start(group), found.end(group), kind
    for found in _BASIC.finditer(text):
        if _is_user_and_password(found.group(1)):
            yield found.start(1), found.end(1), "credentials"


def _is_user_and_password(value: str) -> bool:
    """Whether it is the base64 of `user:password`, as Basic authentication and docker's `auth` have it."""
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return bool(colon and password) and f"{user}{password}".isprintable()
