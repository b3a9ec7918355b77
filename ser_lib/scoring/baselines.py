"""Pooled features → emotions, by models that take seconds to fit: what a network has to be better than.

They see one vector for each clip (`features.pool`) and no order in time, and are fitted on the training set alone.
"""

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

BASELINES = ("majority", "linear", "svm")
"""Always the most frequent emotion; logistic regression; support vector machine with a radial kernel."""
_MAX_ITER = 5000
"""Steps of logistic regression; it needs a few hundred."""


def predict_baselines(X_train: np.ndarray, y_train: np.ndarray, X_test: np.ndarray) -> dict[str, np.ndarray]:
    """Labels [shape=(n_test,)] that each baseline gives.

    Parameters
    ----------
    X_train : np.ndarray [shape=(n_train, n_features)]
    y_train : np.ndarray [shape=(n_train,)]
    X_test : np.ndarray [shape=(n_test, n_features)]
    """
    models = (
        DummyClassifier(strategy="most_frequent"),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MAX_ITER)),
        make_pipeline(StandardScaler(), SVC(C=1)),
    )
    X_train, X_test = X_train.astype(np.float64), X_test.astype(np.float64)
    return {name: model.fit(X_train, y_train).predict(X_test) for name, model in zip(BASELINES, models, strict=True)}
