"""Stores for the tests of URLs: fsspec's memory and local files, and an S3 server on loopback."""

import logging
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

STORES = ("memory", "file", "s3")


@contextmanager
def s3():
    """An S3 server in a thread of this process, with a bucket, and the environment by which clients find it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    environment = {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").clear_instance_cache()
        fsspec.filesystem("s3").makedirs("bucket", exist_ok=True)
        yield "s3://bucket"
        fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


@contextmanager
def store(name, folder):
    """The URL of an empty folder in a store."""
    if name == "s3":
        with s3() as url:
            yield f"{url}/there"
    elif name == "memory":
        yield "memory://bucket/there"
        memory = fsspec.filesystem("memory")
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]
    else:
        yield f"file://{folder}/there"


def upload(folder, url):
    """All files in and below a folder."""
    files, root = fsspec.core.url_to_fs(url)
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            target = f"{root}/{path.relative_to(folder).as_posix()}"
            files.makedirs(target.rpartition("/")[0], exist_ok=True)
            files.pipe_file(target, path.read_bytes())
