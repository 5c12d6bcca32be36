"""What every process of a run does in tests/suites/distributed.py: `distributed_job.py BACKEND JOB,... PHOTOS OUT`.

Each process writes what it saw into OUT/<job>-<world size>-<rank>.json.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import xfer
from tests.suites import distributed_parts
from tests.suites.distributed_parts import Call, SaveAndDie, native, network, shards_of, told, trainer, wrapped
from xfer.checkpoints.rotation import latest_checkpoint
from xfer.errors import XferError
from xfer.runtime.files import tensors_digest
from xfer.runtime.signals import Interrupted
from xfer.specs.tasks import Task
from xfer.workflows.resume import resumable

SEED = 71  # the last batch of the second epoch has one image that can be read, that of the third none


def head(photos, out):
    """A head on cached features, and what evaluation says of it."""
    run = trainer(network(photos.classes), schedule="cosine", cache=out / "cache")
    run.model.freeze()
    run.fit(photos, 3)
    found = run.model.evaluate(photos, batch_size=8)
    return told(
        run,
        cached=run.cached is not None,
        metrics=found.metrics,
        names=found.names,
        unreadable=[each.name for each in found.skipped],
    )


def tune(photos, out):
    """The last block and the head, images that cannot be read, class weights, clipping, augmentation, best weights."""
    counts = list(photos.train.counts().values())
    run = trainer(
        network(photos.classes),
        loss=xfer.LossSpec(label_smoothing=0.1, class_weights=xfer.class_weights(counts, "balanced")),
        optimizer=xfer.OptimizerSpec("sgd", weight_decay=1e-3),
        clip_norm=0.5,
        augment="flip,crop",
        seed=SEED,
        monitor="val_macro_f1",
        early_stopping=2,
    )
    shards = shards_of(run)
    run.fine_tune(photos, head_epochs=0, epochs=3, lr=0.05)
    run.save(out / f"tuned-{run.distributed.size}-of-{run.distributed.rank}")
    return told(run, shards=shards)


def norm(photos, out):
    """Batch normalisation that is trained, of the last block and of the head, beside frozen ones.

    By SGD: the bias before one has a gradient of 0, and Adam would make updates of what rounding leaves of it.
    """
    model = network(photos.classes, head=xfer.Head(hidden=(8,), norm="batch"))
    model.freeze()
    model.unfreeze(last=1)
    # The bias before a normalisation has no gradient but rounding errors, which Adam would make as large as any.
    run = trainer(model, optimizer="sgd", cache=False, seed=SEED)
    shards = shards_of(run)
    run.fit(photos, 3)
    return told(run, shards=shards)


def map_norm(photos, out):
    """The same without one in the head, so that a batch of a single image has statistics."""
    model = network(photos.classes)
    model.freeze()
    model.unfreeze(last=1)
    run = trainer(model, optimizer="sgd", cache=False, seed=SEED)
    run.fit(photos, 2)
    return told(run)


def wrapped_norm(photos, out):
    """A network of the user's own, with batch normalisation of its framework's own class."""
    run = trainer(wrapped(photos.classes, native()), optimizer="sgd", cache=False, seed=SEED)
    run.fit(photos, 2)
    return told(run)


def adapters(photos, out):
    """LoRA in a transformer, with rates by depth and an average of the weights."""
    model = network(photos.classes, "vit_tiny_patch16_224")
    model.freeze()
    model.add_lora(2)
    run = trainer(model, lr=1e-3, layer_decay=0.7, ema=0.9, cache=False)
    run.fit(photos, 2)
    return told(run)


def mixed(photos, out):
    """Mixup and CutMix over the whole batch, with partners in the shares of others."""
    model = network(photos.classes)
    model.freeze()
    model.unfreeze(last=1)
    model.freezer.freeze_norm()
    run = trainer(model, optimizer="sgd", mix="mixup=1,cutmix=1", augment="flip", cache=False, seed=SEED)
    run.fit(photos, 3)
    return told(run)


def several(photos, out):
    """Several tasks, targets missing anywhere, and columns beside the image."""
    rng = np.random.default_rng(3)
    number = len(photos.train)
    targets = np.column_stack([rng.integers(0, 3, number), rng.integers(0, 2, (number, 2)), rng.normal(size=number)])
    targets[rng.random(targets.shape) < 0.3] = np.nan
    tasks = (
        Task("species", "single-label", ("a", "b", "c")),
        Task("tags", "multi-label", ("x", "y")),
        Task("age", "regression", ("age",)),
    )
    cells = np.array([[i % 5, "here" if i % 3 else None] for i in range(number)], object)
    split = replace(photos.train, targets=targets, columns=cells, column_names=("weight", "place"))
    data = xfer.data.Data(split, split, None, photos.classes, "several", tasks=tasks)
    model = network(None, tasks=tasks, columns=xfer.Columns.fit(data))
    model.unfreeze(last=1)
    model.freezer.freeze_norm()
    run = trainer(model, lr=1e-4, optimizer="adam", cache=False)
    run.fit(data, 2)
    return told(run)


def branches(photos, out):
    """Auxiliary classifiers, which a network that begins after its last block does not reach."""
    model = network(photos.classes, "googlenet", image_size=64)
    model.freeze()
    run = trainer(model, cache=out / "cache")
    run.fit(photos, 2)
    model.freezer.freeze_norm()
    model.unfreeze("inception5")
    model.freezer.freeze_norm()
    run.fit(photos, 1)
    return told(run)


def estimator(photos, out):
    from sklearn.linear_model import LogisticRegression

    run = trainer(network(photos.classes, head=xfer.Head.sklearn(LogisticRegression(max_iter=500))))
    run.fit(photos, 1)
    return told(run)


def bad_numbers(photos, out):
    """Features, of which those of one image, in the share of one process, are not finite."""
    model = network(photos.classes)
    model.freeze()
    data = xfer.extract(model, photos, cache=False)
    data.train.images[3, 5] = np.nan
    try:
        trainer(model).fit(data, 1)
    except XferError as error:
        return {"error": str(error), "kind": type(error).__name__, "digest": tensors_digest(model.weights())}


def refusals(photos, out):
    found = {}

    def attempt(name, act):
        try:
            act()
        except XferError as error:
            found[name] = str(error)

    model = network(photos.classes)
    rank = trainer(model).distributed.rank
    unsynchronised = wrapped(photos.classes, native(norm_of_its_own=True))
    attempt("norm", lambda: trainer(unsynchronised).fit(photos, 1))
    model.freeze()
    attempt("options", lambda: trainer(model, lr=1e-3 * (1 + rank)).fit(photos, 1))
    model.set_weights({"fc.bias": np.full(3, float(rank))})
    attempt("weights", lambda: trainer(model).fit(photos, 1))
    alone = trainer(model)
    attempt("parted", lambda: alone.fit(photos, 1) if rank else alone.save(out / "alone"))
    return found


def killed(photos, out, dies=1, busy=0):
    """Four epochs, saved after each."""
    options = {"optimizer": "sgd", "schedule": "cosine", "restore_best": False, "cache": False}
    model = network(photos.classes)
    model.freeze()
    model.unfreeze(last=1)
    model.freezer.freeze_norm()
    run = trainer(model, callbacks=[SaveAndDie(out, dies, busy)], **options)
    run.fit(photos, 4)
    return told(run)


def watched(photos, checkpoints, *callbacks):
    """Three epochs of the last block and the head, with dropout, which each process draws for itself."""
    model = network(photos.classes, head=xfer.Head((8,), dropout=0.3), dropout=True)
    model.freeze()
    model.unfreeze(last=1)
    options = {"optimizer": "sgd", "schedule": "cosine", "augment": "flip", "seed": SEED, "cache": False}
    return trainer(model, callbacks=callbacks, checkpoints=checkpoints, **options)


def undisturbed(photos, out):
    run = watched(photos, None)
    run.fit(photos, 3)
    return told(run)


def stopped(photos, out):
    """A signal to one of the processes: in the middle of an epoch, at its end, and in the evaluation after a fit."""
    found = {}
    for name, number, rank, epoch, step in (("term", 15, 1, 1, 0), ("int", 2, 0, 1, 2), ("both", 15, 0, 0, 1)):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which the one before has left ignored
        act = partial(os.kill, os.getpid(), number)
        more = [Call(act, 1, epoch, step)] if name == "both" else []
        run = watched(photos, out / name, Call(act, rank, epoch, step), *more)
        try:
            run.fit(photos, 3)
        except Interrupted as stop:
            kept = latest_checkpoint(out / name)
            at = [kept.manifest.training.epoch, kept.manifest.training.step]
            again = xfer.Trainer.resume(kept.path, device="cpu", cache=False, workers=1, progress=False)
            again.fit(photos)
            found[name] = told(again, signal=stop.number, at=at, position=[run.epoch, run.batch])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with resumable(run):
            if run.distributed.rank:
                os.kill(os.getpid(), 15)
            run.model.evaluate(photos, batch_size=8)
            run.model.evaluate(photos, batch_size=8)
    except Interrupted as stop:
        found["evaluation"] = {"signal": stop.number, "saved": stop.saved is not None}
    return found


def by_the_minute(photos, out):
    """Checkpoints by the clock of the first process, which says so after each update; then the second one is killed."""
    often, written = xfer.Checkpoints(out / "often"), []
    run = watched(photos, often, Call(partial(os.kill, os.getpid(), signal.SIGKILL), 1, 1, 1))
    write = often.write
    often.write = lambda save: written.append((run.epoch, run.batch)) or write(save)
    often.late = lambda: run.distributed.rank == 0 and (run.epoch, run.batch) not in written
    run.fit(photos, 3)


def continued(photos, out):
    run = xfer.Trainer.resume(out / "often", device="cpu", cache=False, workers=1, progress=False)
    at = [run.epoch, run.batch]
    run.fit(photos)
    return told(run, at=at)


def whole(photos, out):
    """The same, of which none is killed."""
    return killed(photos, out / "whole", None)


def killed_busy(photos, out):
    """The first process is killed, and with it the run's store, while the other is busy and waits for nobody."""
    return killed(photos, out, 0, 120)


def resumed(photos, out):
    run = xfer.Trainer.resume(out / "run", device="cpu", restore_best=False, cache=False, workers=1, progress=False)
    run.fit(photos)
    return told(run)


def main(backend, jobs, photos, out):
    distributed_parts.BACKEND = backend
    data, out = xfer.data.folder(photos), Path(out)
    for name in jobs.split(","):
        found = globals()[name](data, out)
        rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        (out / f"{name}-{size}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
