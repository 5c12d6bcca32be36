"""Compact sequences against Python's own, and what is made with them against dictionaries and loops."""

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xfer.data import Split
from xfer.data.categorical import Categorical
from xfer.data.chain import Chain
from xfer.data.sources.missing import lacking
from xfer.data.texts import TextBuilder, Texts, firsts, last_places, taken
from xfer.data.trained_on import TrainedOn

texts = st.lists(st.text(st.characters(exclude_categories=()), max_size=6), max_size=12)  # lone surrogates, too


@given(texts, st.data())
@example(["", "é", "\udc80\ud800", "\0", ""], None)
def test_texts_are_as_a_tuple_of_them(given, data):
    whole, found = tuple(given), Texts.of(iter(given))
    assert found == whole
    assert whole == found
    assert hash(found) == hash(whole)
    assert (list(found), len(found), repr(found)) == (given, len(given), repr(whole))
    assert [found[i] for i in range(-len(given), len(given))] == given * 2
    assert pickle.loads(pickle.dumps(found)) == found
    assert Texts.of(found) is found
    assert found != (*whole, "another")
    assert found != given, "no tuple is a list"
    for place in (len(given), -len(given) - 1):
        with pytest.raises(IndexError):
            found[place]
    if data is None:
        return
    chosen = data.draw(st.slices(len(given)))
    assert found[chosen] == whole[chosen]
    indices = data.draw(st.lists(st.integers(0, max(len(given) - 1, 0)), max_size=8 if given else 0))
    assert found.take(np.array(indices, np.int64)) == taken(given, np.array(indices, np.int64))
    assert list(found.take(np.array(indices, np.int64))) == [given[i] for i in indices]
    assert Texts.joined(found, given, iter(given)) == whole * 3
    assert list(TextBuilder().extend(given).append(found).extend(["z"]).build()) == [*given, *given, "z"]


def test_more_texts_than_are_made_at_once():
    given = [f"{i}ß" * (i % 3) for i in range(10_000)]
    found = Texts.of(given)
    assert list(found) == given
    assert list(found[::-7]) == given[::-7]
    assert found == tuple(given)
    assert found != Texts.of([*given[:-1], "another"])


class Alike(str):
    """Texts of one hash."""

    __slots__ = ()

    def __hash__(self):
        return 7


def first_by_loop(given: Sequence[str]) -> list[int]:
    return [next(j for j, other in enumerate(given) if other == text) for text in given]


@given(st.lists(st.sampled_from(["a", "b", "c", "", "é"])))
def test_the_first_of_equal_texts(given):
    assert firsts(given).tolist() == firsts(Texts.of(given)).tolist() == first_by_loop(given)
    assert firsts([Alike(text) for text in given]).tolist() == first_by_loop(given)


@given(st.lists(st.one_of(st.none(), st.sampled_from(["x", "y", 3, 10])), max_size=10))
def test_a_categorical_is_as_the_list(given):
    found = Categorical.of(given)
    assert list(found) == given
    assert list(found[::-2]) == given[::-2]
    assert found.there() == list(dict.fromkeys(value for value in given if value is not None))
    chosen = np.arange(len(given))[::2]
    assert list(found.take(chosen)) == given[::2]
    assert set(found.take(chosen).there()) == {value for value in given[::2] if value is not None}
    assert list(found.map(str)) == [None if value is None else str(value) for value in given]
    assert found.is_one_of(["x", 3]).tolist() == [value in ("x", 3) for value in given]
    numbers = found.numbers(lambda value: len(str(value)), -5)
    assert numbers.tolist() == [-5 if value is None else len(str(value)) for value in given]


names = ["a.png", "in/b.png", "in/deep/c.png", "./a.png", "in//b.png", "in/../a.png", "in", "", "no.png", "no/a.png"]


@given(st.lists(st.sampled_from([*names, "ABSOLUTE", "ABSOLUTE/none", "in/" + "x" * 300, "in/\0"]), max_size=6))
def test_the_first_file_that_is_lacking(tmp_path_factory, given):
    base = tmp_path_factory.getbasetemp() / "lacking"
    for name in names[:3]:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).touch()
    given = [name.replace("ABSOLUTE", str(base / "a.png")) for name in given]

    def is_file(name: str) -> bool:
        try:
            return (base / name).is_file()
        except (OSError, ValueError):
            return False

    there = [is_file(name) for name in given]
    assert lacking(base, given) == (there.index(False) if False in there else None)


def test_absolute_and_relative_names_are_in_folders_of_their_own(tmp_path):
    (tmp_path / "etc").touch()  # a folder in /, and a file here
    assert lacking(tmp_path, ["etc", "/etc"]) == 1
    assert lacking(tmp_path, ["/etc", "etc"]) == 0


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5), max_size=3),
    st.lists(st.sampled_from("abcdefg")),
)
def test_which_images_a_model_was_trained_on(fits, judged):
    from xfer.data import Data

    def split(names: list[str]) -> Split:
        return Split([name.encode() for name in names], np.zeros(len(names)), names, ("x",))

    trained = TrainedOn()
    for fit in fits:
        trained.add(Data(split(fit), None, None, ("x",), "here"))
    known = {name for fit in fits if fit[0] in judged for name in fit}
    assert trained.among("here", split(judged)).tolist() == [name in known for name in judged]
    assert not trained.among("there", split(judged)).any()


def test_a_chain_counts_from_both_ends():
    chain = Chain([["a", "b"], [], ["c"]])
    assert [chain[i] for i in range(-3, 3)] == ["a", "b", "c"] * 2
    assert chain[np.int64(2)] == "c"
    assert chain[::-1] == ["c", "b", "a"]
    with pytest.raises(IndexError):
        chain[3]


@given(st.lists(st.sampled_from("abcd")), st.lists(st.sampled_from("abce")))
def test_the_last_place_of_each_text(texts, among):
    index = {text: i for i, text in enumerate(among)}
    assert last_places(texts, among).tolist() == [index.get(text, -1) for text in texts]
