"""An MLflow model that is served without a script, by two routes.

/score takes what Azure's own script for such models takes: {"input_data": ...,
"params": ...}, and answers the bare predictions. /invocations is MLflow's own
server's, and what answers there is the very function of that server, of the
MLflow the model asks for.

    input_data            of a model whose signature has
                          columns        tensors          neither
    {"columns", "data"}   frame          -                frame
    list of lists         rows           array            array
    list of objects       records        -                array
    list of scalars       one column     array            array
    {name: list}          columns        named arrays     named arrays
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import sluice_frames as frames
import sluice_inputs as inputs
from sluice_frames import Channel, Frame
from sluice_script import MODEL, Script, ScriptError, Settings

logger = logging.getLogger("azmlinfsrv.user_script")

_FLAVOR = "python_function"
_INVOCATIONS = b"/invocations\0"
_HINT = (
    "save it with MLflow as a python_function, or serve it with a script of your own: "
    "add code_configuration"
)

Convert = Callable[[Any], Any]


class Loaded(NamedTuple):
    """A model that can be called."""

    predict: Callable[..., Any]
    convert: Convert  # of input_data
    jsonable: Callable[..., Any]  # of predictions
    invoke: Callable[[bytes, str], Any]


def load(settings: Settings) -> Script:
    """Import MLflow and look at the model, which init() of the script loads."""
    path = find(settings.model_dir)
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"  # as MLflow's own server does
    # Or every worker calls MLflow's makers, from a thread of its own.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    version = str(importlib.import_module("mlflow").__version__)
    pyfunc = importlib.import_module("mlflow.pyfunc")
    check(path)
    loaded: List[Loaded] = []

    def init() -> None:
        loaded.append(bind(pyfunc.load_model(path), path))

    def run(**arguments: Any) -> Any:
        model = loaded[0]
        if "invocation" in arguments:
            return invocation(model, *arguments["invocation"])
        return score(model, **arguments)

    return Script(
        init,
        run,
        MODEL,
        parameter="input_data",
        inputs=[],
        wants_headers=False,
        sees_http=False,
        reader=read,
        dumps=_dumps(),
        mlflow=version,
    )


def find(model_dir: str) -> str:
    """The folder with MLmodel: the one that is named, or the only one."""
    if not model_dir:
        raise ScriptError(
            "ModelInvalid", "there is no model to serve: AZUREML_MODEL_DIR is not set"
        )
    named = os.path.normpath(os.path.join(model_dir, os.environ.get("MLFLOW_MODEL_FOLDER", "")))
    for folder in (named, model_dir):
        if os.path.isfile(os.path.join(folder, "MLmodel")):
            return folder
    found = [
        folder
        for folder in _folders(model_dir, 2)
        if os.path.isfile(os.path.join(folder, "MLmodel"))
    ]
    if len(found) == 1:
        return found[0]
    said = "it has no file MLmodel" if not found else f"it has {len(found)} files MLmodel"
    raise ScriptError("ModelInvalid", f"the model in {model_dir} is no MLflow model: {said}", _HINT)


def _folders(path: str, depth: int) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries[:1000]:
        if entry.is_dir():
            yield entry.path
            if depth > 1:
                yield from _folders(entry.path, depth - 1)


def check(path: str) -> None:
    """Refuse a model that MLflow could not serve either, before it is loaded."""
    try:
        model = importlib.import_module("mlflow.models").Model.load(path)
    except Exception as error:
        raise ScriptError(
            "ModelInvalid",
            f"the model's MLmodel cannot be read: {type(error).__name__}: {error}",
            _HINT,
        ) from error
    flavors = model.flavors or {}
    if _FLAVOR not in flavors:
        said = ", ".join(sorted(map(str, flavors))[:10])
        said = f"it has {said}" if said else "it names no flavour"
        raise ScriptError(
            "ModelInvalid",
            f"the MLflow model has no flavour {_FLAVOR}, by which models are served: {said}",
            _HINT,
        )


def bind(model: Any, path: str) -> Loaded:
    predict = model.predict
    if "params" not in inspect.signature(predict).parameters:
        plain = predict

        def predict(data: Any, params: Any = None) -> Any:
            if params:
                logger.warning("params have no effect: this version of MLflow has none")
            return plain(data)

    proto = importlib.import_module("mlflow.utils.proto_json_utils")
    return Loaded(
        predict, converter(model.metadata, path), proto._get_jsonable_obj, _invoker(model)
    )


# The frames of requests.


def read(channel: Channel, frame: Frame, script: Script) -> Dict[str, Any]:
    """The arguments of run(). Raises InputError."""
    if frame.flags & frames.FLAG_GET:
        channel.drop_body(frame)
        return _arguments(inputs.query_object(inputs.query_of(frame.meta)))
    body = channel.body_bytes(frame)
    how = frame.meta[1:]
    if how.startswith(_INVOCATIONS):
        return {"invocation": (body, how[len(_INVOCATIONS) :].decode("latin-1"))}
    return _arguments(inputs.json_fields(body))


def _arguments(value: Dict[str, Any]) -> Dict[str, Any]:
    if "input_data" not in value:
        raise inputs.InputError("A value is not provided for the 'input_data' parameter.")
    return {"input_data": value["input_data"], "params": value.get("params")}


# Azure's route.


def score(model: Loaded, input_data: Any, params: Any = None) -> Any:
    data = model.convert(input_data)
    if params and not isinstance(params, dict):
        raise ValueError(f"params is {type(params).__name__}: expected an object")
    return model.jsonable(model.predict(data, params=params or None), pandas_orient="records")


def _dumps() -> Callable[[Any], bytes]:
    """Predictions as JSON: what Python's json lacks is as MLflow has it."""
    encode = importlib.import_module("mlflow.utils.proto_json_utils").NumpyEncoder().encode

    def dumps(value: Any) -> bytes:
        if type(value) is bytes:  # an invocation's, which is JSON already
            return value
        if value is None:
            return b"{}"
        text: str = encode(value)
        return text.encode("ascii")

    return dumps


def converter(metadata: Any, path: str) -> Convert:
    """What makes the model's input out of input_data."""
    flavors = metadata.flavors or {}
    if "hftransformersv2" in flavors:
        return lambda data: data
    if not {"transformers", "langchain", "openai"}.isdisjoint(flavors):
        return _language
    signature = metadata.signature
    schema = signature.inputs if signature is not None else None
    if not schema or not getattr(schema, "inputs", None):
        return _plain
    if schema.is_tensor_spec():
        return _tensors(schema)
    return Columns(schema).frame


def _plain(data: Any) -> Any:
    """The input of a model without a signature: what it looks like."""
    import numpy
    import pandas

    if isinstance(data, str):
        data = json.loads(data)
    if isinstance(data, list):
        return numpy.asarray(data)
    if not isinstance(data, dict):
        raise ValueError(f"input_data is {type(data).__name__}: expected a list or an object")
    if "columns" in data and "data" in data and set(data) <= {"columns", "index", "data"}:
        return pandas.DataFrame(data["data"], columns=data["columns"], index=data.get("index"))
    return {name: numpy.asarray(value) for name, value in data.items()}


def _language(data: Any) -> Any:
    """The input of a model of language: text, and objects of text, as they are."""
    if isinstance(data, str):
        return data
    if isinstance(data, list) and all(isinstance(item, (str, dict)) for item in data):
        return data
    if isinstance(data, dict) and "columns" not in data and all(map(_is_text, data.values())):
        return data
    return _plain(data)


def _is_text(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def _tensors(schema: Any) -> Convert:
    import numpy

    def array(value: Any, dtype: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError("Invalid input format: expected an array of items.")
        # The length of texts is not part of their type.
        return numpy.array(value, dtype=None if dtype.kind in "USO" else dtype)

    if not schema.has_input_names():
        dtype = numpy.dtype(schema.inputs[0].type)
        return lambda data: array(data, dtype)
    dtypes = {spec.name: numpy.dtype(spec.type) for spec in schema.inputs}

    def named(data: Any) -> Dict[str, Any]:
        if not isinstance(data, dict):
            raise ValueError(f"input_data is {type(data).__name__}: expected an object of tensors")
        return {
            name: array(value, dtypes[name]) if name in dtypes else value
            for name, value in data.items()
        }

    return named


class Columns:
    """Makes the frames of a model whose signature has columns."""

    def __init__(self, schema: Any) -> None:
        import numpy

        self.names: List[Any] = list(schema.input_names())
        kinds = list(schema.pandas_types())
        self.types: Dict[Any, Any] = dict(zip(self.names, kinds))
        self.binary = {
            name
            for name, spec in zip(self.names, schema.inputs)
            if getattr(getattr(spec, "type", None), "name", "") == "binary"
        }
        # Where all columns are of one number's type, one array holds them.
        one = {numpy.dtype(t) for t in kinds if isinstance(t, (type, numpy.dtype))}
        self.one = one.pop() if len(one) == 1 and len(kinds) == len(self.types) else None
        if self.one is not None and self.one.kind not in "fib":
            self.one = None

    def frame(self, data: Any) -> Any:
        columns, index, rows = self._parts(data)
        labels = [self._label(column) for column in columns]
        if self.one is not None and all(label in self.types for label in labels):
            import numpy
            import pandas

            # Exactly what a frame's astype would do, in one step.
            values = numpy.array(rows, dtype=self.one)
            if values.ndim == 2:
                return pandas.DataFrame(values, columns=labels, index=index, copy=False)
        return self._general(labels, index, rows)

    def _general(self, labels: List[Any], index: Any, rows: Any) -> Any:
        import pandas

        frame = pandas.DataFrame(rows, columns=labels, index=index)
        for name in self.binary.intersection(labels):
            frame[name] = [_bytes(value) for value in frame[name].tolist()]
        types = {name: self.types.get(name, object) for name in labels if name not in self.binary}
        return frame.astype(types)

    def _label(self, column: Any) -> Any:
        if column in self.types:
            return column
        if isinstance(column, str) and column.isdigit() and int(column) in self.types:
            return int(column)  # the columns of a signature without names are counted
        return str(column) if str(column) in self.types else column

    def _parts(self, data: Any) -> Tuple[List[Any], Any, Any]:
        """Columns, index and rows of what a client may send."""
        if isinstance(data, str):
            data = json.loads(data)
        if isinstance(data, dict):
            if "data" in data and "columns" in data:
                return data["columns"], data.get("index"), data["data"]
            if not all(isinstance(value, list) for value in data.values()):
                data = {name: [value] for name, value in data.items()}
            return list(data), None, _rows(list(data.values()))
        if not isinstance(data, list):
            raise ValueError(f"input_data is {type(data).__name__}: expected a list or an object")
        if data and all(isinstance(row, dict) for row in data):
            names = list(dict.fromkeys(name for row in data for name in row))
            return names, None, [[row.get(name) for name in names] for row in data]
        if data and not any(isinstance(row, list) for row in data):
            data = [[value] for value in data]
        width = len(data[0]) if data else len(self.names)
        return self.names[:width], None, data


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    import base64

    return base64.b64decode("".join(value.split()), validate=True)


def _rows(columns: List[List[Any]]) -> List[List[Any]]:
    if len({len(column) for column in columns}) > 1:
        raise ValueError("the columns of input_data are of different lengths")
    return [list(row) for row in zip(*columns)]


# MLflow's route.


def _invoker(model: Any) -> Callable[[bytes, str], Any]:
    try:
        server = importlib.import_module("mlflow.pyfunc.scoring_server")
        invocations = server.invocations
    except (ImportError, AttributeError) as error:
        reason = f"MLflow's scoring server cannot be used: {type(error).__name__}: {error}"
        logger.warning("/invocations is not served: %s", reason)

        def refuse(body: bytes, content_type: str) -> Any:
            said = {"error_code": "NOT_IMPLEMENTED", "message": reason}
            return frames.Refused(501, json.dumps(said).encode("ascii"))

        return refuse
    schema = model.metadata.get_input_schema()
    # Before MLflow 3 its server's framework had made a text of the body.
    as_text = int(importlib.import_module("mlflow").__version__.split(".")[0]) < 3

    def invoke(body: bytes, content_type: str) -> Any:
        data: Any = body
        if as_text:
            kind = content_type.partition(";")[0].strip()
            if kind not in server.CONTENT_TYPES:  # it would ask its framework for the words
                return frames.Refused(415, _unsupported(server.CONTENT_TYPES, content_type))
            data = body.decode("utf-8")
        return invocations(data, content_type, model, schema)

    return invoke


def _unsupported(kinds: List[str], content_type: str) -> bytes:
    said = "This predictor only supports the following content types: "
    return f"{said}Types: {kinds}. Got '{content_type}'.".encode()


def invocation(model: Loaded, body: bytes, content_type: str) -> Any:
    """What MLflow's server answers: the body, or a refusal with its status."""
    try:
        answer = model.invoke(body, content_type)
    except Exception as error:
        serialize = getattr(error, "serialize_as_json", None)
        if serialize is None:
            raise
        logger.warning("%s: %s", type(error).__name__, str(error)[:2000])
        return frames.Refused(error.get_http_status_code(), serialize().encode("utf-8"))  # type: ignore[attr-defined]
    if isinstance(answer, frames.Refused):
        return answer
    text = answer.response.encode("utf-8")
    return text if answer.status == 200 else frames.Refused(answer.status, text)
