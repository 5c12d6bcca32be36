"""A scikit-learn classifier as head: its probabilities or decision function as logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xfer.errors import UsageError

_LEAST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class FittedEstimator:
    """A classifier that was fitted on features, behind the face of a head.

    Args:
        estimator: with `classes_`, and `predict_proba` or `decision_function`.
        classes: of the model, K.
        sha256: of the file that it was read from, if it was.
    """

    estimator: Any
    classes: int
    sha256: str = ""

    def __repr__(self) -> str:
        return f"FittedEstimator({type(self.estimator).__name__}, {self.classes} classes)"

    @classmethod
    def fit(cls, estimator: Any, features: np.ndarray, labels: np.ndarray, classes: int) -> FittedEstimator:
        """Fit a clone of an estimator, fitted before or not, on features (N, D) and labels int64 (N,)."""
        from sklearn.base import clone

        found = clone(estimator)
        try:
            found.fit(features, labels)
        except ValueError as error:
            raise UsageError(f"{type(found).__name__} cannot be fitted: {str(error).splitlines()[0]}") from None
        return cls(found, classes)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(N, K) float64: log-probabilities where the estimator has any, else its decision function.

        A class that it never saw, or has as impossible, is as improbable as float32 can say.
        """
        found = np.full((len(features), self.classes), np.log(_LEAST))
        if not len(features):
            return found
        places = np.asarray(self.estimator.classes_, np.int64)
        if hasattr(self.estimator, "predict_proba"):
            found[:, places] = np.log(np.maximum(self.estimator.predict_proba(features), _LEAST))
            return found
        scores = np.asarray(self.estimator.decision_function(features), np.float64)
        if scores.ndim == 2 and scores.shape[1] != len(places):
            raise UsageError(
                f"{type(self.estimator).__name__} gives {scores.shape[1]} scores for {len(places)} classes"
            )
        found[:, places] = np.column_stack([-scores, scores]) / 2 if scores.ndim == 1 else scores
        return found

    def finite_logits(self, features: np.ndarray) -> np.ndarray:
        """`logits`, NaN for rows that are not finite, which not every estimator takes."""
        finite = np.isfinite(features).all(axis=1)
        found = self.logits(np.where(finite[:, None], features, 0))
        found[~finite] = np.nan
        return found


def by_name(name: str, seed: int) -> Any:
    """The scikit-learn classifier that a word of the configuration stands for, with its library's defaults."""
    from sklearn import ensemble, linear_model, neighbors, pipeline, preprocessing, svm

    linear = linear_model.LogisticRegression(max_iter=2000)
    makers: dict[str, Callable[[], Any]] = {
        "logistic-regression": lambda: linear,
        "svm": svm.SVC,
        "knn": lambda: neighbors.KNeighborsClassifier(algorithm="brute"),  # its search trees are not stored
        "random-forest": lambda: ensemble.RandomForestClassifier(300, random_state=seed, n_jobs=-1),
        "gradient-boosting": lambda: ensemble.HistGradientBoostingClassifier(random_state=seed),
        "adaboost": lambda: ensemble.AdaBoostClassifier(random_state=seed),
        "bagging": lambda: ensemble.BaggingClassifier(linear, random_state=seed, n_jobs=-1),
    }
    return pipeline.make_pipeline(preprocessing.StandardScaler(), makers[name]())


def check_estimator(estimator: Any) -> None:
    """Refuse what cannot be a head.

    Raises:
        UsageError: no scikit-learn classifier.
    """
    from sklearn.base import BaseEstimator, is_classifier

    says = hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")
    if not (isinstance(estimator, BaseEstimator) and is_classifier(estimator) and says):
        given = f"the class {estimator.__name__}" if isinstance(estimator, type) else f"a {type(estimator).__name__}"
        raise UsageError(
            f"{given} is no classifier with predict_proba or decision_function: give for example LogisticRegression()"
        )
    pairs = [
        n for n, value in estimator.get_params().items() if n.endswith("decision_function_shape") and value == "ovo"
    ]
    if pairs and not hasattr(estimator, "predict_proba"):
        raise UsageError(f"{pairs[0]}='ovo' scores pairs of classes, not classes: give decision_function_shape='ovr'")
