"""Class probabilities of images by classifiers that have not seen them."""

from __future__ import annotations

import warnings

import numpy as np

from xfer.errors import DataError

FOLDS = 5
# Strong regularisation, so that the classifier does not fit the wrong labels among its training images.
# scikit-learn's C is 2 / D for D standardised features, whose squared norm is D on average: the penalty is then equally
# strong for networks of different width.
STRENGTH = 2.0
MOST_ITERATIONS = 10_000
TOLERANCE = 1e-9  # of the gradient: the two backends' features lead to the same probabilities, to about 1e-6


def groups_of_classes(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """In how many groups each class has images, int64 (K,)."""
    return np.bincount(np.unique(np.column_stack([labels, groups]), axis=0)[:, 0])


def out_of_fold(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int = 0, *, tolerance: float = TOLERANCE
) -> np.ndarray:
    """Probabilities float64 (N, K) of K classes by cross-validation of a logistic regression.

    Five stratified folds; the features are standardised by the training folds. Images of one group, such as copies of
    one picture, are in one fold. Of classes with fewer groups than folds, some folds have no image.

    Args:
        features: float (N, D).
        labels: int (N,), 0 to K - 1, each with images of two groups or more.
        groups: int (N,).
        seed: of the folds.
        tolerance: of the gradient at which a fit ends.

    Raises:
        DataError: a class whose images are all of one group, or fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    sizes = groups_of_classes(labels, groups)
    if len(sizes) < 2 or sizes.min() < 2:
        raise DataError(
            f"classes have {sizes.tolist()} images: out-of-fold predictions need two classes, two images each"
        )
    features = np.asarray(features, np.float64)
    found = np.zeros((len(labels), len(sizes)))
    number = min(FOLDS, int(np.bincount(labels[first]).max()))
    # Where copies have different labels, no class may have two groups whose first image is of it.
    kind, number = (StratifiedKFold, number) if number > 1 else (KFold, 2)
    folds = kind(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(folds.split(first, labels[first]))
    for _, held in parts:
        out = np.isin(group_of, held)
        if len(learnt := np.unique(labels[~out])) == 1:
            found[out, learnt] = 1.0
            continue
        regression = LogisticRegression(C=STRENGTH / features.shape[1], tol=tolerance, max_iter=MOST_ITERATIONS)
        model = make_pipeline(StandardScaler(), regression)
        model.fit(features[~out], labels[~out])
        found[np.ix_(out, model.classes_)] = model.predict_proba(features[out])
    return found
