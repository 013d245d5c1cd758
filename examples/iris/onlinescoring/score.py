"""Scores iris flowers with the model that train.py made.

A request is {"data": [[sepal length, sepal width, petal length, petal width], ...]},
all in centimetres. The answer is one prediction per row, in the same order.
"""

import json
import logging
import os
from typing import Any

import joblib
import numpy as np

log = logging.getLogger(__name__)

SPECIES = ["setosa", "versicolor", "virginica"]

model: Any = None


def init() -> None:
    """Loads the model; called once before the first request."""
    global model
    path = os.path.join(os.environ["AZUREML_MODEL_DIR"], "iris.joblib")
    model = joblib.load(path)
    log.info("loaded %s", path)


def run(raw_data: str) -> list[str]:
    """Answers one request."""
    rows = np.array(json.loads(raw_data)["data"], dtype=float)
    classes = model.predict(rows)
    log.info("scored %d rows", len(rows))
    return [SPECIES[int(c)] for c in classes]
