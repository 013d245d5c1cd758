from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, Dict

import pytest
import sluice_failures as failures
import sluice_models as models
import sluice_packages as packages
import sluice_places as places
from sluice_warnings import Saved, VersionWarnings
from test_failures import cause_for, settings_for


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, which the test fills."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(site: Path, name: str, version: str, code: str = "", requires: str = "") -> None:
    (site / (name.replace("-", "_") + ".py")).write_text(code)
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    asked = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asked}"
    )


def importing(tmp_path: Path, module: str) -> Dict[str, Any]:
    sys.modules.pop(module, None)
    script = f"\n\nimport {module}\ndef init(): pass\ndef run(data): pass\n"
    return cause_for(settings_for(tmp_path, script))


def test_who_imports_what_is_missing(tmp_path: Path, site: Path) -> None:
    install(site, "alpha-lib", "1.4", "import beta_gone\n")
    cause = importing(tmp_path, "alpha_lib")
    assert (cause["code"], cause["file"], cause["line"]) == ("ModuleNotFound", "score.py", 3)
    assert "module beta_gone, which alpha-lib 1.4 imports, is not installed" in cause["message"]
    assert cause["hint"] == "add beta-gone to the dependencies in the environment's conda file"


def test_a_module_that_may_be_ones_own(tmp_path: Path) -> None:
    cause = importing(tmp_path, "helpers_of_mine")
    assert "put helpers_of_mine.py into the code folder" in cause["hint"]
    assert "code folder" not in importing(tmp_path, "cv2")["hint"]


@pytest.mark.parametrize(
    ("numpy", "code", "pin"),
    [
        ("2.1.0", "raise ValueError('numpy.dtype size changed, may indicate')", "numpy<2"),
        ("2.0.1", "raise ImportError('numpy.core.multiarray failed to import')", "numpy<2"),
        ("2.0.1", "raise AttributeError('_ARRAY_API not found')", "numpy<2"),
        (
            "1.21.0",
            "raise RuntimeError('module compiled against API version 0x10 but this version of "
            "numpy is 0xe')",
            "numpy>=1.23",
        ),
        ("1.19.5", "raise ValueError('numpy.ndarray size changed')", "numpy>=1.20"),
    ],
)
def test_built_for_another_numpy(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch, numpy: str, code: str, pin: str
) -> None:
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    install(site, "numpy", numpy)
    install(site, "gamma-lib", "0.9", code + "\n", "numpy>=1.20")
    cause = importing(tmp_path, "gamma_lib")
    assert (cause["code"], cause["line"]) == ("ImportFailed", 3)
    assert (
        f"gamma-lib 0.9 was built for another numpy than the installed numpy {numpy}"
        in (cause["message"])
    )
    assert f"pin {pin} in the environment" in cause["hint"]


def test_two_packages_that_do_not_fit(tmp_path: Path, site: Path) -> None:
    install(site, "werkzeug", "3.0.1")
    install(site, "delta-lib", "2.2.2", "from werkzeug import url_quote\n")
    cause = importing(tmp_path, "delta_lib")
    assert cause["message"].startswith("importing delta-lib 2.2.2 raised ImportError: cannot")
    assert cause["message"].endswith("it does not fit the installed werkzeug 3.0.1")
    assert cause["hint"] == "pin werkzeug<3 in the environment, or a newer delta-lib"


@pytest.mark.parametrize(
    ("requires", "pin"),
    [
        ("epsilon-lib (<2,>=1)", "pin epsilon-lib<2,>=1 in the environment"),
        ("epsilon_lib<4", "pin another epsilon-lib in the environment"),
        ('epsilon-lib==1; extra == "x"', "pin another epsilon-lib in the environment"),
        ("", "pin another epsilon-lib in the environment"),
    ],
)
def test_the_pin_is_what_the_package_asks_for(
    tmp_path: Path, site: Path, requires: str, pin: str
) -> None:
    sys.modules.pop("epsilon_lib", None)
    install(site, "epsilon-lib", "3.1")
    install(site, "zeta-lib", "1.0", "from epsilon_lib import gone\n", requires)
    cause = importing(tmp_path, "zeta_lib")
    assert "it does not fit the installed epsilon-lib 3.1" in cause["message"]
    assert cause["hint"].startswith(pin)


def test_a_symbol_of_another_torch(tmp_path: Path, site: Path) -> None:
    install(site, "torch", "2.3.0")
    code = "raise ImportError('x.so: undefined symbol: _ZN3c104impl3cow')\n"
    install(site, "torchthing", "0.16", code, "torch==2.1.0")
    cause = importing(tmp_path, "torchthing")
    assert "it does not fit the installed torch 2.3.0" in cause["message"]
    assert "pin torch==2.1.0 in" in cause["hint"]


def test_a_broken_import_inside_init(tmp_path: Path, site: Path) -> None:
    install(site, "eta-lib", "5", "raise ImportError('libfoo.so.1: cannot open')\n")
    sys.modules.pop("eta_lib", None)
    cause = cause_for(settings_for(tmp_path, "def init():\n import eta_lib\ndef run(d): pass\n"))
    assert (cause["code"], cause["line"]) == ("ImportFailed", 2)
    assert "importing eta-lib 5 raised ImportError: libfoo" in cause["message"]


@pytest.mark.parametrize(
    ("module", "pin"), [("numpy._core.multiarray", "numpy>=2"), ("sklearn.tree.tree", "learn<0.24")]
)
def test_modules_that_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, pin: str
) -> None:
    from types import ModuleType

    parent = ModuleType(module.split(".", maxsplit=1)[0])
    monkeypatch.setitem(sys.modules, parent.__name__, parent)
    script = f"def init():\n    raise ModuleNotFoundError('x', name={module!r})\ndef run(d): pass\n"
    cause = cause_for(settings_for(tmp_path, script))
    assert cause["code"] == "ModelVersionMismatch"
    assert pin in cause["hint"]


def model(tmp_path: Path, **files: bytes) -> str:
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    for name, data in files.items():
        (folder / "sub" / name.replace("__", ".")).write_bytes(data)
    return str(folder)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("open('m.pkl')", "m.pkl"),
        ("open('/elsewhere/m.pkl')", "/elsewhere/m.pkl"),
        ("open('/elsewhere/other.onnx')", "/elsewhere/other.onnx"),
        ("raise OSError('SavedModel file does not exist at: ' + D + '/m.h5.')", "/m.h5"),
        ('raise ValueError("No file \'" + D + "/my model.h5\' was found")', "/my model.h5"),
    ],
)
def test_ways_to_miss_a_model(tmp_path: Path, line: str, path: str) -> None:
    folder = model(tmp_path, m__pkl=b"")
    script = f"D = {folder!r}\ndef init():\n    {line}\ndef run(data): pass\n"
    cause = cause_for(settings_for(tmp_path, script, folder))
    assert (cause["code"], cause["line"]) == ("ModelFileMissing", 3)
    assert f"{path}, which does not exist" in cause["message"]
    assert f"AZUREML_MODEL_DIR ({folder}) holds sub/m.pkl" in cause["message"]
    if path.endswith("m.pkl"):
        assert cause["hint"].endswith("os.environ['AZUREML_MODEL_DIR'], 'sub/m.pkl')")
    else:
        assert cause["hint"].endswith("'sub/m.pkl'), the only file there")


@pytest.mark.parametrize(
    "line",
    [
        "open('/no/such/settings.json')",
        "raise ValueError('cannot use ' + D + '/sub/m.pkl')",
        "raise ValueError('/elsewhere/x')",
    ],
)
def test_what_is_no_missing_model(tmp_path: Path, line: str) -> None:
    folder = model(tmp_path, m__pkl=b"")
    script = f"D = {folder!r}\ndef init():\n    {line}\ndef run(data): pass\n"
    assert cause_for(settings_for(tmp_path, script, folder))["code"] == "InitRaised"


def test_no_model_at_all(tmp_path: Path) -> None:
    script = "import os\ndef init():\n    {}['AZUREML_MODEL_DIR']\ndef run(data): pass\n"
    cause = cause_for(settings_for(tmp_path, script))
    assert cause["code"] == "ModelFileMissing"
    assert "the deployment has no model" in cause["message"]
    assert "model: azureml:NAME:VERSION" in cause["hint"]


PICKLES = {
    "binary": b"\x8c\x10_sklearn_version\x94\x8c\x051.0.2\x94ub.",
    "old": b"X\x10\x00\x00\x00_sklearn_versionq\x0eX\x05\x00\x00\x001.0.2q\x0fub.",
    "text": b"V_sklearn_version\np1\nV1.0.2\np2\n",
}


@pytest.mark.parametrize("how", sorted(PICKLES))
def test_the_pickle_says_what_saved_it(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    from types import ModuleType

    monkeypatch.setitem(sys.modules, "sklearn", ModuleType("sklearn"))
    install(site, "scikit-learn", "1.5.0")
    folder = model(tmp_path, m__pkl=b"..." + PICKLES[how])
    script = "def load(): raise AttributeError('_loss')\ndef init(): load()\ndef run(d): pass\n"
    cause = cause_for(settings_for(tmp_path, script, folder))
    assert cause["code"] == "ModelVersionMismatch"
    assert "saved by scikit-learn 1.0.2 and scikit-learn 1.5.0 is installed" in cause["message"]
    assert cause["hint"] == "pin scikit-learn==1.0.2 in the environment"
    # Nothing was loaded: it is something else.
    script = "def init(): raise AttributeError('_loss')\ndef run(d): pass\n"
    assert cause_for(settings_for(tmp_path, script, folder))["code"] == "InitRaised"


def test_older_versions_of_sklearn_warn_in_words() -> None:
    shown = warnings.showwarning
    try:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            heard = VersionWarnings()
            warnings.warn(
                "Trying to unpickle estimator SVC from version 1.0.2 when using version 1.2.2. "
                "This might lead to breaking code or invalid results.",
                stacklevel=1,
            )
            warnings.warn("something else", stacklevel=1)
    finally:
        warnings.showwarning = shown
    assert heard.seen == [Saved("scikit-learn", "1.0.2", "1.2.2")]


def test_an_mlflow_model_says_what_it_needs(tmp_path: Path, site: Path) -> None:
    install(site, "theta-lib", "2.0.0", "def load(): raise KeyError('booster')\n")
    wanted = b"numpy==1.26.4\ntheta-lib==1.7.6\n"
    folder = model(tmp_path, MLmodel=b"flavors: {}\n", requirements__txt=wanted)
    sys.modules.pop("theta_lib", None)
    script = "import theta_lib\ndef init(): theta_lib.load()\ndef run(d): pass\n"
    cause = cause_for(settings_for(tmp_path, script, folder))
    assert cause["code"] == "ModelVersionMismatch"
    assert "saved by theta-lib 1.7.6 and theta-lib 2.0.0 is installed" in cause["message"]


@pytest.mark.parametrize(
    ("module", "code", "text"),
    [
        ("__main__", "InitRaised", "define it in a module of the code folder"),
        ("entry_module", "InitRaised", "define it in a module of the code folder"),
        ("iota_lib.blocks", "ModelVersionMismatch", "pin iota-lib in the environment to"),
        ("unknown_lib", "InitRaised", ""),
    ],
)
def test_what_a_pickle_does_not_find(
    tmp_path: Path, site: Path, module: str, code: str, text: str
) -> None:
    install(site, "iota-lib", "1.1")
    said = f"Can't get attribute 'Thing' on <module '{module}' from 'x'>"
    script = f"def init(): raise AttributeError({said!r})\ndef run(d): pass\n"
    cause = cause_for(settings_for(tmp_path, script))
    assert cause["code"] == code
    assert text in cause.get("hint", "")


def test_exceptions_that_cannot_speak(tmp_path: Path) -> None:
    script = (
        "class Mute(Exception):\n    def __str__(self): raise RuntimeError\n"
        "def init(): raise Mute\ndef run(data): pass\n"
    )
    cause = cause_for(settings_for(tmp_path, script))
    assert (cause["code"], cause["line"]) == ("InitRaised", 3)
    assert places.brief(ValueError("x" * 10_000)).count("x") == 500


@pytest.mark.parametrize(
    ("version", "spec", "fits"),
    [("1.2.3", ">=1.2,<2", True), ("2.0", "<2", False), ("2", "==2.0.0", True), ("", "<1", True)],
)
def test_satisfies(version: str, spec: str, fits: bool) -> None:
    assert packages._satisfies(version, spec) == fits


def test_files_below_is_bounded(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"{n}").write_text("")
    assert models.files_below(str(tmp_path), 3) == ["0", "1", "2", "..."]
    assert failures.exit_code(SystemExit(4)) == 4
