from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Optional

import pytest
import sluice_check as check

BOTH = "def init(): pass\ndef run(data): pass\n"


def cause_for(
    tmp_path: Path, script: str, files: Optional[Dict[str, str]] = None
) -> Optional[Dict[str, Any]]:
    (tmp_path / "score.py").write_text(script, encoding="utf-8")
    for name, text in (files or {}).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    found = check.look(str(tmp_path), "score.py")
    return found.cause if found else None


@pytest.mark.parametrize(
    "script",
    [
        BOTH,
        "async def init(): pass\n@answer\nasync def run(data): pass\n",
        "from helpers import init, run\n",
        "from helpers import answer as run, start as init\n",
        "from helpers import *\n",
        "run = init = print\n",
        "init, (run, _) = make()\n",
        "run: object = 1\nclass init: pass\n",
        "if here:\n    def init(): pass\nelse:\n    init = 0\n"
        "try:\n    import run\nexcept E:\n    run = 0\n",
        "for init in x:\n    with y as run:\n        pass\n",
        "def start():\n    global init, run\n    init = run = print\nstart()\n",
        "print(run := 1, init := 2)\n",
        "globals()['run'] = 1\n",
        "exec(text)\n",
        "import sys\nsetattr(sys.modules[__name__], 'run', 1)\n",
        "def __getattr__(name): return print\n",
        "def init(): pass\n@decorated\ndef run(): pass\n",
        "def init(): pass\nif x:\n    def run(): pass\nelse:\n    def run(data): pass\n",
        "def init(): pass\ndef run(): pass\ndef run(data): pass\n",
        "def init(): pass\ndef run(*data): pass\nrun = other\n",
        "def init(): pass\ndriver_module = make()\ndef run(): pass\n",
        "def init(): pass\ndef run(data, request_headers, more=1, *, key): pass\n",
        "# -*- coding: latin-1 -*-\n" + BOTH,
        "\ufeff" + BOTH,
        BOTH.replace("\n", "\r\n"),
        "def init():\n\tpass\ndef run(größe):\n\treturn größe\n",
        "try:\n    import broken\nexcept SyntaxError:\n    pass\n" + BOTH,
        "if False:\n    import broken\n" + BOTH,
        "from . import broken\n" + BOTH,
        "import json\n" + BOTH,
        "import folder.broken\n" + BOTH,
        BOTH + "def late():\n    import broken\n",
        "text = '\\d'\n" + BOTH,  # only a warning
    ],
)
def test_no_false_alarm(tmp_path: Path, script: str) -> None:
    broken = dict.fromkeys(("broken.py", "json.py", "folder/broken.py"), "def (\n")
    assert cause_for(tmp_path, script, broken) is None


@pytest.mark.parametrize(
    ("script", "line", "message"),
    [
        ("def init(:\n", 1, "SyntaxError: "),
        ("\n\n" + BOTH + "return 1\n", 5, "SyntaxError: 'return' outside function"),
        ("def init():\npass\n", 2, "IndentationError: expected an indented block"),
        ("if x:\n        a\n\tb\n", 3, "TabError: inconsistent use of tabs"),
        ("x = 'a\x00b'\n", 1, "SyntaxError: "),
        ("# coding: klingon\n" + BOTH, None, "SyntaxError: "),
    ],
)
def test_syntax(tmp_path: Path, script: str, line: Optional[int], message: str) -> None:
    cause = cause_for(tmp_path, script)
    assert cause is not None
    assert (cause["code"], cause["file"]) == ("ScriptSyntaxError", "score.py")
    assert cause["message"].startswith(message)
    assert line is None or cause["line"] == line
    assert str(tmp_path) not in json.dumps(cause)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_bytes(b"\n\n\nname = 'caf\xe9'\n")
    found = check.look(str(tmp_path), "score.py")
    assert found is not None
    assert found.cause["line"] == 4
    assert found.cause["hint"] == "save the file as UTF-8"


@pytest.mark.parametrize(
    ("script", "file"),
    [
        ("import helper\n" + BOTH, "helper.py"),
        ("from helper import answer\n" + BOTH, "helper.py"),
        ("import lib\n" + BOTH, "lib/__init__.py"),
        ("import first\n" + BOTH, "helper.py"),
        ("import good.inner\n" + BOTH, "good/inner.py"),
    ],
)
def test_modules_beside(tmp_path: Path, script: str, file: str) -> None:
    bad = "x = (\n"
    files = {
        "helper.py": bad,
        "lib/__init__.py": bad,
        "first.py": "import helper\nimport first\n",
        "good/__init__.py": "",
        "good/inner.py": bad,
    }
    cause = cause_for(tmp_path, script, files)
    assert cause is not None
    assert (cause["code"], cause["file"], cause["line"]) == ("ScriptSyntaxError", file, 1)


@pytest.mark.parametrize(
    ("script", "line", "message", "hint"),
    [
        ("", 0, "score.py has no init() function; it has no functions", "define init()"),
        (
            "def init(): pass\ndef rum(data): pass\n",
            2,
            "score.py has no run() function; it has init(), rum()",
            "line 2 defines rum(): did you mean run?",
        ),
        (
            "def run(data): pass\ndef Init(): pass\nif x:\n    def other(): pass\n",
            2,
            "score.py has no init() function; it has Init(), other(), run()",
            "line 2 defines Init(): did you mean init?",
        ),
        (
            "def init():\n    pass\n    def run(data): pass\n",
            3,
            "score.py has no run() function; it has init()",
            "line 3 defines run() inside init(): move it to the left margin",
        ),
        (
            "def init(): pass\nclass Model:\n    def run(self, data): pass\n",
            3,
            "score.py has no run() function; it has init()",
            "line 3 defines run() inside class Model",
        ),
        ("def init(): pass\n\n\ndef run(): pass\n", 4, "run() needs to accept an argument", "data"),
        ("def init(): pass\ndef run(request_headers): pass\n", 2, "other than", "def run(data)"),
        ("def init(): pass\ndef run(data, **more): pass\n", 2, "cannot accept", "def run(data)"),
        ("def init(): pass\ndef run(data, /): pass\n", 2, "cannot accept", "def run(data)"),
        ("def init(): pass\nasync def run(data): pass\n", 2, "is an async", "def run(data)"),
    ],
)
def test_functions(tmp_path: Path, script: str, line: int, message: str, hint: str) -> None:
    cause = cause_for(tmp_path, script)
    assert cause is not None
    assert (cause["code"], cause["file"]) == ("ScriptFunctionMissing", "score.py")
    assert cause.get("line", 0) == line
    assert message in cause["message"]
    assert hint in cause["hint"]


@pytest.mark.parametrize(
    ("source", "since"),
    [
        (b"x = (\n", (3, 8)),
        (b"match x:\n  case 1: pass\n", (3, 10)),
        (b"with (a, b):\n", (3, 10)),
        (b"@table[0]\ndef f(): pass\n", (3, 9)),
        (b"try: pass\nexcept* E: pass\n", (3, 11)),
        (b"x = f'{y['a']}'\n", (3, 12)),
        (b"type X = int\n", (3, 12)),
        (b"def first[T](x: T): pass\n", (3, 13)),
        (b"x = t'{y}'\n", (3, 14)),
        (b"try: pass\nexcept A, B: pass\n", (3, 14)),
    ],
)
def test_what_a_newer_python_may_read(source: bytes, since: tuple[int, int]) -> None:
    for minor in range(8, 16):
        assert check.may_need_newer(source, (3, minor)) == ((3, minor) < since)
    assert check.may_need_newer(source, (3, 7))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("(" * 100_000, id="parentheses"),
        pytest.param("-" * 500_000 + "1", id="signs"),
        pytest.param("x" + ".y" * 300_000, id="fields"),
        pytest.param("[" * 90 + "]" * 90, id="lists"),
        pytest.param("f" * 2_000_000, id="too long"),
    ],
)
def test_bombs_end(tmp_path: Path, text: str) -> None:
    """Whatever is in the script, the program comes to its end, or is killed."""
    (tmp_path / "score.py").write_text(BOTH + "x = " + text + "\n")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-", str(tmp_path), "score.py"],
        input=Path(check.__file__).read_bytes(),
        capture_output=True,
        timeout=60,
    )
    if done.returncode == 0:
        answer = json.loads(done.stdout)
        assert answer["cause"] is None or answer["cause"]["code"] == "ScriptSyntaxError"
    else:
        assert done.returncode < 0, done.stderr


def test_large_modules_beside_are_left_to_the_import(tmp_path: Path) -> None:
    """Parsing them would take as long as importing them, at each start again."""
    big, small = tmp_path / "big.py", tmp_path / "small.py"
    big.write_text("x = 'x'\n" * (check.MAX_BESIDE // 8) + "y = (\n", encoding="utf-8")
    script = "import big\nimport small\n" + BOTH
    assert cause_for(tmp_path, script, {"small.py": "x = 1\n"}) is None
    small.write_text("x = (\n", encoding="utf-8")
    found = cause_for(tmp_path, script)
    assert found is not None and found["file"] == "small.py"


def test_nothing_runs_and_no_pipe_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "helper.py")
    mark = tmp_path / "ran"
    script = f"import helper\nopen({str(mark)!r}, 'w')\n" + BOTH
    assert cause_for(tmp_path, script) is None
    assert not mark.exists()


def test_worker_names_it_as_its_author_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = tmp_path / "app with spaces"
    (app / "sub").mkdir(parents=True)
    (app / "sub" / "score.py").write_text("import helper\n" + BOTH)
    (app / "helper.py").write_text("x = (\n")
    (app / "sub" / "wrong.py").write_text("x = (\n")
    monkeypatch.chdir(app)
    cause = check.before_import(str(app), "", "sub/score.py")
    assert cause is not None and cause["file"] == "helper.py"
    cause = check.before_import(str(app), "", "sub/wrong.py")
    assert cause is not None and cause["file"] == "sub/wrong.py"
    cause = check.before_import(str(app), "sub", "sub/wrong.py")
    assert cause is not None and cause["file"] == "wrong.py"
    # Elsewhere the folder is not where imports are found first.
    monkeypatch.chdir(tmp_path)
    assert check.before_import(str(app), "", "sub/score.py") is None
