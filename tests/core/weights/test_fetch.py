"""Downloads from a server on loopback that behaves and misbehaves."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from xfer.errors import WeightsError
from xfer.weights import fetch, resolve
from xfer.weights.entry import WeightsEntry

CONTENT = bytes(range(256)) * 8000  # 2 MB, two chunks
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT as /net-<sha>.pth; `cut` bytes are sent before a connection breaks, `cuts` times."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.cut, self.cuts, self.ranges, self.status = CONTENT, '"1"', 0, 0, True, 200
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/net.pth"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_error(416)
                return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.etag)
        self.end_headers()
        if server.cuts:
            server.cuts -= 1
            self.wfile.write(body[: server.cut])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.delenv("XFER_WEIGHTS_MIRROR", raising=False)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def get(server, folder, **options):
    return fetch(server.url, **({"digest": SHA, "folder": folder, "progress": lambda done, total: None} | options))


def only(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_a_file_is_fetched_once(server, tmp_path):
    seen = []
    path = get(server, tmp_path / "new" / "folder", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert len(seen) > 1
    assert get(server, path.parent, digest=SHA[:8]) == path
    assert len(server.requests) == 1
    assert only(path.parent) == ["net.pth"]


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cut, server.cuts = 1_500_000, 1
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1500000-"]


def test_a_server_without_ranges_begins_anew(server, tmp_path):
    server.cut, server.cuts, server.ranges = 1_500_000, 1, False
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_an_endless_cut_is_never_taken_for_whole_and_the_next_run_resumes(server, tmp_path):
    server.cut, server.cuts = 300_000, 99
    with pytest.raises(WeightsError, match=r"run again to resume|cannot reach") as caught:
        get(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert only(tmp_path) == ["net.pth.part", "net.pth.part.json"]
    server.cuts = 0
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == "bytes=1200000-"
    assert only(tmp_path) == ["net.pth"]


def test_a_part_of_another_file_is_not_continued(server, tmp_path):
    server.cut, server.cuts = 300_000, 99
    with pytest.raises(WeightsError):
        get(server, tmp_path)
    server.cuts, server.etag, server.content = 0, '"2"', CONTENT[::-1]
    path = get(server, tmp_path, digest=hashlib.sha256(CONTENT[::-1]).hexdigest())
    assert path.read_bytes() == CONTENT[::-1]


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / "net.pth.part").write_bytes(CONTENT + b"more")
    (tmp_path / "net.pth.part.json").write_text(f'{{"url": "{server.url}", "tag": "\\"1\\""}}')
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_the_wrong_file_is_thrown_away(server, tmp_path):
    with pytest.raises(WeightsError, match="is not the expected file: its SHA-256 does not begin with 00000000"):
        get(server, tmp_path, digest="0" * 64)
    assert only(tmp_path) == []


def test_a_damaged_file_in_the_cache_is_fetched_again(server, tmp_path):
    (tmp_path / "net.pth").write_bytes(CONTENT[:-1])
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_the_server_refuses(server, tmp_path):
    server.status = 404
    with pytest.raises(WeightsError, match=r"the server says 404 .*by hand, or give its path as weights"):
        get(server, tmp_path)
    assert len(server.requests) == 1


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(WeightsError, match=r"cannot reach http://127\.0\.0\.1:9/net\.pth .*by hand") as caught:
        fetch("http://127.0.0.1:9/net.pth", digest=SHA, folder=tmp_path, progress=print)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"cannot write .*XFER_HOME"):
        get(server, tmp_path / "file" / "folder")


def test_only_http(tmp_path):
    with pytest.raises(WeightsError, match="give an http or https address"):
        fetch("file:///etc/passwd", digest=SHA, folder=tmp_path)


def test_eight_at_once_download_once(server, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: get(server, tmp_path), range(8)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.requests) == 1


def test_resolve_prefers_torchs_cache_and_falls_back_to_a_mirror(server, tmp_path, monkeypatch):
    entry = WeightsEntry("V1", "https://nowhere.invalid/models/net.pth", SHA[:8])
    monkeypatch.setenv("XFER_HOME", str(tmp_path / "ours"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "theirs"))
    monkeypatch.setenv("XFER_WEIGHTS_MIRROR", server.url.rsplit("/", 1)[0])
    cached = tmp_path / "theirs" / "hub" / "checkpoints" / "net.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    assert resolve("imagenet", [entry], model="m").path == cached
    assert server.requests == []
    cached.write_bytes(b"damaged")
    found = resolve("V1", [entry], model="m")
    assert found.path == tmp_path / "ours" / "weights" / "net.pth"
    assert found.entry == entry
    assert len(server.requests) == 1
