"""The user's script: find it, import it, judge it, call it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import logging
import os
import sys
from types import ModuleType
from typing import Any, Callable, Dict, List, NamedTuple, Optional

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


class NotBuiltError(ImportError):
    """The script uses something of the original server that Sluice lacks."""


_RAW = "scripts that use @rawhttp, AMLRequest or AMLResponse are not built yet in Sluice"
_SCHEMA = "scripts that use @input_schema or @output_schema are not built yet in Sluice"
_SERVER_MODULES = ("azureml_inference_server_http", "azureml.contrib.services")


class RefuseServerModules:
    """A finder that refuses the original server's own modules by name."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        for module in _SERVER_MODULES:
            if name == module or name.startswith(module + "."):
                raise NotBuiltError(_RAW + " (imported: " + name + ")", name=name)


def names_server_module(source_line: str) -> Optional[NotBuiltError]:
    """The refusal for an import whose parent package is not even installed."""
    for module in _SERVER_MODULES:
        if module in source_line:
            return NotBuiltError(_RAW + " (imported: " + module + ")", name=module)
    return None


class Script(NamedTuple):
    """A loaded script. Call run with the input and, if wanted, the headers."""

    init: Callable[[], Any]
    run: Callable[..., Any]
    parameter: str
    wants_headers: bool
    reader: Optional[Callable[..., Any]] = None  # instead of what run() of a script gets
    dumps: Optional[Callable[[Any], bytes]] = None  # instead of output_json

    def arguments(self, text: str, headers: Optional[Dict[str, str]]) -> Dict[str, Any]:
        if self.wants_headers:
            return {self.parameter: text, "request_headers": headers or {}}
        return {self.parameter: text}


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
    sys.meta_path.insert(0, RefuseServerModules())
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
    _refuse_schema(run)
    return _judge(module.init, run)


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


def _refuse_schema(run: Callable[..., Any]) -> None:
    schema = sys.modules.get("inference_schema.schema_util")
    if schema is not None and schema.is_schema_decorated(run):
        raise NotBuiltError(_SCHEMA, name="inference_schema")


def _judge(init: Callable[[], Any], run: Callable[..., Any]) -> Script:
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
    wants_headers = "request_headers" in names
    inputs = [name for name in names if name != "request_headers"]
    logger.info("run() is not decorated. Server will invoke it with the input in JSON string.")
    return Script(init, run, inputs[0], wants_headers)


def output_json(output: Any) -> bytes:
    """What a client gets for what run() returned. Raises what json raises."""
    if output is None:
        return b"{}"
    return json.dumps(output).encode("ascii")
