"""Models that cannot be loaded: not there, or saved by another version."""

from __future__ import annotations

import itertools
import os
import re
import sys
from typing import Iterator, List, Optional, Tuple

from sluice_packages import numbers, package_for, packages_at, version_of, with_version
from sluice_places import Cause, Place, brief, own, places_in, text_of
from sluice_script import Settings
from sluice_warnings import Saved, VersionWarnings

_TREE_LINES = 20
# The endings of files that models are saved in.
_MODELS = re.compile(
    r"\.(?:pkl|pickle|joblib|sav|pt|pth|ckpt|onnx|h5|hdf5|keras|pb|tflite|safetensors|gguf|bin|bst"
    r"|ubj|cbm|model|npy|npz|mar)$",
    re.IGNORECASE,
)


def missing_file(error: BaseException) -> Optional[str]:
    """The file that was not found, as the script named it."""
    seen: Optional[BaseException] = error
    for _ in range(10):
        if seen is None:
            return None
        if isinstance(seen, FileNotFoundError) and isinstance(seen.filename, (str, bytes)):
            return os.fsdecode(seen.filename)
        seen = seen.__cause__
    return None


def model_missing(
    error: BaseException, settings: Settings, place: Optional[Place]
) -> Optional[Cause]:
    """The cause for a model file that is not where the script looks for it, None
    when it is something else."""
    if not settings.model_dir:
        if place is None or "AZUREML_MODEL_DIR" not in place.source + text_of(error):
            return None
        return {
            "code": "ModelFileMissing",
            "message": "the script reads AZUREML_MODEL_DIR, which is not set: the deployment has "
            f"no model; {brief(error)}",
            "hint": "name the model in the deployment: model: azureml:NAME:VERSION, or its path",
        }
    path = missing_file(error)
    if path is None:
        path = _path_in(text_of(error), settings)
    elif not _is_model(path, settings):
        return None
    return _not_there(path, settings) if path is not None else None


def _path_in(text: str, settings: Settings) -> Optional[str]:
    """A path near the model that an error of a library tells of and that is not
    there: many have no other way to say it."""
    for found in re.finditer(r"'([^'\n]+)'|\"([^\"\n]+)\"|(/[^\s'\":,;]+)", text):
        path = next(group for group in found.groups() if group).rstrip(".")
        if os.path.isabs(path) and _near_model(path, settings) and not os.path.lexists(path):
            return path
    return None


def _is_model(path: str, settings: Settings) -> bool:
    return (
        _near_model(path, settings)
        or _MODELS.search(path) is not None
        or bool(_named(os.path.basename(path), settings))
    )


def _near_model(path: str, settings: Settings) -> bool:
    model = os.path.abspath(settings.model_dir)
    full = os.path.abspath(path)
    around = os.path.dirname(model)
    return full.startswith(model + os.sep) or (
        around != os.sep and full.startswith(around + os.sep) and not own(full, settings)
    )


def _named(name: str, settings: Settings) -> List[str]:
    """The files of this name below the model's folder, relative to it."""
    found = files_below(settings.model_dir, 2000)
    return [path for path in found if name and os.path.basename(path) == name]


def _not_there(path: str, settings: Settings) -> Cause:
    holds = list(itertools.islice(tree(settings.model_dir), _TREE_LINES + 1))
    if len(holds) > _TREE_LINES:
        holds[_TREE_LINES:] = ["..."]
    listing = ", ".join(files_below(settings.model_dir, 10)) or "no files"
    hint = (
        "open the model below os.environ['AZUREML_MODEL_DIR']; "
        "a registered folder keeps its own name there"
    )
    there = _named(os.path.basename(path), settings)
    files = files_below(settings.model_dir, 2)
    if there:
        hint = f"open os.path.join(os.environ['AZUREML_MODEL_DIR'], {there[0]!r})"
    elif len(files) == 1:
        only = files[0]
        hint = f"open os.path.join(os.environ['AZUREML_MODEL_DIR'], {only!r}), the only file there"
    return {
        "code": "ModelFileMissing",
        "message": f"the script opens {path}, which does not exist; "
        f"AZUREML_MODEL_DIR ({settings.model_dir}) holds {listing}",
        "hint": hint,
        "evidence": ["AZUREML_MODEL_DIR holds:", *holds],
    }


def saved_by(
    error: BaseException, settings: Settings, versions: Optional[VersionWarnings]
) -> Optional[Saved]:
    """By which other version of which library the model was saved that could not
    be loaded; None when it was not while one was loaded, or it is not known."""
    places = places_in(error.__traceback__)
    packages = packages_at(places)
    if not _loading(places, packages):
        return None
    if versions is not None and versions.seen:
        return versions.seen[-1]
    here = version_of("scikit-learn")
    if here and "sklearn" in sys.modules:
        saved = _saved_by_sklearn(settings.model_dir)
        if saved and numbers(saved)[:2] != numbers(here)[:2]:
            return Saved("scikit-learn", saved, here)
    return _mlflow_says(settings.model_dir, packages, text_of(error))


def version_mismatch(
    error: BaseException, settings: Settings, versions: Optional[VersionWarnings]
) -> Optional[Cause]:
    """The cause for a model that the installed libraries cannot load, None when
    that is not why."""
    saved = saved_by(error, settings, versions)
    if saved is not None:
        return {
            "code": "ModelVersionMismatch",
            "message": f"the model was saved by {saved.library} {saved.saved} and {saved.library} "
            f"{saved.here} is installed; init() raised {brief(error)}",
            "hint": f"pin {saved.library}=={saved.saved} in the environment",
        }
    gone = re.search(r"Can't get attribute '([\w.]+)' on <module '([\w.]+)'", text_of(error))
    if not gone:
        return None
    name, module = gone.groups()
    if module in ("__main__", "entry_module"):
        return {
            "code": "InitRaised",
            "message": f"init() raised {brief(error)}",
            "hint": f"the model was saved by a script that defined {name} itself: define it in a "
            "module of the code folder, import it there and in the scoring script, and save again",
        }
    package = package_for(module)
    if not version_of(package):
        return None
    return {
        "code": "ModelVersionMismatch",
        "message": f"the model needs {module}.{name}, which the installed {with_version(package)} "
        "does not have: it was saved by another version",
        "hint": f"pin {package} in the environment to the version the model was saved by",
    }


_LOADERS = {"joblib", "cloudpickle", "dill", "scikit-learn", "skops", "mlflow"}


def _loading(places: List[Place], packages: List[str]) -> bool:
    """Whether something was being loaded. The unpickler is C and leaves no call."""
    return (
        not _LOADERS.isdisjoint(packages)
        or any(os.path.basename(place.file) == "pickle.py" for place in places)
        or any(re.search(r"load|pickle", place.source) for place in places)
    )


_SKLEARN = re.compile(
    rb"_sklearn_version.{1,12}?(\d+\.\d+(?:\.\d+)?(?:(?:rc|a|b|\.dev|\.post)\d+)?)", re.DOTALL
)
_READ = 32 << 20  # bytes of one file


def _saved_by_sklearn(model_dir: str) -> str:
    """The version that stands in the first pickle that has one. It is read, not
    loaded; warnings say the same, but scripts switch them off."""
    for path in files_below(model_dir, 30):
        if os.path.splitext(path)[1] not in ("", ".pkl", ".pickle", ".joblib", ".sav"):
            continue
        try:
            with open(os.path.join(model_dir, path), "rb") as f:
                found = _SKLEARN.search(f.read(_READ))
        except OSError:
            continue
        if found:
            return found.group(1).decode()
    return ""


# Libraries whose models other versions often cannot load.
_LIBRARIES = (
    "scikit-learn", "xgboost", "lightgbm", "catboost", "torch", "tensorflow", "keras",
    "statsmodels",
)  # fmt: skip


def _mlflow_says(model_dir: str, packages: List[str], text: str) -> Optional[Saved]:
    """What an MLflow model asks for and does not find: first of what the error
    passed through, then of what is imported and picky."""
    others: List[Saved] = []
    for library, saved in _requirements(model_dir):
        here = version_of(library)
        if here and numbers(here)[:2] != numbers(saved)[:2]:
            others.append(Saved(library, saved, here))
    for other in others:
        if other.library in packages or other.library in text:
            return other
    for other in others:
        module = "sklearn" if other.library == "scikit-learn" else other.library
        if other.library in _LIBRARIES and module in sys.modules:
            return other
    return None


def _requirements(model_dir: str) -> Iterator[Tuple[str, str]]:
    """The exact versions in the requirements of the MLflow model in a folder."""
    models = [p for p in files_below(model_dir, 500) if os.path.basename(p) == "MLmodel"]
    for model in models[:1]:
        path = os.path.join(model_dir, os.path.dirname(model), "requirements.txt")
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                lines = f.read(64 << 10).splitlines()
        except OSError:
            return
        for line in lines:
            found = re.match(r"\s*([\w.-]+)\s*==\s*(\d[\w.]*)", line)
            if found:
                yield found.group(1).lower().replace("_", "-"), found.group(2)


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
