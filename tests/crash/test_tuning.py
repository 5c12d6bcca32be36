"""A search that is killed and started again has the trials of one that never was.

Short here; `make test-all` kills it once at every point where a file is touched, in the middle of every write too.
"""

import json
import signal

import pytest

from tests.crash.test_kills import Server
from tests.suites.tuning import OPTIONS, alike, pictures

TRIALS = 5


class Searches:
    """Searches of a few trials, each in a forked process that can be killed."""

    def __init__(self, folder):
        self.data, self.folder, self.number = str(pictures(folder / "pictures")), folder, 0
        self.server = Server("tune", None, folder)
        where = self.new()
        code, text = self.run(where)
        assert code == 0, text
        self.points, self.expected = int(text.split("points ")[1].split()[0]), self.outcome(where)

    def new(self):
        self.number += 1
        found = self.folder / str(self.number)
        found.mkdir()
        return found

    def run(self, where, fault=None):
        job = {"tune": self.data, "trials": TRIALS, "options": {**OPTIONS, "out": str(where / "tune")}}
        return self.server.work(where, job, fault)

    def outcome(self, where):
        document = json.loads((where / "tune" / "tuning.json").read_text())
        best = (where / "tune" / "best.toml").read_text().replace(str(where), "")
        return alike(document["trials"]), document["best"], document["importance"], best

    def check(self, faults):
        """Killed at these points, one after the other, then left alone."""
        where = self.new()
        for fault in faults:
            code, text = self.run(where, fault)
            if code == 0:  # so many points were not left
                break
            assert code == -signal.SIGKILL, text
        code, text = self.run(where)
        assert code == 0, text
        assert self.outcome(where) == self.expected, f"killed at {faults} of {self.points}"


@pytest.fixture(scope="module")
def searches(tmp_path_factory):
    found = Searches(tmp_path_factory.mktemp("searches"))
    yield found
    found.server.close()


def test_kills_in_between_change_nothing(searches):
    """In caching, while the study is made, in a trial, and while one is written."""
    third = searches.points // 3
    searches.check([third, third // 2, third // 3, third + 1])


@pytest.mark.long
def test_every_point(searches):
    for fault in range(1, searches.points + 1):
        searches.check([fault])
