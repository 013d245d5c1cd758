from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any, Dict

import pytest
import sluice_failures as failures
import sluice_packages as packages
import sluice_script as scripts
from sluice_warnings import VersionWarnings


def settings_for(tmp_path: Path, script: str, model: str = "") -> scripts.Settings:
    folder = tmp_path / "app" / "src"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "score.py").write_text(script)
    return scripts.Settings(str(tmp_path / "app"), "src", "src/score.py", model)


def cause_for(settings: scripts.Settings, **more: Any) -> Dict[str, Any]:
    path, meta = list(sys.path), list(sys.meta_path)
    stage = "import"
    try:
        script = scripts.load(settings)
        stage = "init"
        script.init()
    except BaseException as error:
        return failures.cause_of(error, stage, settings, **more)
    finally:
        sys.path[:], sys.meta_path[:] = path, meta
    raise AssertionError("the script loads")


def test_file_is_named_as_its_author_knows_it(tmp_path: Path) -> None:
    cause = cause_for(settings_for(tmp_path, "def init(): 1 / 0\ndef run(data): pass\n"))
    assert (cause["code"], cause["file"], cause["line"]) == ("InitRaised", "score.py", 1)
    assert cause["message"] == "init() raised ZeroDivisionError: division by zero"
    assert cause["evidence"][-1] == "ZeroDivisionError: division by zero"


def test_innermost_line_of_the_users_own_code(tmp_path: Path) -> None:
    settings = settings_for(
        tmp_path,
        "import sys, os\nsys.path.insert(0, os.path.dirname(__file__))\n"
        "import helper_of_user\ndef init(): helper_of_user.load()\ndef run(data): pass\n",
    )
    helper = tmp_path / "app" / "src" / "helper_of_user.py"
    helper.write_text("import json\ndef load():\n    json.loads('{')\n")
    cause = cause_for(settings)
    assert (cause["file"], cause["line"]) == ("helper_of_user.py", 3)


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("sklearn.ensemble", "scikit-learn"),
        ("cv2", "opencv-python-headless"),
        ("PIL.Image", "pillow"),
        ("google.protobuf.message", "protobuf"),
        ("some_thing.x", "some-thing"),
    ],
)
def test_package_for(module: str, package: str) -> None:
    assert packages.package_for(module) == package


def test_submodule_of_an_installed_package(tmp_path: Path) -> None:
    cause = cause_for(
        settings_for(tmp_path, "def init():\n    import json.gone\ndef run(d): pass\n")
    )
    assert cause["code"] == "ModelVersionMismatch"
    assert "module json.gone does not exist" in cause["message"]


def test_model_of_another_version(tmp_path: Path) -> None:
    script = """
import warnings
class InconsistentVersionWarning(UserWarning):
    original_sklearn_version = "1.0.2"
    current_sklearn_version = "1.5.0"
def load():
    warnings.warn(InconsistentVersionWarning("old"))
    raise AttributeError("_loss")
def init(): load()
def run(data): pass
"""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("default")
        shown = warnings.showwarning
        try:
            cause = cause_for(settings_for(tmp_path, script), versions=VersionWarnings())
        finally:
            warnings.showwarning = shown
    assert cause["code"] == "ModelVersionMismatch"
    assert "saved by scikit-learn 1.0.2 and scikit-learn 1.5.0 is installed" in cause["message"]
    assert "scikit-learn==1.0.2" in cause["hint"]


def test_package_built_for_another_numpy(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "broken_by_numpy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')\n"
    )
    script = f"import sys\nsys.path.insert(0, {str(package.parent)!r})\nimport broken_by_numpy\n"
    cause = cause_for(settings_for(tmp_path, script))
    assert (cause["code"], cause["line"]) == ("ImportFailed", 3)
    assert "broken-by-numpy was built for another numpy" in cause["message"]
    assert "numpy<2" in cause["hint"]


def test_package_that_cannot_be_imported(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "broken_itself"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('libfoo.so.1: cannot open')\n")
    script = f"import sys\nsys.path.insert(0, {str(package.parent)!r})\nimport broken_itself\n"
    cause = cause_for(settings_for(tmp_path, script))
    assert cause["code"] == "ImportFailed"
    assert "importing broken-itself raised ImportError: libfoo.so.1" in cause["message"]


def test_model_file_missing_beside_a_wrapped_error(tmp_path: Path) -> None:
    model = tmp_path / "models"
    (model / "sub").mkdir(parents=True)
    (model / "sub" / "m.pkl").write_text("")
    script = f"""
def init():
    try:
        open({str(model / "m.pkl")!r})
    except FileNotFoundError as e:
        raise RuntimeError("no model") from e
def run(data): pass
"""
    cause = cause_for(settings_for(tmp_path, script, str(model)))
    assert cause["code"] == "ModelFileMissing"
    assert f"holds {os.path.join('sub', 'm.pkl')}" in cause["message"]
    assert cause["evidence"] == ["AZUREML_MODEL_DIR holds:", "models/", "    sub/", "        m.pkl"]


@pytest.mark.parametrize(("code", "want"), [(None, 0), (3, 3), (-1, 255), ("text", 1)])
def test_exit_code(code: Any, want: int) -> None:
    assert failures.exit_code(SystemExit(code)) == want


def test_both_decorators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    schema = ModuleType("inference_schema.schema_util")
    schema.is_schema_decorated = lambda run: True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "inference_schema.schema_util", schema)
    request = ModuleType("azureml_inference_server_http.api.aml_request")
    request._rawHttpRequested = True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, request.__name__, request)
    cause = cause_for(settings_for(tmp_path, "def init(): pass\ndef run(data): pass\n"))
    assert (cause["code"], cause["line"]) == ("ScriptFunctionMissing", 2)
    assert "both @rawhttp and @input_schema" in cause["message"]


@pytest.mark.parametrize(
    ("line", "module", "package", "forced"),
    [
        ("from azureml.core import Workspace", "azureml.core", "azureml-core", True),
        ("import azureml", "azureml", "azureml-core", True),
        ("    import azureml.mlflow as m", "azureml.mlflow", "azureml-mlflow", True),
        ("from azureml.dataprep.api import x", "azureml.dataprep.api", "azureml-dataset", True),
        ("import azureml.ai.monitoring", "azureml.ai.monitoring", "azureml-ai-monitoring", False),
    ],
)
def test_platform_package_names_the_line_that_brings_it(
    tmp_path: Path, line: str, module: str, package: str, forced: bool
) -> None:
    script = f"if True:\n    {line.strip()}\ndef init(): pass\ndef run(data): pass\n"
    cause = cause_for(settings_for(tmp_path, script))
    assert cause["code"] == "ModuleNotFound"
    assert (cause["file"], cause["line"]) == ("score.py", 2)
    assert f"module {module} of {package}" in cause["message"]
    assert package in cause["hint"]
    assert ("tags: {sluice.platform_packages: install}" in cause["hint"]) == forced


def test_driver_module_runs_the_inner_script(tmp_path: Path) -> None:
    script = """
import types
driver_module = types.ModuleType("inner")
def _inner(raw): return "inner"
driver_module.run = _inner
driver_module.__file__ = "inner.py"
def init(): pass
def run(data): return "outer"
"""
    settings = settings_for(tmp_path, script)
    meta = list(sys.meta_path)
    try:
        loaded = scripts.load(settings)
    finally:
        sys.meta_path[:] = meta
    assert loaded.run("x") == "inner"
    assert [parameter.name for parameter in loaded.inputs] == ["raw"]


def test_what_run_raises(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "def init(): pass\ndef run(data):\n    return data['data']\n")
    script = scripts.load(settings)
    sys.meta_path.pop(0)
    for given, code, message in (
        ({}, "RunRaises", "run() raised KeyError: 'data'"),
        (Raises(MemoryError("8 GiB")), "OutOfMemory", "memory ran out while run() ran: "),
        (Raises(SystemExit(3)), "ScriptExited", "with exit code 3 while run() ran"),
    ):
        with pytest.raises(BaseException) as raised:
            script.run(given)
        cause = failures.cause_of(raised.value, "run", settings)
        assert (cause["code"], cause["file"], cause["line"]) == (code, "score.py", 3)
        assert message in cause["message"]
    cause = failures.unsendable(TypeError("no JSON"), script.run, settings)
    assert (cause["code"], cause["file"], cause["line"]) == ("RunRaises", "score.py", 2)


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, key: str) -> None:
        raise self.error
