"""What is wrong with a scoring script, found without running any of it.

    read -> parse -> modules beside it that it imports -> init, run -> run's parameters

The command line asks before it uploads (this file as a program, for a Python on
the user's machine: python -I -S - FOLDER SCRIPT), and a worker asks before it
imports. Whatever cannot be known without running the script passes: it may
define its functions in ways that only running them shows.
"""

from __future__ import annotations

import ast
import os
import stat
import sys
import warnings
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

MAX_SOURCE = 1 << 20  # bytes of one file that are looked at
MAX_FILES = 50  # of those that a script imports from beside it
MAX_BESIDE = 512 << 10  # bytes of all of these: each start of a worker waits for it
_EVIDENCE_LINES = 6
_MEMORY, _SECONDS = 1 << 30, 10  # what the program may take

CALLED = "init() is called once, and run(data) answers a request"
DEFINE = "define init(), which is called once, and run(data), which answers a request"


class Finding(NamedTuple):
    """What is wrong, as a cause; newer is set when a newer Python may see it
    another way."""

    cause: Dict[str, Any]
    newer: bool = False


class UndecidedError(Exception):
    """Only running the script can tell."""


class FaultError(Exception):
    """A file does not parse."""

    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.finding = finding


def look(folder: str, script: str, beside: bool = True) -> Optional[Finding]:
    """What is wrong with a script, named relative to the folder of the code.
    beside says whether the folder is where its imports are found first."""
    path = os.path.join(folder, script.replace("/", os.sep))
    try:
        tree = _parse(path, script)
        if beside:
            _parse_imports(folder, path, tree)
    except FaultError as fault:
        return fault.finding
    except UndecidedError:
        return None
    return _judge(tree, script)


# --- Parsing


def _read(path: str) -> bytes:
    """The content of a file, which may be a stranger's: no pipe is waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        number = os.open(path, flags)
        with os.fdopen(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise UndecidedError
            source = file.read(MAX_SOURCE + 1)
    except OSError:
        raise UndecidedError from None
    if len(source) > MAX_SOURCE:
        raise UndecidedError
    return source


def _parse(path: str, shown: str) -> ast.Module:
    """The file as a tree. It is compiled as well, because some errors show only
    then; nothing of it runs."""
    source = _read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, path)
            compile(tree, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise FaultError(_syntax(error, source, shown)) from None
    except ValueError:
        if b"\0" not in source:
            raise UndecidedError from None
        null = SyntaxError("source code cannot contain null bytes")  # which later ones say
        raise FaultError(_syntax(null, source, shown)) from None
    except (RecursionError, MemoryError, OverflowError, SystemError):
        raise UndecidedError from None
    return tree


def _line_at(source: bytes, offset: int) -> int:
    return source.count(b"\n", 0, offset) + 1


def _syntax(error: SyntaxError, source: bytes, shown: str) -> Finding:
    import traceback  # which a script that is fine need not wait for

    line, hint = error.lineno or 0, ""
    if not line and b"\0" in source:
        line = _line_at(source, source.index(b"\0"))
    try:
        source.decode("utf-8")
    except UnicodeDecodeError as wrong:
        if "codec can't decode" in str(error.msg) or "Non-UTF-8" in str(error.msg):
            line, hint = _line_at(source, wrong.start), "save the file as UTF-8"
    error.filename = shown
    lines = "".join(traceback.format_exception_only(type(error), error)).splitlines()
    cause = {
        "code": "ScriptSyntaxError",
        "message": f"{type(error).__name__}: {error.msg}",
        "file": shown,
        "line": line,
        "column": max(error.offset or 0, 0),
        "hint": hint,
        "evidence": [text[:200] for text in lines if text.strip()][-_EVIDENCE_LINES:],
    }
    newer = may_need_newer(source, sys.version_info[:2])
    return Finding({key: value for key, value in cause.items() if value}, newer)


# What each Python brought that an older one refuses: a script that has none of
# it is refused by all. Too much may be found here, but not too little.
_BROUGHT: List[Tuple[Tuple[int, int], bytes]] = [
    ((3, 9), rb"^[ \t]*@.*[\[(]|\bin\s+\*"),
    ((3, 10), rb"^[ \t]*(match|case)\b|\bwith\s*\(|:="),
    ((3, 11), rb"\bexcept\s*\*|\[[^\]\n]*\*|:\s*\*|\basync\b"),
    ((3, 12), rb"^[ \t]*type\s|(?i:\b(f|rf|fr)[\"'])"),
    ((3, 13), rb"\b(def|class)\s+\w+\s*\["),
    ((3, 14), rb"(?i:\b(t|rt|tr)[\"'])|\bexcept\s+[^:(\n]+,|\\N\{"),
]


def may_need_newer(source: bytes, version: Tuple[int, ...]) -> bool:
    """Whether the text may hold what only a newer Python than version knows."""
    import re

    if version < (3, 8):
        return True
    return any(
        version < since and re.search(pattern, source, re.MULTILINE) is not None
        for since, pattern in _BROUGHT
    )


# --- Modules beside the script


def _parse_imports(folder: str, path: str, tree: ast.Module) -> None:
    """Parse the modules in the folder that are imported whatever happens, and
    what these import in turn."""
    seen: Set[str] = {path}
    trees = [tree]
    left = MAX_BESIDE
    while trees:
        for module in _imported(trees.pop()):
            for file in _files_of(folder, module):
                if file in seen:
                    continue
                if len(seen) > MAX_FILES:
                    return
                seen.add(file)
                size = _size(file)
                if size > left:
                    continue
                left -= size
                shown = os.path.relpath(file, folder).replace(os.sep, "/")
                try:
                    trees.append(_parse(file, shown))
                except UndecidedError:
                    continue


def _size(file: str) -> int:
    try:
        return os.path.getsize(file)
    except OSError:
        return 0  # which reading it will find


def _imported(tree: ast.Module) -> Iterator[str]:
    """The modules that are imported by name, not inside a condition or a try."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def _files_of(folder: str, module: str) -> List[str]:
    """The files that an import of the module runs, as far as they are in the
    folder for sure."""
    parts = module.split(".")
    if _standard(parts[0]):
        return []
    files: List[str] = []
    at = folder
    for part in parts:
        at = os.path.join(at, part)
        package = os.path.join(at, "__init__.py")
        if os.path.isfile(package):
            files.append(package)
            continue
        # An extension module of the name goes first, and a folder without
        # __init__.py last, after what is installed.
        if os.path.isfile(at + ".py") and not _compiled(at):
            files.append(at + ".py")
        break
    return files


def _compiled(at: str) -> bool:
    from importlib.machinery import EXTENSION_SUFFIXES

    return any(os.path.exists(at + suffix) for suffix in EXTENSION_SUFFIXES)


def _standard(name: str) -> bool:
    """Whether the name is the standard library's, which may be loaded already."""
    if name in sys.modules or name in sys.builtin_module_names:
        return True
    known = getattr(sys, "stdlib_module_names", None)
    if known is not None:
        return name in known
    at = os.path.join(os.path.dirname(os.__file__), name)
    return os.path.exists(at) or os.path.exists(at + ".py")


# --- Functions


class _Names(NamedTuple):
    """What a module defines, as far as its text says so."""

    bound: Dict[str, List[ast.AST]]  # at the top, in a condition or not
    inner: Dict[str, Tuple[str, int]]  # functions elsewhere: where, line
    maybe: Set[str]  # names that a function may define at the top
    open: bool  # anything else may be defined as well


_DYNAMIC_NAMES = {"exec", "eval", "globals", "locals", "vars", "setattr", "__import__"}
_DYNAMIC_FIELDS = {"exec", "modules", "__dict__", "__setattr__"}
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def _judge(tree: ast.Module, script: str) -> Optional[Finding]:
    names = _names(tree)
    if names.open:
        return None
    for name in ("init", "run"):
        if name not in names.bound and name not in names.maybe:
            return Finding(_missing(name, names, script))
    run = names.bound.get("run", [])
    if len(run) != 1 or run[0] not in tree.body or "run" in names.maybe:
        return None
    if "driver_module" in names.bound or not isinstance(
        run[0], (ast.FunctionDef, ast.AsyncFunctionDef)
    ):
        return None
    if run[0].decorator_list:
        return None
    message = _run_fault(run[0])
    return Finding(unfit(message, script, run[0].lineno)) if message else None


def _names(tree: ast.Module) -> _Names:
    names = _Names({}, {}, set(), _open(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            names.maybe.update(node.names)
        elif isinstance(node, ast.NamedExpr):
            names.maybe.add(node.target.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            where = "class " + node.name if isinstance(node, ast.ClassDef) else node.name + "()"
            for child in ast.iter_child_nodes(node):
                if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    names.inner.setdefault(child.name, (where, child.lineno))
    for node in _top(tree):
        for name in _binds(node):
            names.bound.setdefault(name, []).append(node)
    return names


def _top(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node that is not inside a function or a class."""
    todo: List[ast.AST] = [tree]
    while todo:
        for child in ast.iter_child_nodes(todo.pop()):
            yield child
            if not isinstance(child, _SCOPES):
                todo.append(child)


def _binds(node: ast.AST) -> List[str]:
    """The names that a node itself gives a meaning to."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store) else []
    # Functions, classes and except have a name; of match, the parts of a pattern.
    found = [getattr(node, "name", None), getattr(node, "rest", None)]
    return [name for name in found if isinstance(name, str)]


def _open(tree: ast.Module) -> bool:
    """Whether names may come to be in ways that the text does not show."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return True
        if isinstance(node, ast.Name) and node.id in _DYNAMIC_NAMES:
            return True
        if isinstance(node, ast.Attribute) and node.attr in _DYNAMIC_FIELDS:
            return True
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            return True
    return False


def _missing(name: str, names: _Names, script: str) -> Dict[str, Any]:
    functions = {
        known: node.lineno
        for known, nodes in names.bound.items()
        for node in nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    return missing(name, functions, script, names.inner.get(name))


def missing(
    name: str, functions: Dict[str, int], script: str, inner: Optional[Tuple[str, int]] = None
) -> Dict[str, Any]:
    """The cause for a script without init or run: functions are those it has,
    with their lines, and inner is where one of the name is that cannot be seen."""
    from difflib import get_close_matches

    has = ", ".join(f"{known}()" for known in sorted(functions)[:20]) or "no functions"
    others = [known for known in functions if known not in ("init", "run")]
    near = get_close_matches(name, others, 1, 0.5)
    line, hint = 0, DEFINE
    if inner is not None:
        where, line = inner
        hint = f"line {line} defines {name}() inside {where}: move it to the left margin; {CALLED}"
    elif near:
        line = functions[near[0]]
        hint = f"line {line} defines {near[0]}(): did you mean {name}? {CALLED}"
    cause = {
        "code": "ScriptFunctionMissing",
        "message": f"{os.path.basename(script)} has no {name}() function; it has {has}",
        "file": script,
        "line": line,
        "hint": hint,
    }
    return {key: value for key, value in cause.items() if value}


def unfit(message: str, script: str, line: int) -> Dict[str, Any]:
    """The cause for a run() that cannot be called."""
    return {
        "code": "ScriptFunctionMissing",
        "message": message,
        "file": script,
        "line": line,
        "hint": "write it as def run(data):",
    }


def _run_fault(run: Any) -> str:
    if isinstance(run, ast.AsyncFunctionDef):
        return ASYNC
    arguments = run.args
    odd = bool(getattr(arguments, "posonlyargs", []) or arguments.vararg or arguments.kwarg)
    return parameter_fault([a.arg for a in arguments.args + arguments.kwonlyargs], odd)


ASYNC = "run() is an async function: it would return before it has an answer"


def parameter_fault(parameters: List[str], odd: bool) -> str:
    """Why run() cannot be called, "" if it can. odd says that it has parameters
    that are given by position only, or any number of them."""
    if odd:
        return "run() cannot accept positional-only arguments, *args, or **kwargs"
    if [name for name in parameters if name != "request_headers"]:
        return ""
    if parameters:
        return 'run() needs to accept an argument other than "request_headers"'
    return "run() needs to accept an argument for input data"


# --- The two who ask


def before_import(app_root: str, source_dir: str, script: str) -> Optional[Dict[str, Any]]:
    """What a worker tells instead of importing the script. It has the deployment's
    own Python, so that what it finds is so."""
    if not script:
        return None
    path = os.path.join(app_root, script.replace("/", os.sep))
    folder = os.path.join(app_root, source_dir)
    if not source_dir or not path.startswith(os.path.join(folder, "")):
        folder = app_root
    if not path.startswith(os.path.join(folder, "")):
        folder = os.path.dirname(path)
    beside = os.path.realpath(os.getcwd()) == os.path.realpath(folder)
    found = look(folder, os.path.relpath(path, folder).replace(os.sep, "/"), beside)
    if found is None:
        return None
    if found.newer and "hint" not in found.cause:
        here = ".".join(map(str, sys.version_info[:2]))
        found.cause["hint"] = (
            f"the environment has Python {here}: if the line needs a newer one, "
            "ask for it in the conda file, for example with python=3.12"
        )
    return found.cause


def main() -> None:
    """Look at the script that the command line names, and write what was found."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # not everywhere; the one who asked waits only so long
    import json

    found = look(sys.argv[1], sys.argv[2])
    answer = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "cause": found.cause if found else None,
        "newer": found.newer if found else False,
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
