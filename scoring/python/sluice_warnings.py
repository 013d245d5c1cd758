"""What libraries say while they load a model, heard before it goes wrong."""

from __future__ import annotations

import re
import warnings
from typing import Any, List, NamedTuple, Optional


class Saved(NamedTuple):
    """By what a model was saved, and what is here."""

    library: str
    saved: str
    here: str


_OLDER = re.compile(
    r"Trying to unpickle estimator \S+ from version (\S+) when using version (\S+)\. "
)


class VersionWarnings:
    """Remembers what scikit-learn warns of while it loads another version's model."""

    def __init__(self) -> None:
        self.seen: List[Saved] = []
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
        older = _OLDER.match(str(message)) if category is UserWarning else None
        if category.__name__ == "InconsistentVersionWarning":
            saved = getattr(message, "original_sklearn_version", "")
            here = getattr(message, "current_sklearn_version", "")
        else:
            saved, here = older.groups() if older else ("", "")
        if saved and here and len(self.seen) < 100:
            self.seen.append(Saved("scikit-learn", saved, here))
        self._show(message, category, filename, lineno, file, line)
