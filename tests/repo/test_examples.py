"""No example goes untested."""

from tests.suites.examples import EXAMPLES, TESTED


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED
