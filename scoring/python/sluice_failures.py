"""Why a script cannot serve, as a cause: code, sentence, file, line, hint."""

from __future__ import annotations

import linecache
import os
import re
import sys
import sysconfig
import traceback
import warnings
from types import TracebackType
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from sluice_script import NotBuiltError, ScriptError, Settings, names_server_module

# Packages that are imported by another name than they are installed by.
_PACKAGES = {
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "bs4": "beautifulsoup4",
    "dotenv": "python-dotenv",
    "dateutil": "python-dateutil",
    "attr": "attrs",
    "Crypto": "pycryptodome",
    "jwt": "pyjwt",
    "fitz": "pymupdf",
    "docx": "python-docx",
    "magic": "python-magic",
    "OpenSSL": "pyopenssl",
    "serial": "pyserial",
    "psycopg2": "psycopg2-binary",
    "faiss": "faiss-cpu",
    "sentence_transformers": "sentence-transformers",
    "google.protobuf": "protobuf",
    "azure.ai.ml": "azure-ai-ml",
    "azure.identity": "azure-identity",
    "azure.storage.blob": "azure-storage-blob",
}

# Azure's own platform, which is not installed unless the environment says so.
_PLATFORM = {
    "azureml.mlflow": "azureml-mlflow",
    "azureml.dataprep": "azureml-dataset-runtime",
    "azureml.fsspec": "azureml-fsspec",
    "azureml.ai.monitoring": "azureml-ai-monitoring",
    "azureml": "azureml-core",
}
_FORCE_PLATFORM = "tags: {sluice.platform_packages: install}"
_SMALL = ("azureml-fsspec", "azureml-ai-monitoring")  # installed as they are

_EVIDENCE_LINES = 12
_TREE_LINES = 20


class Place(NamedTuple):
    file: str
    line: int


class VersionWarnings:
    """Remembers what libraries warn of while they load an older model."""

    def __init__(self) -> None:
        self.seen: List[str] = []
        self._show = warnings.showwarning
        warnings.showwarning = self._note

    def _note(
        self,
        message: Any,
        category: Any,
        filename: str,
        lineno: int,
        file: Any = None,
        line: Optional[str] = None,
    ) -> None:
        if category.__name__ == "InconsistentVersionWarning":
            saved = getattr(message, "original_sklearn_version", "")
            here = getattr(message, "current_sklearn_version", "")
            if saved and here:
                self.seen.append(f"scikit-learn {saved} {here}")
        self._show(message, category, filename, lineno, file, line)


def cause_of(
    error: BaseException, stage: str, settings: Settings, versions: Optional[VersionWarnings] = None
) -> Dict[str, Any]:
    """The cause for what was raised while a script was imported ("import"),
    while its init() ran ("init"), or by run() ("run")."""
    place = user_place(error.__traceback__, settings)
    cause: Optional[Dict[str, Any]] = None
    if stage != "run" and isinstance(error, Exception) and not isinstance(error, MemoryError):
        cause = _specific(error, stage, settings, place, versions)
    cause = cause or _general(error, stage)
    cause.setdefault("file", _shown(place.file, settings) if place else "")
    cause.setdefault("line", place.line if place else 0)
    if not isinstance(error, (ScriptError, NotBuiltError)):
        lines = [line for line in user_traceback(error).splitlines() if line.strip()]
        cause.setdefault("evidence", [line[:500] for line in lines[-_EVIDENCE_LINES:]])
    return {key: value for key, value in cause.items() if value}


def _specific(
    error: BaseException,
    stage: str,
    settings: Settings,
    place: Optional[Place],
    versions: Optional[VersionWarnings],
) -> Optional[Dict[str, Any]]:
    if isinstance(error, ScriptError):
        return {
            "code": error.code,
            "message": str(error),
            "hint": error.hint,
            "file": _shown(settings.script_path(), settings),
            "line": error.line,
        }
    if isinstance(error, NotBuiltError):
        return {"code": "NotBuilt", "message": str(error)}
    if isinstance(error, SyntaxError) and _own(error.filename or "", settings):
        return {
            "code": "ScriptSyntaxError",
            "message": f"{type(error).__name__}: {error.msg}",
            "file": _shown(error.filename or "", settings),
            "line": error.lineno or 0,
            "column": error.offset or 0,
        }
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _module_missing(error, place)
    missing = _missing_file(error)
    if missing is not None:
        script = settings.script_path()
        if settings.entry_script and os.path.abspath(missing) == os.path.abspath(script):
            return _script_missing(settings, script)
        if _near_model(missing, settings):
            return _model_missing(missing, settings)
    return _version_clash(error, stage, versions) or _broken_package(error, stage, place)


_WHILE = {
    "import": "while the script was imported",
    "init": "while init() ran",
    "run": "while run() ran",
}


def _general(error: BaseException, stage: str) -> Dict[str, Any]:
    if isinstance(error, SystemExit):
        return {
            "code": "ScriptExited",
            "message": "the script ended the interpreter with exit code "
            f"{exit_code(error)} {_WHILE[stage]}",
            "hint": "raise an exception instead of calling exit",
        }
    what = _brief(error)
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
    return {"code": "ImportFailed", "message": f"importing the script raised {what}"}


def unsendable(error: Exception, run: Any, settings: Settings) -> Dict[str, Any]:
    """The cause for an output of run() that no client can be sent."""
    code = getattr(run, "__code__", None)
    return {
        "code": "RunRaises",
        "message": f"run() returned what cannot be sent as JSON: {_brief(error)}",
        "hint": "return lists, dictionaries, text and numbers: array.tolist(), frame.to_dict()",
        "file": _shown(getattr(code, "co_filename", settings.script_path()), settings),
        "line": getattr(code, "co_firstlineno", 0),
    }


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__


def exit_code(error: SystemExit) -> int:
    """The exit code that Python would end with."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def package_for(module: str) -> str:
    """The package to install for a module."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        package = _PACKAGES.get(".".join(parts[:count]))
        if package:
            return package
    return parts[0].replace("_", "-")


def _platform_package(module: str) -> Optional[str]:
    """The package of Azure's platform that a module is in, unless it is one that
    is installed like any other."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        package = _PLATFORM.get(".".join(parts[:count]))
        if package:
            return package
    return None


def _imported(line: str) -> str:
    """The module that a line imports, "" when it imports none."""
    found = re.match(r"\s*(?:import|from)\s+([\w.]+)", line)
    return found.group(1) if found else ""


def _platform_missing(name: str, package: str) -> Dict[str, Any]:
    if package in _SMALL:
        hint = f"add {package} to the dependencies in the environment's conda file"
    else:
        hint = (
            f"name {package} in the environment's conda file and write {_FORCE_PLATFORM} in the "
            "environment, which installs Azure's real packages"
        )
    return {
        "code": "ModuleNotFound",
        "message": f"module {name} of {package} is not installed in the environment",
        "hint": hint,
    }


def _module_missing(error: ModuleNotFoundError, place: Optional[Place]) -> Dict[str, Any]:
    name = str(error.name)
    if place is not None:
        refused = names_server_module(linecache.getline(place.file, place.line))
        if refused is not None:
            return {"code": "NotBuilt", "message": str(refused)}
    # The parent that is missing is named; the line says what was wanted of it.
    wanted = _imported(linecache.getline(place.file, place.line)) if place else ""
    platform = _platform_package(wanted if wanted.startswith(name) else name)
    if platform is not None:
        return _platform_missing(wanted if wanted.startswith(name) else name, platform)
    root = name.split(".")[0]
    if "." in name and root in sys.modules:
        here = _version(package_for(root))
        return {
            "code": "ModelVersionMismatch",
            "message": f"module {name} does not exist in the installed {package_for(root)} {here}; "
            "another version of it is needed",
            "hint": f"pin {package_for(root)} in the environment to the version that has {name}",
        }
    package = package_for(name)
    return {
        "code": "ModuleNotFound",
        "message": f"module {name} is not installed in the environment",
        "hint": f"add {package} to the dependencies in the environment's conda file",
    }


def _script_missing(settings: Settings, script: str) -> Dict[str, Any]:
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
        "file": _shown(script, settings),
        "line": 0,
    }


def _missing_file(error: BaseException) -> Optional[str]:
    seen: Optional[BaseException] = error
    for _ in range(10):
        if seen is None:
            return None
        if isinstance(seen, FileNotFoundError) and isinstance(seen.filename, (str, bytes)):
            return os.fsdecode(seen.filename)
        seen = seen.__cause__
    return None


def _near_model(path: str, settings: Settings) -> bool:
    if not settings.model_dir:
        return False
    model = os.path.abspath(settings.model_dir)
    full = os.path.abspath(path)
    around = os.path.dirname(model)
    return full.startswith(model + os.sep) or (
        around != os.sep and full.startswith(around + os.sep) and not _own(full, settings)
    )


def _model_missing(path: str, settings: Settings) -> Dict[str, Any]:
    holds: List[str] = []
    for line in tree(settings.model_dir):
        if len(holds) == _TREE_LINES:
            holds.append("...")
            break
        holds.append(line)
    listing = ", ".join(files_below(settings.model_dir, 10)) or "no files"
    return {
        "code": "ModelFileMissing",
        "message": f"the script opens {path}, which does not exist; "
        f"AZUREML_MODEL_DIR ({settings.model_dir}) holds {listing}",
        "hint": "open the model below os.environ['AZUREML_MODEL_DIR']; "
        "a registered folder keeps its own name there",
        "evidence": ["AZUREML_MODEL_DIR holds:", *holds],
    }


def _version_clash(
    error: BaseException, stage: str, versions: Optional[VersionWarnings]
) -> Optional[Dict[str, Any]]:
    if stage != "init" or versions is None or not versions.seen:
        return None
    library, saved, here = versions.seen[-1].split(" ")
    return {
        "code": "ModelVersionMismatch",
        "message": f"the model was saved by {library} {saved} and {library} {here} is installed; "
        f"init() raised {_brief(error)}",
        "hint": f"pin {library}=={saved} in the environment",
    }


def _broken_package(
    error: BaseException, stage: str, place: Optional[Place]
) -> Optional[Dict[str, Any]]:
    installed = [p for p in _places(error.__traceback__) if _installed(p.file)]
    text = str(error)
    binary = re.search(
        r"numpy\.(?:dtype|ndarray|ufunc) size changed|numpy\.core\.multiarray "
        r"failed to import|compiled using NumPy 1\.x",
        text,
    )
    if binary:
        package = _package_at(installed) or "a package"
        here = _version("numpy")
        return {
            "code": "ImportFailed",
            "message": f"{package} was built for another numpy than the installed numpy {here}: "
            f"{_brief(error)}",
            "hint": "pin numpy<2 in the environment, or a newer version of "
            + package.split(" ")[0],
        }
    if stage != "import" or not installed or not isinstance(error, (ImportError, SyntaxError)):
        return None
    package = _package_at(installed) or "an installed package"
    return {
        "code": "ImportFailed",
        "message": f"importing {package} raised {_brief(error)}",
        "hint": "pin a version of it that fits the environment's other packages and Python",
    }


def _package_at(places: List[Place]) -> str:
    for place in reversed(places):
        parts = place.file.replace("\\", "/").split("/")
        for marker in ("site-packages", "dist-packages"):
            if marker in parts[:-1]:
                module = parts[len(parts) - parts[::-1].index(marker)]
                package = package_for(module[:-3] if module.endswith(".py") else module)
                return f"{package} {_version(package)}".strip()
    return ""


def _version(package: str) -> str:
    try:
        from importlib.metadata import version

        return version(package)
    except Exception:
        return ""


def _places(tb: Optional[TracebackType]) -> List[Place]:
    frames = traceback.extract_tb(tb)
    return [
        Place(frame.filename, frame.lineno or 0)
        for frame in frames
        if not frame.filename.startswith("<")
    ]


def _installed(file: str) -> bool:
    return "site-packages" in file or "dist-packages" in file or file.startswith(_STDLIB)


_STDLIB = tuple(
    os.path.join(path, "")
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    if path
)


def _own(file: str, settings: Settings) -> bool:
    if _installed(file):
        return False
    full = os.path.realpath(file)
    return any(full.startswith(root.rstrip(os.sep) + os.sep) for root in settings.roots())


def user_place(tb: Optional[TracebackType], settings: Settings) -> Optional[Place]:
    """The innermost line of the user's own code in a traceback."""
    places = _places(tb)
    own = [place for place in places if _own(place.file, settings)]
    others = [place for place in places if not _installed(place.file)]
    chosen = own or others
    return chosen[-1] if chosen else None


def _shown(file: str, settings: Settings) -> str:
    """A file's name as its author knows it: relative to the folder of the code."""
    full = os.path.realpath(file)
    for root in settings.roots():
        if root != os.sep and full.startswith(root + os.sep):
            return os.path.relpath(full, root)
    return file


def user_traceback(error: BaseException) -> str:
    """The traceback without the frames of the server."""
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(("<sluice>", "<frozen")):
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(error), error, tb)).rstrip("\n")


def tree(path: str, depth: int = 0) -> Iterator[str]:
    """A folder as lines, indented, folders with a slash at the end."""
    path = os.path.normpath(path)
    name = "    " * depth + os.path.basename(path)
    if not os.path.isdir(path):
        yield name
        return
    yield name + os.sep
    try:
        children = sorted(os.listdir(path))
    except OSError:
        return
    for child in children:
        below = os.path.join(path, child)
        if os.path.islink(below) and os.path.isdir(below):
            yield "    " * (depth + 1) + child + os.sep
        else:
            yield from tree(below, depth + 1)


def files_below(path: str, limit: int) -> List[str]:
    """The first files below a folder, relative to it."""
    found: List[str] = []
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            if len(found) == limit:
                return [*found, "..."]
            found.append(os.path.relpath(os.path.join(folder, name), path))
    return found
