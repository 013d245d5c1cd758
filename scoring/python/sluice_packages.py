"""Imports that fail: what is not installed, and what does not fit together."""

from __future__ import annotations

import linecache
import re
import sys
from typing import Dict, List, Optional, Tuple

from sluice_places import Cause, Place, brief, places_in, text_of, third_party

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
    "pkg_resources": "setuptools",
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

# What an import says when two packages do not fit: the one that has moved on,
# and the last that fits.
_CLASHES = tuple(
    (re.compile(pattern), other, pin)
    for pattern, other, pin in (
        ("module 'numpy' has no attribute '(?:float|int|bool|object|str)'", "numpy", "<1.24"),
        (r"`np\.\w+` was removed in the NumPy 2\.0", "numpy", "<2"),
        ("Descriptors cannot (?:not )?be created directly", "protobuf", "<3.21"),
        (r"cannot import name 'url_\w+' from 'werkzeug", "werkzeug", "<3"),
        ("cannot import name 'soft_unicode' from 'markupsafe", "markupsafe", "<2.1"),
        ("cannot import name '(?:escape|Markup|contextfilter)' from 'jinja2", "jinja2", "<3.1"),
        ("cannot import name 'json' from 'itsdangerous", "itsdangerous", "<2.1"),
        ("cannot import name 'cached_download' from 'huggingface_hub", "huggingface-hub", "<0.26"),
        ("cannot import name 'triu' from 'scipy", "scipy", "<1.13"),
        ("`BaseSettings` has been moved to the `pydantic-settings`", "pydantic", "<2"),
    )
)  # fmt: skip

_BUILT_FOR_NUMPY = re.compile(
    r"numpy\.(?:dtype|ndarray|ufunc) size changed|multiarray failed to import|_ARRAY_API not found"
    r"|compiled using NumPy 1\.x|but this version of numpy is 0x"
)
# The numpy that first had a version of its binary interface.
_NUMPY_OF = {0xD: "1.16", 0xE: "1.20", 0xF: "1.22", 0x10: "1.23", 0x11: "1.25", 0x12: "2.0"}


def package_for(module: str) -> str:
    """The package to install for a module."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        package = _PACKAGES.get(".".join(parts[:count]))
        if package:
            return package
    return parts[0].replace("_", "-")


def version_of(package: str) -> str:
    """The installed version of a package, "" when there is none."""
    try:
        from importlib.metadata import version

        return version(package)
    except Exception:
        return ""


def packages_at(places: List[Place]) -> List[str]:
    """The installed packages that a traceback passes through, innermost first."""
    found: List[str] = []
    for place in reversed(places):
        parts = place.file.replace("\\", "/").split("/")
        for marker in ("site-packages", "dist-packages"):
            if marker in parts[:-1]:
                module = parts[len(parts) - parts[::-1].index(marker)]
                package = package_for(module[:-3] if module.endswith(".py") else module)
                if package not in found:
                    found.append(package)
    return found


def with_version(package: str) -> str:
    return f"{package} {version_of(package)}".strip()


def module_missing(error: ModuleNotFoundError, place: Optional[Place]) -> Cause:
    """The cause for an import of what is not there."""
    name = str(error.name)
    line = linecache.getline(place.file, place.line) if place else ""
    # The parent that is missing is named; the line says what was wanted of it.
    wanted = _imported(line)
    wanted = wanted if wanted.startswith(name) else name
    platform = _platform_package(wanted)
    if platform is not None:
        return _platform_missing(wanted, platform)
    root = name.split(".")[0]
    if "." in name and root in sys.modules:
        return _submodule_missing(name, package_for(root))
    package = package_for(name)
    hint = f"add {package} to the dependencies in the environment's conda file"
    by = packages_at(places_in(error.__traceback__))
    if by:
        which = f", which {with_version(by[0])} imports,"
    else:
        which = ""
        if root not in _PACKAGES:
            hint += f"; if it is a module of your own, put {root}.py into the code folder"
    return {
        "code": "ModuleNotFound",
        "message": f"module {name}{which} is not installed in the environment",
        "hint": hint,
    }


# Modules that came or went, and the versions that have them.
_MOVED = {
    "numpy._core": "numpy>=2",
    "pandas.core.indexes.numeric": "pandas<2",
    "sklearn.ensemble.forest": "scikit-learn<0.24",
    "sklearn.tree.tree": "scikit-learn<0.24",
    "sklearn.linear_model.base": "scikit-learn<0.24",
    "sklearn.linear_model.logistic": "scikit-learn<0.24",
    "sklearn.neighbors.classification": "scikit-learn<0.24",
    "sklearn.svm.classes": "scikit-learn<0.24",
    "sklearn.preprocessing.label": "scikit-learn<0.24",
    "sklearn.externals.joblib": "scikit-learn<0.23",
    "sklearn.ensemble._gb_losses": "scikit-learn<1.4",
}


def _submodule_missing(name: str, package: str) -> Cause:
    parts = name.split(".")
    known = (_MOVED.get(".".join(parts[:n])) for n in range(len(parts), 0, -1))
    pin = next((p for p in known if p), None)
    return {
        "code": "ModelVersionMismatch",
        "message": f"module {name} does not exist in the installed {with_version(package)}; "
        "another version of it is needed",
        "hint": f"pin {pin} in the environment"
        if pin
        else f"pin {package} in the environment to the version that has {name}",
    }


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


def _platform_missing(name: str, package: str) -> Cause:
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


def broken_package(error: BaseException) -> Optional[Cause]:
    """The cause for an installed package that does not work, with the one that it
    does not fit, as far as that can be told; None when it is no such thing."""
    places = [place for place in places_in(error.__traceback__) if third_party(place.file)]
    packages = packages_at(places)
    text = text_of(error)
    if _BUILT_FOR_NUMPY.search(text):
        return _built_for_numpy(_first(packages, "numpy"), text, error)
    importing = any(place.function == "<module>" for place in places)
    other, pin = known_clash(error)
    package = _first(packages, other)
    if other and package:
        return _clash(package, other, pin, error, importing)
    if not importing or not isinstance(error, (ImportError, SyntaxError)):
        return None
    package = packages[0]
    other = _other_in(error, package)
    if other:
        return _clash(package, other, _asked(package, other), error, importing)
    return {
        "code": "ImportFailed",
        "message": f"importing {with_version(package)} raised {brief(error)}",
        "hint": f"pin another version of {package} in the environment, one that fits its other "
        "packages and Python",
    }


def _first(packages: List[str], other: str) -> str:
    """The innermost package that is not the other, "" when there is none."""
    return next((package for package in packages if package != other), "")


def known_clash(error: BaseException) -> Tuple[str, str]:
    """The package that has moved on and a pin of one that fits, by what is known
    of such errors; two times "" when it is none of them."""
    text = text_of(error)
    for pattern, other, pin in _CLASHES:
        if pattern.search(text):
            return other, other + pin
    return "", ""


def _other_in(error: BaseException, package: str) -> str:
    """The package that an import found and did not fit, "" when it is not known."""
    text = text_of(error)
    if re.search(r"undefined symbol: \S*(?:c10|torch|2at)", text) and package != "torch":
        return "torch"
    name = getattr(error, "name", None)
    if text.startswith("cannot import name ") and name and package_for(name) != package:
        return package_for(name)
    return ""


def _clash(package: str, other: str, pin: str, error: BaseException, importing: bool) -> Cause:
    what = ("importing " if importing else "") + with_version(package)
    hint = f"pin {pin} in the environment, or a newer {package}"
    if not pin:
        hint = (
            f"pin another {other} in the environment, most often an older one, or a newer {package}"
        )
    return {
        "code": "ImportFailed",
        "message": f"{what} raised {brief(error)}: it does not fit the installed "
        f"{with_version(other)}",
        "hint": hint,
    }


def _built_for_numpy(package: str, text: str, error: BaseException) -> Cause:
    here = version_of("numpy")
    newer = "a newer version of " + (package or "the package")
    api = re.search(r"API version 0x([0-9a-f]+) but this version of numpy is 0x([0-9a-f]+)", text)
    if api and int(api.group(1), 16) > int(api.group(2), 16):
        least = _NUMPY_OF.get(int(api.group(1), 16))
        pin = f"numpy>={least}" if least else "a newer numpy"
        newer = "an older version of " + (package or "the package")
    elif here and numbers(here) < (2,):
        pin = _asked(package, "numpy") or "a newer numpy"
        newer = "an older version of " + (package or "the package")
    else:
        pin = "numpy<2"
    return {
        "code": "ImportFailed",
        "message": f"{with_version(package) if package else 'a package'} was built for another "
        f"numpy than the installed numpy {here}: {brief(error)}",
        "hint": f"pin {pin} in the environment, or {newer}",
    }


def _asked(package: str, other: str) -> str:
    """What a package asks for of another, when the installed one is not that."""
    try:
        from importlib.metadata import requires

        lines = requires(package) or []
    except Exception:
        return ""
    for line in lines:
        wanted, _, marker = line.partition(";")
        found = re.match(r"\s*([\w.-]+)\s*(?:\[[^\]]*\])?\s*\(?([^)]*)\)?\s*$", wanted)
        if not found or "extra" in marker or _plain(found.group(1)) != _plain(other):
            continue
        spec = found.group(2).replace(" ", "")
        if spec and not _satisfies(version_of(other), spec):
            return other + spec
    return ""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def numbers(version: str) -> Tuple[int, ...]:
    """The numbers with which a version begins."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(n) for n in found.group().split(".")) if found else ()


def _satisfies(version: str, spec: str) -> bool:
    here = numbers(version)
    for part in spec.split(","):
        found = re.match(r"(==|>=|<=|<|>)([\d.]+)$", part)
        if not found or not here:
            continue
        want = numbers(found.group(2))
        width = max(len(here), len(want))
        a, b = here + (0,) * (width - len(here)), want + (0,) * (width - len(want))
        compared: Dict[str, bool] = {
            "==": a == b, ">=": a >= b, "<=": a <= b, "<": a < b, ">": a > b,
        }  # fmt: skip
        if not compared[found.group(1)]:
            return False
    return True
