"""What must not be stored is found, what only looks like it is left alone, and neither costs a patch."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.tracking.secrets.detection import masked, masked_file, masked_value, secrets_in
from fullcircle.tracking.secrets.patch_masking import masked_patch
from fullcircle.tracking.secrets.telling_names import MARKER

SECRETS = {
    "password of a database": ('DB = "postgresql://ada:hunter2@db:5432/x"', "hunter2"),
    "with an @ and a slash in it": ("url: postgresql://ada:hun/ter@2@db/x", "hun/ter@2"),
    "token before the host": ("git remote add o https://Zx81kfLq93mmTTw0@git.example/x", "Zx81kfLq93mmTTw0"),
    "query": ("https://s3.example/x?part=1&X-Amz-Signature=0badc0ffee", "0badc0ffee"),
    "notification": ('routes = ["slack://T123/B456/aBcDeF7890"]', "T123/B456/aBcDeF7890"),
    "webhook": ("https://discord.com/api/webhooks/12345678901234/a_b-C9", "12345678901234/a_b-C9"),
    "mail": ("mailtos://ada:in%40box@mail.example", "in%40box"),
    "argument": ("connect(host='db', password='hunter2')", "hunter2"),
    "attribute": ("self.db_password: str = 'hunter2'", "hunter2"),
    "short name": ("DB_PASS = 'hunter2'; pw='x'", "hunter2"),
    "default of an argument": ("def connect(pw='hunter2', passes=3):", "hunter2"),
    "first of a list": ("PASSWORDS = ['hunter2', 'b']", "hunter2"),
    "long quotes": ('password = """hunter2"""', "hunter2"),
    "cell of a notebook": ('"source": ["password = \\"hunter2\\"\\n"]', "hunter2"),
    "element": ("<dbPassword>hunter2</dbPassword>", "hunter2"),
    "key and value": ("<add key='password' value='hunter2'/>", "hunter2"),
    "pair": ("requests.get(url, auth=('ada', 'hunter2'))", "hunter2"),
    "call of a pair": ("HTTPBasicAuth('ada', 'hunter2')", "hunter2"),
    "curl": ("curl -s -u ada:hunter2 https://api.example", "hunter2"),
    "netrc": ("machine api.example login ada password hunter2", "hunter2"),
    "netrc on lines": ("machine api.example\n  login ada\n  password hunter2\n", "hunter2"),
    "pgpass": ("db.example:5432:circle:ada:hun\\:ter2", "hun\\:ter2"),
    "pgpass of any host": ("*:*:*:ada:hunter2", "hunter2"),
    "mysql": ("mysql -u ada -phunter2 circle", "hunter2"),
    "mysqldump": ("$ mysqldump --host=db -uada -p'hunter2' circle > x.sql", "hunter2"),
    "mariadb in a list": ('run(["mariadb", "-uada", "-phunter2"])', "hunter2"),
    "sshpass": ("sshpass -p hunter2 ssh ada@db", "hunter2"),
    "redis": ("redis-cli -h cache -a hunter2 ping", "hunter2"),
    "docker login": ("docker login -u ada -p hunter2 r.example", "hunter2"),
    "before a command": ("PGPASSWORD=hunter2 psql -h db", "hunter2"),
    "bcrypt": ("ada:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", "c4WoMPo3SXsafkva"),
    "htpasswd": ("ada:$apr1$x3k9zQ1a$7vL9qk0a1b2c3d4e5f6g7.", "7vL9qk0a1b2c3d4e5f6g7."),
    "ldap": ("ada:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "qUqP5cyxm6YcTAhz05Hph5gvu9M="),
    "several words": ('passphrase = "correct horse battery staple"', "correct horse battery staple"),
    "digits": ("db_password = '19870412'", "19870412"),
    "second of a list": ("PASSWORDS = ['hunter2', 'swordfish']", "swordfish"),
    "list on lines": ('PASSWORDS = [\n    "abcdef1",\n    "hunter2",  # the old one\n]', "hunter2"),
    "short docker auth": ('{"auths": {"r.example": {"auth": "YWRhOmE="}}}', "YWRhOmE="),
    "registry": ('{"auths": {"r.example": {"auth": "YWRhOmh1bnRlcjIh"}}}', "YWRhOmh1bnRlcjIh"),
    "image": ("ENV API_PASSWORD hunter2", "hunter2"),
    "item": ('os.environ["DB_PASSWORD"] = "hunter2"', "hunter2"),
    "default": ('os.environ.get("DB_PASSWORD", "hunter2")', "hunter2"),
    "json": ('{"client_secret": "ab cd"}', "ab cd"),
    "option": ("train.py --api-key 0123abcd --epochs 3", "0123abcd"),
    "bearer": ('headers = {"X": "Bearer abcdef0123456789abcdef"}', "abcdef0123456789abcdef"),
    "aws": ("id = 'AKIAIOSFODNN7EXAMPLE'", "AKIAIOSFODNN7EXAMPLE"),
    "github": ("x = 'ghp_abcdefghijklmnopqrstuvwxyz0123456789'", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    "hugging face": ("login('hf_abcdefghijklmnopqrstuvwxyzABCDEFGH')", "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"),
    "jwt": ("t = eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVm", "dozjgNryP4J3jVm"),
    "random": ("salt = 'kJ8sD7fGh3Lq9ZxW2vB5nM1pT6rY4uE0'", "kJ8sD7fGh3Lq9ZxW2vB5nM1pT6rY4uE0"),
    "private key": ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAx1yZ\n-----END RSA", "MIIEpAIBAAKCAQEAx1yZ"),
}
NONE = (
    "md5: 68c2a43cfa500360c71b509d16c7b884.dir",
    "run = '01a21eb3-22fc-74be-9888-5209708c2f06'",
    "digest = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'",
    '"integrity": "sha512-kJ8sD7fGh3Lq9ZxW2vB5nM1pT6rY4uE0kJ8sD7fGh3Lq9ZxW2vB5nM1pT6rY4uE0=="',
    "name = 'TestHTTPServer2ReturnsJSONWhenAsked'",
    "url = f'postgresql://{user}:{password}@{host}/x'",
    "url: https://$USER:$PASSWORD@host/x",
    "get('http://localhost:5000/users/@me')",
    "pad_token = '[PAD]'; eos_token='</s>'; max_tokens = 512",
    "password = os.environ['DB_PASSWORD']",
    "token_path = '/run/secrets/token-of-mine-1'",
    "password: ${DB_PASSWORD}",
    "author = 'Ada Lovelace'; passes = '1234'; compass='north'",
    "auth = 'basic'; auth=(user, password)",
    "<password></password>",
    "docker run -u 1000:1000 image",
    "routes = ['slack://env:SLACK_TOKEN', 'pagerduty://env:PAGERDUTY_KEY']; password = 'env:DB'",
    "smtps://ada:PASSWORD@mail.example",
    "password = 'the password must not be empty'; 'password': 'Enter it twice, please'",
    "pw = 'x'; password='-'",
    "a form with login and password fields",
    "mysql -u ada -p circle; mysql -h db -P 3306 -p$MYSQL_PASSWORD",
    "src/a.py:120:5: error: x",
    "tests/test_a.py:1200:name:function:passed the time",
    "passwords = []; token_kinds = ['bearer', 'basic']; TOKENS = ['<s>', '[PAD]']",
    "CREDENTIALS = ('PREFECT_API_KEY', 'PREFECT_CUSTOM_HEADERS'); token_shape = '^t_[a-z0-9]{8}_[a-z0-9]{32}$'",
    "a basic assumption, auth: 'session'",
    "it costs $1$ or $5$",
)
IN_FILES = {
    ".pgpass": ("db:5432:circle:ada:pass word 1\n# a comment: of: four: parts: here\n", ["pass word 1"]),
    "home/.netrc": ("default\nlogin ada\nlogout\npassword hunter2\n", ["hunter2"]),
    "deploy/.htpasswd": ("ada:rqXexS6ZhobKA\n# by: hand\n", ["rqXexS6ZhobKA"]),
    "a.yaml": ("passwords:\n  - abcd1\n  - 'ef gh'  # old\n  # none\n\n  - ijkl\nnext:\n  - free\n",
               ["abcd1", "ef gh", "ijkl"]),
    "b.yml": ("x:\n  api_key: |-\n    line one\n      line two\n\n    line three\n  other: |\n    free\n",
              ["line one", "line two", "line three"]),
    "c.yaml": ("secrets:\n- db_password\n- name: regcred\npasswords:\n- swordfish\n- hunter2\ntokens: 3\n",
               ["swordfish", "hunter2"]),
    "d.yaml": ("passwords: [abcd1, 'ef gh', ${OTHER}]\nplain: [free]\n", ["abcd1", "ef gh"]),
    "e.yaml": ("credentials: >\n\tfree\n", ["free"]),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_FILES)
@pytest.mark.parametrize("sign", ["", "+", "-", " "])
def test_what_has_no_name_beside_it_is_found_in_its_file_and_in_a_patch_of_it(name: str, sign: str) -> None:
    text, expected = IN_FILES[name]
    if sign:
        text = "@@ -1,9 +1,9 @@\n" + "".join(f"{sign}{line}\n" for line in text.splitlines())
    assert [text[each.start : each.end] for each in secrets_in(text, name=name)] == expected


@pytest.mark.parametrize("name", [".pgpass", ".netrc", ".htpasswd"])
def test_a_file_of_credentials_that_is_kept_with_a_run_is_kept_without_them(tmp_path: Path, name: str) -> None:
    text, (secret,) = IN_FILES[{".netrc": "home/.netrc", ".htpasswd": "deploy/.htpasswd"}.get(name, name)]
    (tmp_path / name).write_text(text)
    masked_text, kinds = masked_file(tmp_path / name)
    assert (masked_text, len(kinds)) == (text.replace(secret, MARKER), 1)


@pytest.mark.parametrize("case", SECRETS)
def test_a_secret_is_found_whatever_its_dress(case: str) -> None:
    text, secret = SECRETS[case]
    found = "".join(text[each.start : each.end] for each in secrets_in(text, guess=True))
    assert secret in found
    assert len(found) < len(text), "and the rest of the line can still be read"


@pytest.mark.parametrize("text", NONE)
def test_what_only_looks_like_a_secret_is_left_as_it_is(text: str) -> None:
    assert secrets_in(text, name="dvc.lock", guess=True) == ()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("db_password", "hunter2", MARKER),
        ("extra.api_key", "0123abcd", MARKER),
        ("url", "redis://:hunter2@cache/0", f"redis://:{MARKER}@cache/0"),
        ("max_tokens", "512", "512"),
        ("tokenizer", "bert-base-uncased-v2-2024", "bert-base-uncased-v2-2024"),
        ("pad_token", "[PAD]", "[PAD]"),
        ("password_file", "/run/secrets/db", "/run/secrets/db"),
    ],
)
def test_a_parameters_name_says_whether_its_value_is_one(name: str, value: str, expected: str) -> None:
    assert masked_value(name, value)[0] == expected


def test_configuration_is_read_without_quotes_and_code_is_not() -> None:
    assert masked("export API_TOKEN=abcd0123abcd0123\n", name=".env")[0] == f"export API_TOKEN={MARKER}\n"
    for name in (".pypirc", "deploy/Dockerfile", "Makefile", "kubeconfig", "x.tfvars"):
        assert masked("  password = hun#ter2\n", name=name)[0] == f"  password = {MARKER}\n", name
    assert masked("export TOKEN := abcd0123abcd0123\n", name="Makefile")[0] == f"export TOKEN := {MARKER}\n"
    assert masked("api_key: abcd0123\n", name="a/b.yaml")[0] == f"api_key: {MARKER}\n"
    assert masked("password = read_it(path)\n", name="a.py")[1] == ()


@given(st.text(alphabet=string.ascii_letters + string.digits + "!#$%*+,-./;=?^_|~", min_size=6, max_size=40))
def test_no_password_of_a_url_is_left_and_looking_twice_finds_no_more(password: str) -> None:
    text = f"see postgresql://ada:8{password}8@db:5432/x now"
    once = masked(text)[0]
    assert password not in once
    assert masked(once) == (once, ())


@given(st.lists(st.sampled_from([*(text for text, _ in SECRETS.values()), *NONE]), min_size=1, max_size=6))
def test_a_masked_patch_has_the_lines_and_the_signs_that_it_had(lines: list[str]) -> None:
    body = "".join(f"+{line}\n" for text in lines for line in text.split("\n"))
    count = body.count("\n")
    patch = f"diff --git a/a.py b/a.py\nnew file mode 100644\n--- /dev/null\n+++ b/a.py\n@@ -0,0 +1,{count} @@\n{body}"
    text, found = masked_patch(patch)
    assert [line[:1] for line in text.split("\n")] == [line[:1] for line in patch.split("\n")]
    assert all(each.lost and 1 <= each.line <= count for each in found)
    assert masked_patch(text) == (text, ())


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a_b",
        "password",
        "://a:",
        "http",
        "eyJ",
        "pass",
        "login ",
        " -u a",
        "auth(",
        "<password>",
        "-----BEGIN PRIVATE KEY-----",
        " = '",
        "mysql ",
        "passwords=[",
        "passwords: ['",
        "passwords:\n- abcd1\n",
        "password: |\n",
        "password: |\n ",
        "a:*:",
        "machine a login b ",
        "default ",
        "auth: 'YWRh",
        "$2y$",
        "#",
    ],
)
def test_a_hostile_text_is_looked_through_in_a_time_that_grows_as_it_does(unit: str) -> None:
    secrets_in((unit * (300_000 // len(unit)))[:300_000], name="a.yaml", guess=True)  # quadratic, it would be minutes
