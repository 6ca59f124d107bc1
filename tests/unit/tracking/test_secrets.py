"""What must not be stored is found, what only looks like it is left alone, and neither costs a patch."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.tracking.secrets.detection import MARKER, masked, masked_value, secrets_in
from fullcircle.tracking.secrets.patch_masking import masked_patch

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
)


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
    ],
)
def test_a_hostile_text_is_looked_through_in_a_time_that_grows_as_it_does(unit: str) -> None:
    secrets_in((unit * (300_000 // len(unit)))[:300_000], name="a.yaml", guess=True)  # quadratic, it would be minutes
