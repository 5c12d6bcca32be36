"""The site builds without a warning, holds every public name and command, and asks for nothing from elsewhere."""

import inspect
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
from sphinx.util.inventory import InventoryFile

import xfer
from tests.suites.pages import DOCS, ROOT
from xfer.cli.app import app

MODULES = {"callbacks": xfer.callbacks, "data": xfer.data, "metrics": xfer.metrics, "sklearn": xfer.sklearn}
MODULES["zoo"] = xfer.zoo
COMMANDS = typer.main.get_command(app).commands


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """The command of `make docs`."""
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-b", "html", str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = build(DOCS, out)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def inventory(site):
    with (site / "objects.inv").open("rb") as file:
        return InventoryFile.load(file, "", lambda base, path: path)


def documented(inventory, kind):
    """Names that the reference has of a kind such as "py" or "std:cmdoption"."""
    return {name for key, found in inventory.items() if key.startswith(kind) for name in found}


def public():
    """Every public name of xfer and of its public modules, with its value."""
    yield from ((f"xfer.{name}", getattr(xfer, name)) for name in xfer.__all__)
    for name, module in MODULES.items():
        yield from ((f"xfer.{name}.{each}", getattr(module, each)) for each in module.__all__)


def members(cls):
    """Public methods and properties of a class that the core defines."""
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        owner = next((base for base in cls.__mro__ if name in vars(base)), object)
        if not name.startswith("_") and owner.__module__.startswith("xfer"):
            value = getattr(value, "__func__", value)
            if inspect.isfunction(value) or isinstance(value, property):
                yield name, value


def test_every_public_name_is_in_the_reference(inventory):
    names = documented(inventory, "py:")
    assert {name for name, _ in public() if name not in names} == {"xfer.data.Data"}  # which is xfer.Data


def test_every_public_name_has_a_docstring():
    without = []
    for name, value in public():
        own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
        if (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)) and not (own or "").strip():
            without.append(name)
        if inspect.isclass(value):
            without += [f"{name}.{member}" for member, found in members(value) if not inspect.getdoc(found)]
    assert without == []


def test_methods_that_a_user_calls_are_in_the_reference(inventory):
    names = documented(inventory, "py:")
    classes = [(name, value) for name, value in public() if inspect.isclass(value) and not inspect.isabstract(value)]
    assert len(classes) >= 25
    missing = {f"{name}.{m}" for name, value in classes for m, _ in members(value) if m in vars(value)} - names
    assert {name for name in missing if not name.startswith("xfer.data.Data.")} == set()
    assert {f"xfer.BaseModel.{name}" for name in ("freeze", "predict", "evaluate", "save", "push")} <= names


def test_every_command_and_option_is_in_the_reference(inventory):
    names = documented(inventory, "std:cmdoption")
    assert len(COMMANDS) >= 14
    for command, found in COMMANDS.items():
        options = [opts for parameter in found.params for opts in parameter.opts if opts.startswith("--")]
        assert {f"xfer-{command}.{option}" for option in options} <= names, command


def test_every_option_has_help(site):
    text = (site / "commands.html").read_text("utf-8")
    assert re.findall(r"<dd>\s*</dd>", text) == []
    assert "learning rate of the head" in text


class Links(HTMLParser):
    """Addresses that a page loads, addresses that it leads to, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.led, self.anchors = [], [], {""}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.led.append(found["href"])
        elif tag in ("script", "img", "iframe", "source") and found.get("src"):
            self.loaded.append(found["src"])
        elif tag == "link" and found.get("rel") not in ("canonical",) and found.get("href"):
            self.loaded.append(found["href"])


def test_links_and_anchors_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    pages = {path: Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 40
    for path, found in pages.items():
        assert [each for each in found.loaded if "://" in each or each.startswith("//")] == [], path
        for address in (urlsplit(each) for each in found.led):
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            assert target.exists(), f"{path}: {address.geturl()}"
            if address.fragment and target in pages:
                assert unquote(address.fragment) in pages[target].anchors, f"{path}: {address.geturl()}"
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//|@import ['\"]?(?:url\()?['\"]?http", styles) == []


def test_the_first_page_leads_to_all_pages():
    """For those who read the pages on GitHub, where there is no toctree."""
    known = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    linked = set(re.findall(r"\]\(([^)#]+\.md)\)", (DOCS / "index.md").read_text("utf-8")))
    files_of_the_root = {"changelog.md", "contributing.md", "security-policy.md"}
    api = {page for page in known if page.startswith("api/")} - {"api/index.md"}
    assert known - linked == {"index.md", "coming-from/index.md", *files_of_the_root, *api}


def test_what_is_wrong_fails_the_build(tmp_path):
    """A broken link, an anchor and a name that are not there, a page that no toctree has, a name that no page has."""
    for name in ("conf.py", "_ext", "_static"):
        (shutil.copytree if (DOCS / name).is_dir() else shutil.copy)(DOCS / name, tmp_path / name)
    text = (tmp_path / "conf.py").read_text().replace("HERE.parent", f"Path({str(ROOT)!r})")
    (tmp_path / "conf.py").write_text(text)
    wrong = "# Title\n\n[a](nowhere.md) [b](#no-heading) [c](other.md#none) {py:func}`xfer.nothing`\n"
    (tmp_path / "index.md").write_text(wrong)
    (tmp_path / "other.md").write_text("# Other\n")
    done = build(tmp_path, tmp_path / "out")
    assert done.returncode == 1
    assert "other.md: WARNING: document isn't included" in done.stderr
    for said in ("nowhere.md", "no-heading", "'none'", "xfer.nothing", "xfer.load is public"):
        assert said in done.stderr, said
