"""scikit-learn objects on disk, without pickle."""

from __future__ import annotations

import io
from typing import Any

from xfer.errors import CheckpointError, XferError
from xfer.runtime.strict_json import parse
from xfer.weights.archive import Archive
from xfer.weights.malformed import MalformedError

# How skops may build a thing: none of these calls a function that the file names.
_LOADERS = frozenset(
    f"{kind}Node"
    for kind in (
        *("Dict", "DType", "Json", "List", "Loss", "NdArray", "Object"),
        *("RandomGenerator", "RandomState", "Slice", "Tree", "Tuple", "Type"),
    )
)

# Classes beyond scikit-learn's public ones of which its classifiers and imputers, and imbalanced-learn's, consist. By
# name, one and all: whoever trusts a package trusts also `numpy.load`.
_CLASSES = {
    "imblearn": (
        "ensemble._bagging.BalancedBaggingClassifier",
        "ensemble._easy_ensemble.EasyEnsembleClassifier",
        "ensemble._forest.BalancedRandomForestClassifier",
        "ensemble._weight_boosting.RUSBoostClassifier",
        "over_sampling._adasyn.ADASYN",
        "over_sampling._random_over_sampler.RandomOverSampler",
        "over_sampling._smote.base.SMOTE",
        "over_sampling._smote.filter.BorderlineSMOTE",
        "over_sampling._smote.filter.SVMSMOTE",
        "pipeline.Pipeline",
        "under_sampling._prototype_selection._random_under_sampler.RandomUnderSampler",
    ),
    "numpy": ("dtype",),
    "sklearn": (
        "calibration._CalibratedClassifier",
        "calibration._SigmoidCalibration",
        "ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        *(f"gaussian_process.kernels.{kernel}" for kernel in ("ConstantKernel", "DotProduct", "Exponentiation")),
        *(f"gaussian_process.kernels.{kernel}" for kernel in ("ExpSineSquared", "Matern", "Product", "RBF")),
        *(f"gaussian_process.kernels.{kernel}" for kernel in ("RationalQuadratic", "Sum", "WhiteKernel")),
        "impute._iterative.IterativeImputer",
        "impute._iterative._ImputerTriplet",
        "multiclass._ConstantPredictor",
        "neural_network._stochastic_optimizers.AdamOptimizer",
        "neural_network._stochastic_optimizers.SGDOptimizer",
        "tree._tree.Tree",
    ),
}

_TRUSTED = frozenset(f"{package}.{name}" for package, names in _CLASSES.items() for name in names)


def dumps(thing: Any) -> bytes:
    """scikit-learn's objects as bytes that `loads` reads.

    Raises:
        CheckpointError: there is something in them that `loads` refuses.
    """
    content = bytes(_skops().dumps(thing))
    _check(content, type(thing).__name__)
    return content


def loads(content: bytes, where: str) -> Any:
    """What `dumps` wrote; nothing is made but the classes of scikit-learn and its like that hold numbers.

    Raises:
        CheckpointError: other classes, functions, compressed or damaged bytes.
    """
    try:
        return _skops().loads(content, trusted=_check(content, where))
    except XferError:
        raise
    # skops raises whatever a file that names the right classes, and lies about what is in them, leads it to.
    except Exception as error:
        raise CheckpointError(f"{where} cannot be read: {type(error).__name__}: {error}") from None


def _check(content: bytes, where: str) -> list[str]:
    """The names of classes that skops has to be told to trust; the list of them that a file gives is not believed.

    Raises:
        CheckpointError: there is anything in the file but plain numbers in known classes.
    """
    skops = _skops()
    try:
        archive = Archive(io.BytesIO(content), len(content))
        todo = [parse(archive.read("schema.json"))]
    except (MalformedError, ValueError) as error:
        raise CheckpointError(f"{where} cannot be read: {error}") from None
    while todo:
        found = todo.pop()
        todo += found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        loader = found.get("__loader__", "DictNode") if isinstance(found, dict) else "DictNode"
        if not isinstance(loader, str) or loader not in _LOADERS:
            name = f"{found.get('__module__')}.{found.get('__class__')}"
            raise CheckpointError(f"{where} holds a {name}, which is more than numbers: refused")
    strange = set(skops.get_untrusted_types(data=content))
    if foreign := strange - _TRUSTED:
        hint = "; give the estimator algorithm='brute'" if any("neighbors" in name for name in foreign) else ""
        raise CheckpointError(f"{where} holds a {min(foreign)}, which is no type of scikit-learn's: refused{hint}")
    return sorted(strange)


def _skops() -> Any:
    try:
        import skops.io
    except ImportError:
        raise XferError('estimators and columns are stored with skops: pip install "xfer-learn[sklearn]"') from None
    return skops.io
