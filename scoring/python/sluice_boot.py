"""The first thing a worker runs (python -c): receive the other modules and start.

The modules come over descriptor 3 and are never on disk, so that a worker needs
no writable folder and leaves nothing behind when it is killed. They are named
sluice_* because a script's own folder is on the path as well.
"""

import json
import os
import sys
import types


def receive(count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = os.read(3, count - len(data))
        if not part:
            sys.exit(1)
        data += part
    return data


def start() -> None:
    sources = json.loads(receive(int.from_bytes(receive(4), "little")))
    for name, source in sources:
        module = types.ModuleType(name)
        module.__file__ = "<sluice>/" + name + ".py"
        sys.modules[name] = module
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    sys.modules["sluice_worker"].main()


start()
