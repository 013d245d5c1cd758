"""The user's script: find it, import it, judge it, call it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import logging
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, List, NamedTuple, Optional

import sluice_check as check

logger = logging.getLogger("azmlinfsrv.user_script")


class Settings(NamedTuple):
    app_root: str
    source_dir: str  # relative to app_root; "" for none
    entry_script: str  # "" for module main
    model_dir: str
    mlflow: bool = False  # the model in model_dir is served, and there is no script

    def script_path(self) -> str:
        if self.mlflow:
            return os.path.join(self.app_root, "MLmodel")
        return os.path.join(self.app_root, self.entry_script.replace("/", os.sep))

    def roots(self) -> List[str]:
        """The folders the user's own code is in, the innermost first."""
        roots = []
        if self.source_dir:
            roots.append(os.path.join(self.app_root, self.source_dir))
        roots.append(self.app_root)
        if self.mlflow:
            roots.append(self.model_dir)
        if self.entry_script:
            roots.append(os.path.dirname(self.script_path()))
        return [os.path.realpath(root) for root in roots]


class ScriptError(Exception):
    """What is wrong with a script although Python could import it."""

    def __init__(self, code: str, message: str, hint: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.line = line


class Aliases:
    """Finds the older names of the modules with which scripts see HTTP. They are
    the same modules, whatever else may be installed under these names."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if name in _ALIASES:
            return ModuleSpec(name, self)  # type: ignore[arg-type]  # the base class costs 2 ms
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.module = importlib.import_module(_ALIASES[spec.name])
        self.spec = self.module.__spec__
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the machinery has given it the alias's


_API = "azureml_inference_server_http.api."
_ALIASES = {
    "azureml.contrib.services.aml_request": _API + "aml_request",
    "azureml.contrib.services.aml_response": _API + "aml_response",
}

PLAIN, RAW, SCHEMA, MODEL = "plain", "raw", "schema", "model"


class Script(NamedTuple):
    """A loaded script, and what its run() is called with."""

    init: Callable[[], Any]
    run: Callable[..., Any]
    kind: str  # the body as text, the request, its fields, or what MLflow has for a model
    parameter: str  # the first of inputs
    inputs: List[inspect.Parameter]
    wants_headers: bool
    # run() takes the request, or the script names Flask: then it may ask for the
    # request that is being answered, whatever run() is called with.
    sees_http: bool
    reader: Optional[Callable[..., Any]] = None  # instead of what run() of a script gets
    dumps: Optional[Callable[[Any], bytes]] = None  # instead of output_json
    mlflow: str = ""  # the version of the MLflow that serves a model without a script


def extend_path(settings: Settings) -> None:
    """Where the original puts what a script may import: the working directory
    first, the app root and the source directory last."""
    if sys.path and sys.path[0] == "":
        sys.path[0] = os.getcwd()
    sys.path.append(settings.app_root)
    if settings.source_dir:
        sys.path.append(os.path.join(settings.app_root, settings.source_dir))


def load(settings: Settings) -> Script:
    """Import the script and check that it can serve. Raises what the script
    raises while being imported, and ScriptError."""
    sys.meta_path.insert(0, Aliases())
    module = _import(settings)
    path = str(module.__file__)
    _require(module, path)
    run = module.run
    inner = getattr(module, "driver_module", None)
    if isinstance(inner, ModuleType) and hasattr(inner, "run"):
        logger.info("Found driver script at %s and the score script at %s", path, inner.__file__)
        run = inner.run
    else:
        logger.info("Found user script at %s", path)
    return _judge(module, inner if isinstance(inner, ModuleType) else module, run)


def _import(settings: Settings) -> ModuleType:
    if not settings.entry_script:
        return importlib.import_module("main")
    spec = importlib.util.spec_from_file_location("entry_module", settings.script_path())
    if spec is None or spec.loader is None:
        raise ScriptError("BadValue", f"{settings.entry_script} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickle look their module up by name.
    sys.modules["entry_module"] = module
    spec.loader.exec_module(module)
    return module


def _require(module: ModuleType, path: str) -> None:
    functions = {
        name: value.__code__.co_firstlineno
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    for name in ("init", "run"):
        if not hasattr(module, name):
            cause = check.missing(name, functions, path)
            raise ScriptError(cause["code"], cause["message"], cause["hint"], cause.get("line", 0))


def _judge(outer: ModuleType, inner: ModuleType, run: Callable[..., Any]) -> Script:
    parameters = list(inspect.signature(run).parameters.values())
    line = getattr(getattr(run, "__code__", None), "co_firstlineno", 0)
    plain = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

    odd = any(parameter.kind not in plain for parameter in parameters)
    names = [parameter.name for parameter in parameters]
    fault = check.parameter_fault(names, odd)
    if inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run):
        fault = check.ASYNC
    if fault:
        cause = check.unfit(fault, "", line)
        raise ScriptError(cause["code"], cause["message"], cause["hint"], line)
    inputs = [parameter for parameter in parameters if parameter.name != "request_headers"]
    kind = _kind(run, line)
    logger.info(_CALLED[kind], *_shown(kind, inputs))
    sees_http = kind == RAW or _names_http(outer) or _names_http(inner) or _asks_http(run)
    wants = "request_headers" in names
    return Script(outer.init, run, kind, inputs[0].name, inputs, wants, sees_http)


_CALLED = {
    PLAIN: "run() is not decorated. Server will invoke it with the input in JSON string.",
    RAW: "run() is decorated with @rawhttp. Server will invoke it with the flask request object.",
    SCHEMA: "run() is decorated with @input_schema. Server will invoke it with the following "
    "arguments: %s.",
}


def _shown(kind: str, inputs: List[inspect.Parameter]) -> List[str]:
    return [", ".join(parameter.name for parameter in inputs)] if kind == SCHEMA else []


def _kind(run: Callable[..., Any], line: int) -> str:
    request = sys.modules.get(_API + "aml_request")
    raw = request is not None and request._rawHttpRequested
    if not is_decorated(run):
        return RAW if raw else PLAIN
    if raw:
        raise ScriptError(
            "ScriptFunctionMissing",
            "run() cannot be decorated with both @rawhttp and @input_schema",
            "leave one of the two out",
            line,
        )
    return SCHEMA


def is_decorated(run: Callable[..., Any]) -> bool:
    """Whether run() has a schema of inference-schema."""
    schema = sys.modules.get("inference_schema.schema_util")
    return schema is not None and bool(schema.is_schema_decorated(run))


_HTTP_MODULES = ("flask", "werkzeug")


def _names_http(module: ModuleType) -> bool:
    for value in list(vars(module).values()):
        named = value.__name__ if isinstance(value, ModuleType) else type(value).__module__
        if isinstance(value, type) or inspect.isfunction(value):
            named = value.__module__
        if str(named).split(".")[0] in _HTTP_MODULES:
            return True
    return False


def _asks_http(run: Callable[..., Any]) -> bool:
    """Whether run() imports Flask itself."""
    names = getattr(getattr(run, "__code__", None), "co_names", ())
    return any(str(name).split(".")[0] in _HTTP_MODULES for name in names)


def output_json(output: Any) -> bytes:
    """What a client gets for what run() returned. Raises what json raises."""
    if output is None:
        return b"{}"
    return json.dumps(output).encode("ascii")
