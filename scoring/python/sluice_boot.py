"""The first thing a worker runs (python -c): receive the other modules and start.

The modules come over descriptor 3 and are never on disk, so that a worker needs
no writable folder and leaves nothing behind when it is killed. They are named
sluice_* because a script's own folder is on the path as well. Each is compiled
when it is first imported: most workers never fail, and need no words for it.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional


def receive(count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = os.read(3, count - len(data))
        if not part:
            sys.exit(1)
        data += part
    return data


class Received:
    """Finds and loads the modules that came over the descriptor."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        package = name + ".__init__" in self.sources
        if package or name in self.sources:
            # A loader of the base class would cost 2 ms.
            return ModuleSpec(name, self, is_package=package)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__ if module.__name__ in self.sources else module.__name__ + ".__init__"
        file = "<sluice>/" + name.replace(".", "/") + ".py"
        module.__file__ = file
        exec(compile(self.sources[name], file, "exec"), module.__dict__)


def start() -> None:
    sources = json.loads(receive(int.from_bytes(receive(4), "little")))
    sys.meta_path.insert(0, Received(sources["worker"]))
    # What an environment may have itself is found last.
    sys.meta_path.append(Received(sources["provided"]))
    import sluice_worker

    sluice_worker.main()


start()
