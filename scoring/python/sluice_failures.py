"""Why a script cannot serve, as a cause: code, sentence, file, line, hint."""

from __future__ import annotations

import os
from typing import Any, Optional

import sluice_models as models
import sluice_packages as packages
from sluice_places import Cause, Place, brief, own, shown, user_place, user_traceback
from sluice_script import ScriptError, Settings
from sluice_warnings import VersionWarnings

_EVIDENCE_LINES = 12

_WHILE = {
    "import": "while the script was imported",
    "init": "while init() ran",
    "describe": "while the service was described",
    "run": "while run() ran",
}


# The same of a model that is served without a script: what it says of the
# functions of a script, and the words for it.
_OF_MODEL = (
    ("importing the script raised", "importing MLflow raised"),
    ("while the script was imported", "while MLflow was imported"),
    ("init() raised", "loading the model raised"),
    ("while init() ran", "while the model was loaded"),
    ("run() raised", "the model raised"),
    ("while run() ran", "while the model ran"),
    ("the script ", "the model "),
)


def in_words_of(settings: Settings, cause: Cause) -> Cause:
    if settings.mlflow:
        for of_script, of_model in _OF_MODEL:
            cause["message"] = cause["message"].replace(of_script, of_model, 1)
    return cause


def cause_of(
    error: BaseException, stage: str, settings: Settings, versions: Optional[VersionWarnings] = None
) -> Cause:
    """The cause for what was raised while a script was imported ("import"),
    while its init() ran ("init"), or by run() ("run")."""
    place = user_place(error.__traceback__, settings)
    cause: Optional[Cause] = None
    if stage != "run" and isinstance(error, Exception) and not isinstance(error, MemoryError):
        cause = _specific(error, stage, settings, place, versions)
    cause = in_words_of(settings, cause or _general(error, stage))
    pin = packages.known_clash(error)[1]
    if pin:
        cause.setdefault("hint", f"pin {pin} in the environment")
    if stage == "run" and versions is not None and versions.seen:
        saved = versions.seen[-1]
        cause.setdefault(
            "hint",
            f"the model was saved by {saved.library} {saved.saved} and {saved.here} is installed: "
            f"if that is why, pin {saved.library}=={saved.saved} in the environment",
        )
    cause.setdefault("file", shown(place.file, settings) if place else "")
    cause.setdefault("line", place.line if place else 0)
    if not isinstance(error, ScriptError):
        lines = [line for line in user_traceback(error).splitlines() if line.strip()]
        cause.setdefault("evidence", [line[:500] for line in lines[-_EVIDENCE_LINES:]])
    return {key: value for key, value in cause.items() if value}


def _specific(
    error: Exception,
    stage: str,
    settings: Settings,
    place: Optional[Place],
    versions: Optional[VersionWarnings],
) -> Optional[Cause]:
    if isinstance(error, ScriptError):
        return {
            "code": error.code,
            "message": str(error),
            "hint": error.hint,
            "file": shown(settings.script_path(), settings),
            "line": error.line,
        }
    if isinstance(error, SyntaxError) and own(error.filename or "", settings):
        return {
            "code": "ScriptSyntaxError",
            "message": f"{type(error).__name__}: {error.msg}",
            "file": shown(error.filename or "", settings),
            "line": error.lineno or 0,
            "column": error.offset or 0,
        }
    if isinstance(error, ModuleNotFoundError) and error.name:
        gone = packages.module_missing(error, place)
        saved = models.saved_by(error, settings, versions)
        if saved is not None and gone["code"] == "ModelVersionMismatch":
            gone["message"] = (
                f"the model was saved by {saved.library} {saved.saved} and {saved.library} "
                f"{saved.here} is installed: module {error.name} does not exist there"
            )
            gone["hint"] = f"pin {saved.library}=={saved.saved} in the environment"
        return gone
    missing = models.missing_file(error)
    script = settings.script_path()
    if (
        missing is not None
        and settings.entry_script
        and os.path.abspath(missing) == os.path.abspath(script)
    ):
        return _script_missing(settings, script)
    cause = models.model_missing(error, settings, place)
    if cause is None and stage == "init":
        cause = models.version_mismatch(error, settings, versions)
    return cause or packages.broken_package(error)


def _general(error: BaseException, stage: str) -> Cause:
    if isinstance(error, SystemExit):
        return {
            "code": "ScriptExited",
            "message": "the script ended the interpreter with exit code "
            f"{exit_code(error)} {_WHILE[stage]}",
            "hint": "raise an exception instead of calling exit",
        }
    what = brief(error)
    if isinstance(error, MemoryError):
        return {
            "code": "OutOfMemory",
            "message": f"memory ran out {_WHILE[stage]}: {what}",
            "hint": "choose an instance_type with more memory, or load less of it at once",
        }
    if stage == "run":
        return {"code": "RunRaises", "message": f"run() raised {what}"}
    if stage == "init":
        return {"code": "InitRaised", "message": f"init() raised {what}"}
    if stage == "describe":
        return {"code": "ImportFailed", "message": f"making the Swagger document raised {what}"}
    return {"code": "ImportFailed", "message": f"importing the script raised {what}"}


def unsendable(error: Exception, run: Any, settings: Settings) -> Cause:
    """The cause for an output of run() that no client can be sent."""
    code = getattr(run, "__code__", None)
    if settings.mlflow:
        return {
            "code": "RunRaises",
            "message": f"the model returned what cannot be sent as JSON: {brief(error)}",
            "hint": "have its predict() return lists, arrays, frames, text or numbers",
        }
    return {
        "code": "RunRaises",
        "message": f"run() returned what cannot be sent as JSON: {brief(error)}",
        "hint": "return lists, dictionaries, text and numbers: array.tolist(), frame.to_dict()",
        "file": shown(getattr(code, "co_filename", settings.script_path()), settings),
        "line": getattr(code, "co_firstlineno", 0),
    }


def exit_code(error: SystemExit) -> int:
    """The exit code that Python would end with."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def _script_missing(settings: Settings, script: str) -> Cause:
    folder = os.path.dirname(script)
    try:
        found = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    except OSError:
        found = []
    has = "has " + ", ".join(found[:10]) if found else "has no Python file"
    return {
        "code": "FileMissing",
        "message": f"there is no scoring script {script}",
        "hint": f"the folder {has}",
        "file": shown(script, settings),
        "line": 0,
    }
