"""Saves the models of the tests below a folder, by the real MLflow, and the
answers that the libraries themselves give."""

import datetime
import json
import os
import sys
import warnings

import lightgbm
import mlflow
import numpy as np
import onnx
import pandas as pd
import xgboost
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("ignore")
OUT = sys.argv[1]


class Echo(mlflow.pyfunc.PythonModel):
    """Says what it was given, or answers what is asked of it."""

    def predict(self, context, model_input, params=None):
        params = params or {}
        ask = params.get("answer", "")
        if ask == "" and isinstance(model_input, np.ndarray) and model_input.dtype.kind == "U":
            ask = str(model_input.flat[0])
        answers = {
            "nan": lambda: [float("nan"), float("inf"), -float("inf")],
            "array": lambda: np.arange(4.0).reshape(2, 2),
            "integers": lambda: np.array([1, 2], dtype="int32"),
            "frame": lambda: pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
            "series": lambda: pd.Series([1.5, 2.5], name="s"),
            "datetime": lambda: pd.DataFrame({"at": [pd.Timestamp("2026-01-02T03:04:05.6")]}),
            "date": lambda: [datetime.date(2026, 1, 2)],
            "bytes": lambda: [b"abc"],
            "none": lambda: None,
            "text": lambda: "text",
            "scalar": lambda: np.float32(1.5),
            "dict": lambda: {"a": np.array([1.0, 2.0]), "b": "é"},
            "odd": lambda: object(),
        }
        if ask in answers:
            return answers[ask]()
        if ask == "raise":
            raise ValueError("no")
        if ask == "mlflow":
            raise MlflowException("gone", error_code=RESOURCE_DOES_NOT_EXIST)
        if ask == "sleep":
            import time

            time.sleep(30)
        return [described(model_input, dict(sorted(params.items())))]


def described(value, params):
    if isinstance(value, pd.DataFrame):
        rows = [[str(v) for v in row] for row in value.itertuples(index=False)]
        return {
            "frame": [str(c) for c in value.columns],
            "types": [str(t) for t in value.dtypes],
            "rows": rows,
            "index": [str(i) for i in value.index],
            "params": params,
        }
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "type": value.dtype.name, "params": params}
    if isinstance(value, dict):
        return {"dict": {k: described(v, None) for k, v in value.items()}, "params": params}
    return {"other": str(value), "of": type(value).__name__, "params": params}


def save(name, signature=None, **more):
    path = os.path.join(OUT, name)
    mlflow.pyfunc.save_model(
        path, python_model=Echo(), signature=signature, pip_requirements=["pandas"], **more
    )


PARAMS = ParamSchema(
    [
        ParamSpec("answer", "string", ""),
        ParamSpec("times", "integer", 2),
        ParamSpec("scale", "double", 0.5),
    ]
)
COLUMNS = [
    ColSpec("double", "d"),
    ColSpec("float", "f"),
    ColSpec("long", "l"),
    ColSpec("integer", "i"),
    ColSpec("boolean", "b"),
    ColSpec("string", "s"),
    ColSpec("datetime", "t", required=False),
    ColSpec("binary", "y", required=False),
]
save("columns", ModelSignature(Schema(COLUMNS), params=PARAMS))
save("tensor", ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 2))]), params=PARAMS))
save(
    "tensors",
    ModelSignature(
        Schema(
            [TensorSpec(np.dtype("int64"), (-1, 2), "a"), TensorSpec(np.dtype("str"), (-1,), "b")]
        )
    ),
)
save("free")
save("unnamed", ModelSignature(Schema([ColSpec("double"), ColSpec("long")])))
save("one", ModelSignature(Schema([ColSpec("double", "x")])))
save("binary", ModelSignature(Schema([ColSpec("binary", "x"), ColSpec("datetime", "date")])))

X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0] * 10, "b": [3.0, 2.0, 1.0, 0.5] * 10})
y = [0, 0, 1, 1] * 10
told = {}


def trained(flavor, model, predict, **more):
    answer = predict(X.iloc[:4])
    told[flavor] = np.asarray(answer).tolist()
    path = os.path.join(OUT, flavor)
    getattr(mlflow, flavor).save_model(model, path, signature=infer_signature(X, answer), **more)


linear = LogisticRegression().fit(X, y)
trained("sklearn", linear, linear.predict, pip_requirements=["scikit-learn"])
boosted = xgboost.XGBClassifier(n_estimators=5).fit(X, y)
trained("xgboost", boosted, boosted.predict, pip_requirements=["xgboost"])
trees = lightgbm.LGBMRegressor(n_estimators=5, min_child_samples=2, verbose=-1).fit(X, y)
trained("lightgbm", trees, trees.predict, pip_requirements=["lightgbm"])

graph = onnx.helper.make_graph(
    [onnx.helper.make_node("MatMul", ["x", "w"], ["z"])],
    "double",
    [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])],
    [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [None, 1])],
    [onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 1], [2.0, 0.25])],
)
model = onnx.helper.make_model(
    graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
)
mlflow.onnx.save_model(
    model,
    os.path.join(OUT, "onnx"),
    pip_requirements=["onnxruntime"],
    signature=ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 2), "x")])),
)
told["onnx"] = {"z": [[row[0] * 2 + row[1] * 0.25] for row in X.iloc[:4].to_numpy().tolist()]}

with open(os.path.join(OUT, "told.json"), "w") as f:
    json.dump({"rows": X.iloc[:4].to_numpy().tolist(), "told": told}, f)
