"""The files that Pillow and libpng test their decoders with: fetched, and looked at in a process of its own.

usage: python -m tests.suites.corpus FOLDER plain|torch|tensorflow|isolated|loader
"""

import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL

from xfer.data import Loader, Split
from xfer.data.images.isolation import isolated
from xfer.data.images.probe import look
from xfer.specs.preprocessing import Preprocessing


def fetched(name, fetch):
    """Files below a folder that is kept for the next time, outside the repository; what `fetch` cannot get, it raises.

    XFER_CORPUS says where.
    """
    home = Path(os.environ.get("XFER_CORPUS", Path.home() / ".cache/xfer-corpus")) / name
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as where:
            fetch(Path(where))
            Path(where, "found").rename(home)
    return home


def pillow():
    """Tests/images of the source distribution of the Pillow that is installed, from the package index."""
    return fetched(f"pillow-{PIL.__version__}", _pillow)


def libpng():
    """PngSuite, libpng's other test images and its crashers, from the distribution's source package."""
    return fetched("libpng1.6", _libpng)


def _pillow(where):
    wanted = ("--no-deps", "--no-binary", "pillow", f"pillow=={PIL.__version__}")
    _run(sys.executable, "-m", "pip", "download", "--quiet", *wanted, "--dest", where)
    _extract(next(where.glob("*.tar.gz")), where / "found", lambda name: "/Tests/images/" in name)


def _libpng(where):
    """With lists of our own, for sources may not be among those that the system keeps."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (where / folder).mkdir(parents=True)
    known = _run("apt-get", "indextargets", "--format", "$(IDENTIFIER) $(SITE) $(RELEASE) $(COMPONENT)")
    targets = sorted({line.partition(" ")[2] for line in known.splitlines() if line.startswith("Packages ")})
    (where / "sources.list").write_text("".join(f"deb-src {target}\n" for target in targets))
    settings = {
        "Dir::Etc::sourcelist": where / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": where / "lists",
        "Dir::Cache": where / "cache",
        "APT::Sandbox::User": "root",
    }
    options = [f"-o{name}={value}" for name, value in settings.items()]
    _run("apt-get", *options, "update", "--quiet")
    _run("apt-get", *options, "source", "--quiet", "--download-only", "--tar-only", "libpng1.6", cwd=where)
    _extract(next(where.glob("*.orig.tar.*")), where / "found", lambda name: name.endswith(".png"))


def _extract(archive, where, wanted):
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile() and wanted(member.name)]
        if not members:
            raise LookupError(f"{archive.name} has none of the files")
        tar.extractall(where, members, filter="data")


def _run(*command, cwd=None):
    if shutil.which(command[0]) is None:
        raise LookupError(f"there is no {command[0]}")
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise LookupError(f"{command[0]} failed: {(done.stderr.strip() or 'it does not say why').splitlines()[-1]}")
    return done.stdout


def files_in(folder):
    """All files, in order."""
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def looked_at(folder, how):
    """In a process of its own: verdict and seconds by file, and the peak memory in MiB; see `main`."""
    command = [sys.executable, "-W", "ignore", __file__, str(folder), how]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{how}: ended with {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def main(folder, how):
    """Verdicts of all files below a folder, as JSON: a list of what was seen, or the reason why nothing was."""
    if how in ("torch", "tensorflow"):
        importlib.import_module(how)
    files = files_in(folder)
    seconds, peak = {}, own_peak
    if how == "loader":
        verdicts = _loaded(files)
    elif how == "isolated":
        peak = children_peak
        with isolated(2) as look_isolated, ThreadPoolExecutor(2) as pool:
            verdicts = list(pool.map(lambda path: _timed(look_isolated, path, seconds), files))
    else:
        verdicts = [_timed(look, path, seconds) for path in files]
    names = [path.relative_to(folder).as_posix() for path in files]
    document = {
        "verdicts": dict(zip(names, map(_plain, verdicts), strict=True)),
        "seconds": {path.relative_to(folder).as_posix(): spent for path, spent in seconds.items()},
        "peak": peak(),
    }
    print(json.dumps(document))


def own_peak():
    """MiB. Not `ru_maxrss`, which begins with what the process had before it ran this program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def children_peak():
    """MiB of the largest that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _timed(how, path, seconds):
    start = time.monotonic()
    found = how(path)
    seconds[path] = time.monotonic() - start
    return found


def _plain(found):
    if isinstance(found, str):
        return found
    return [found.digest.hex(), found.width, found.height, found.format, found.mode]


def _loaded(files):
    """As training would read them: "read", or the reason."""
    split = Split(files, np.arange(len(files)) % 2, list(map(str, files)))
    loader = Loader(split, Preprocessing(size=32, resize=36), batch_size=32, shuffle=True, workers=2)
    read = {int(index) for batch in loader.epoch(0) for index in batch.indices}
    reasons = loader.unreadable
    return [reasons.get(i, "read" if i in read else "lost") for i in range(len(files))]


if __name__ == "__main__":
    main(*sys.argv[1:])
