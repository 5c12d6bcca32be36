"""Errors in another process are the errors of this one."""

import pickle

import numpy as np
import pytest

from xfer import errors
from xfer.errors import UnknownNameError, UnreadableError, XferError


@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, XferError)]
)
def test_errors_go_through_pickle(kind):
    error = kind.__new__(kind, "what was given")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (kind, "what was given")


def test_what_an_error_carries_goes_with_it():
    error = pickle.loads(pickle.dumps(UnreadableError({"a.png": "the file is empty"}, np.ones((2, 3)))))
    assert str(error) == "cannot read a.png: the file is empty; repair or remove it"
    assert error.reasons == {"a.png": "the file is empty"}
    np.testing.assert_array_equal(error.answers, np.ones((2, 3)))
    unknown = UnknownNameError("backend", "torhc", ["torch", "jax"])
    assert str(pickle.loads(pickle.dumps(unknown))) == str(unknown)
