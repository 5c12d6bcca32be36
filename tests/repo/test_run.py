"""A suite that dies, or collects nothing, is named with its exit code and counted as failed."""

import pytest

from tests import run as runner

SUITES = {
    "good": "def test_a(): pass\ndef test_b(): pass\n",
    "bad": "def test_a(): pass\ndef test_b(): assert False\n",
    "dies": "import os\ndef test_a(): pass\ndef test_b(): os._exit(0)\n",
    "killed": "import os, signal\ndef test_a(): os.kill(os.getpid(), signal.SIGKILL)\n",
    "empty": "",
    "broken": "import nothing_of_this_name\n",
    "skips": "import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip('why')\n",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """How each suite ended, run once."""
    found, root = {}, tmp_path_factory.mktemp("suites")
    for name, text in SUITES.items():
        (root / name).mkdir()
        (root / name / "test_it.py").write_text(text)
        found[name] = runner.run(root / name, ["-p", "no:cacheprovider", "-c", "/dev/null"])
    return found


@pytest.mark.parametrize(
    ("suites", "code", "sum_", "line"),
    [
        (["good"], 0, "2 passed, 0 failed, 0 skipped", "good: "),
        (["good", "skips"], 0, "3 passed, 0 failed, 1 skipped", "skips: "),
        (["good", "bad"], 1, "3 passed, 1 failed, 0 skipped", "bad: "),
        (["good", "dies"], 1, "2 passed, 1 failed, 0 skipped", "dies: ended without a closing line ("),
        (["good", "killed"], 1, "2 passed, 1 failed, 0 skipped", "killed: ended without a closing line; exit code -9"),
        (["good", "empty"], 1, "2 passed, 1 failed, 0 skipped", "empty: "),
        (["good", "broken"], 1, "2 passed, 1 failed, 0 skipped", "broken: "),
    ],
)
def test_how_suites_end(outcomes, tmp_path, monkeypatch, capsys, suites, code, sum_, line):
    monkeypatch.setattr(runner, "run", lambda suite, options: outcomes[suite.name])
    assert runner.main([], tmp_path, suites) == code
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == sum_
    assert any(each.startswith(line) for each in said)
