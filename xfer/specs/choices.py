"""Closed sets of words that several rooms use."""

from typing import Literal

OnBad = Literal["report", "raise", "impute"]
Sampling = Literal["none", "over", "under", "balanced"]
Imputer = Literal["mean", "median", "most_frequent", "knn", "iterative"]
EstimatorName = Literal[
    "logistic-regression", "svm", "knn", "random-forest", "gradient-boosting", "adaboost", "bagging"
]
TrackerName = Literal["tensorboard", "mlflow", "wandb"]
