import numpy as np
import pytest

from xfer.data import folder
from xfer.data.sources.assembly import hold_out
from xfer.errors import DataError, UsageError


def test_split_folders(tree):
    root = tree({"train/bee": 3, "train/ant": 4, "Validation/ant": 1, "Validation/bee": 2, "test/ant": 1})
    data = folder(root)
    assert data.classes == data.train.classes == data.val.classes == ("ant", "bee")
    assert data.train.counts() == {"ant": 4, "bee": 3}
    assert data.val.counts() == {"ant": 1, "bee": 2}
    assert data.test.counts() == {"ant": 1, "bee": 0}
    assert data.train.names[0] == "train/ant/0.png"
    assert data.train.images[4] == root / "train/bee/0.png"
    assert data.source == str(root)


def test_class_folders_are_split_in_proportion(tree):
    root = tree({"ant": 20, "bee": 10, "cow": 5})
    data = folder(root, val=0.2, seed=1)
    assert data.val.counts() == {"ant": 4, "bee": 2, "cow": 1}
    assert data.train.counts() == {"ant": 16, "bee": 8, "cow": 4}
    assert set(data.train.names) | set(data.val.names) == set(folder(root, val=0).train.names)
    assert data.val.names == folder(root, val=0.2, seed=1).val.names
    assert data.val.names != folder(root, val=0.2, seed=2).val.names
    assert "validation is a stratified 20% of train (seed 1)" in data.describe()


def test_no_validation_on_request(tree):
    data = folder(tree({"ant": 2, "bee": 2}), val=0)
    assert data.val is None
    assert len(data.train) == 4


def test_a_class_of_one_stays_in_train(tree):
    data = folder(tree({"ant": 9, "bee": 9, "rare": 1}), val=0.5)
    assert data.train.counts()["rare"] == 1
    assert data.val.counts() == {"ant": 5, "bee": 4, "rare": 0} or data.val.counts() == {"ant": 4, "bee": 5, "rare": 0}


def test_small_classes_are_still_split():
    labels = np.repeat(np.arange(10), 3)
    kept, held = hold_out(labels, 0.1, seed=0)
    assert np.bincount(labels[held]).tolist() == [1] * 10
    assert sorted([*kept, *held]) == list(range(30))


def test_too_few_images_to_split(tree):
    root = tree({"ant": 1, "bee": 1})
    with pytest.raises(DataError, match=r"2 images of 2 classes are too few to hold out 20% .* or val=0"):
        folder(root)


def test_test_is_kept_for_the_end(tree):
    """A share of train validates where there is no val folder."""
    data = folder(tree({"train/ant": 4, "train/bee": 4, "test/ant": 1, "test/bee": 1}))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "val": 2, "test": 2}
    assert all(name.startswith("train/") for name in data.val.names)
    assert "test is for the final figures" in data.describe()
    assert folder(data.source, val=0).val is None


def test_other_files_are_left_out_and_counted(tree):
    root = tree({"ant": 3, "bee": 3, "__MACOSX": 1, ".cache/ant": 2})
    (root / "readme.txt").write_text("about")
    (root / "ant" / "notes.txt").write_text("about")
    (root / "ant" / ".hidden.png").write_bytes(b"x")
    data = folder(root, val=0)
    assert data.classes == ("ant", "bee")
    assert data.train.counts() == {"ant": 3, "bee": 3}
    assert data.notes == (
        "3 files without the extension of an image were left out",
        "hidden folders and those of the system were left out: .cache/, __MACOSX/",
    )


def test_folders_of_systems_and_runs_are_left_out(tree):
    """A NAS's thumbnails, bins, and what `cd photos; xfer train .` writes."""
    root = tree(
        {"ant": 2, "bee": 2, "@eaDir": 1, "ant/@eaDir/x.png": 1, "#recycle/ant": 1, "bee/.ipynb_checkpoints": 1}
    )
    for name in ("lost+found", "$RECYCLE.BIN", "System Volume Information", "run/checkpoints", "old"):
        (root / name).mkdir(parents=True)
    (root / "old" / "manifest.json").write_text("{}")
    data = folder(root, val=0)
    assert data.train.counts() == {"ant": 2, "bee": 2}
    listed, runs = data.notes[-2:]
    assert listed.endswith(
        "left out: #recycle/, $RECYCLE.BIN/, @eaDir/, System Volume Information/, lost+found/ and 1 more"
    )
    assert runs == "runs of xfer were left out: old/, run/"


def test_folders_beside_train_are_left_out_with_a_note(tree):
    root = tree({"train/ant": 4, "train/bee": 4, "unsorted": 1, "extra/ant": 2})
    assert "folders beside train/ were left out: extra/, unsorted/" in folder(root).notes


def test_nested_folders_upper_case_and_links(tree, tmp_path_factory, photo):
    root = tree({"ant/near/far": 2, "bee": 1})
    photo().save(root / "bee" / "B.JPG")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    photo().save(elsewhere / "linked.png")
    (root / "bee" / "linked").symlink_to(elsewhere)
    (root / "bee" / "up").symlink_to(root)
    (root / "bee" / "self").symlink_to(root / "bee")
    assert folder(root, val=0).train.names == (
        "ant/near/far/0.png",
        "ant/near/far/1.png",
        "bee/0.png",
        "bee/B.JPG",
        "bee/linked/linked.png",
    )


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train/ant": 1, "train/bee": 1, "val/cow": 1}, "label 'cow' of 'val/cow/0.png' in val is not among the 2"),
        ({"train/ant": 1, "train/bee": 0}, "class folder .*bee has no images: add some, or remove the folder"),
        ({"ant": 3}, "has one class, 'ant': classification needs two or more"),
        ({"": 3}, "has no class folders: put the images of each class into a folder"),
        ({"val/ant": 1, "val/bee": 1}, "has val/ but no train/: put the class folders into train/"),
        ({"train/ant": 1, "val/ant": 1, "valid/ant": 1}, "has both val/ and valid/: leave one val folder"),
    ],
)
def test_folders_that_make_no_sense(tree, counts, message):
    with pytest.raises(DataError, match=message):
        folder(tree(counts))


def test_a_class_may_be_missing_in_val(tree):
    data = folder(tree({"train/ant": 1, "train/bee": 1, "val/bee": 1, "val/ant": 0}))
    assert data.val.counts() == {"ant": 0, "bee": 1}


def test_wrong_paths(tree):
    root = tree({"photos/ant": 1})
    with pytest.raises(DataError, match="fotos does not exist: did you mean 'photos'"):
        folder(root / "fotos")
    with pytest.raises(DataError, match="nor does its folder"):
        folder(root / "far" / "away")
    with pytest.raises(DataError, match="is a file: give a folder of class folders"):
        folder(root / "photos" / "ant" / "0.png")


@pytest.mark.parametrize("val", [1.0, -0.1, 20])
def test_wrong_shares(tree, val):
    with pytest.raises(UsageError, match=r"is not in \[0, 1\): give the share to hold out, such as 0.2"):
        folder(tree({"ant": 2, "bee": 2}), val=val)
