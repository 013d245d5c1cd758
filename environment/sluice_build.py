"""Builds one package from its source, confined and as a user of its own.

Called three times, as `sluice_build.py STEP`, in the folder with the source:

  unpack    puts the source into ./src and writes what it needs to be built
  requires  asks the source what else it needs
  wheel     builds it into ./out

What is learnt is written to ./out/<step>.json.
"""

import ast
import importlib
import json
import os
import re
import resource
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Dict

BOX = Path.cwd()
LEGACY = "setuptools.build_meta:__legacy__"


def bound() -> None:
    """What a build may use up of the machine."""
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 4096),
        (resource.RLIMIT_FSIZE, 8 << 30),
        (resource.RLIMIT_CPU, 3600),
    ):
        resource.setrlimit(what, (most, most))


def tell(step: str, what: object) -> None:
    (BOX / "out" / (step + ".json")).write_text(json.dumps(what), encoding="utf-8")


def unpack() -> None:
    (archive,) = (BOX / "sdist").iterdir()
    aside = BOX / "unpacked"
    aside.mkdir()
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as z:
            z.extractall(aside)
    else:
        with tarfile.open(archive) as t:
            if hasattr(tarfile, "data_filter"):
                t.extractall(aside, filter="data")
            else:
                t.extractall(aside)  # confined: it can only reach its own folder
    (top,) = (entry for entry in aside.iterdir() if entry.is_dir())
    top.rename(BOX / "src")
    system = build_system()
    tell("unpack", {"requires": system["requires"]})


def build_system() -> Dict[str, Any]:
    """The build-system table of pyproject.toml, or what stands for none."""
    system: Dict[str, Any] = {
        "requires": ["setuptools", "wheel"],
        "build-backend": LEGACY,
        "backend-path": [],
    }
    try:
        text = (BOX / "src" / "pyproject.toml").read_text(encoding="utf-8")
    except FileNotFoundError:
        return system
    try:
        toml = importlib.import_module("tomllib")
    except ImportError:
        table = read_table(text)
    else:
        table = toml.loads(text).get("build-system", {})
    for key in system:
        if key in table:
            system[key] = table[key]
    return system


def read_table(text: str) -> Dict[str, Any]:
    """The same where Python has no reader for it: keys with a text or a list of
    texts, which Python spells as TOML does."""
    table: Dict[str, Any] = {}
    found = re.search(r"^\[build-system\][ \t]*(?:#.*)?$", text, re.MULTILINE)
    if found is None:
        return table
    body = text[found.end() :]
    end = re.search(r"^\[[^\]\n]+\][ \t]*(?:#.*)?$", body, re.MULTILINE)
    lines = body[: end.start() if end else len(body)].split("\n")
    while lines:
        found = re.match(r"\s*([A-Za-z-]+)\s*=\s*(.*)$", lines.pop(0), re.DOTALL)
        if found is None:
            continue
        value = found.group(2)
        while True:
            try:
                table[found.group(1)] = ast.literal_eval(value.strip())
                break
            except SyntaxError:
                if not lines:
                    break
                value += "\n" + lines.pop(0)
    return table


def backend() -> Any:
    system = build_system()
    os.chdir(BOX / "src")
    for path in reversed(system["backend-path"]):
        sys.path.insert(0, os.path.join(os.getcwd(), path))
    module, _, attributes = system["build-backend"].partition(":")
    found: Any = importlib.import_module(module)
    for attribute in attributes.split(".") if attributes else ():
        found = getattr(found, attribute)
    return found


def requires() -> None:
    hook = getattr(backend(), "get_requires_for_build_wheel", None)
    tell("requires", {"requires": list(hook(None)) if hook else []})


def wheel() -> None:
    out = BOX / "wheel"
    out.mkdir()
    name = backend().build_wheel(str(out), None, None)
    tell("wheel", {"wheel": name})


if __name__ == "__main__":
    bound()
    {"unpack": unpack, "requires": requires, "wheel": wheel}[sys.argv[1]]()
