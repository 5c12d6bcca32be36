"""A hub on loopback for the tests of the core."""

from tests.suites.hub import hub as hub
