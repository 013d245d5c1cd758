"""Headers and multi-valued fields, as Flask's users know them."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union
from urllib.parse import unquote

Converter = Optional[Callable[[Any], Any]]
Pair = Tuple[str, str]


class HTTPError(ValueError):
    """A request that cannot be read as the script asks."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class MultiDict(Dict[str, Any]):
    """A dictionary whose keys may have several values; [] gives the first."""

    def __init__(self, pairs: Iterable[Tuple[str, Any]] = ()) -> None:
        super().__init__()
        for key, value in pairs:
            self.add(key, value)

    def add(self, key: str, value: Any) -> None:
        super().setdefault(key, []).append(value)

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()  # with a method of its own, dict() asks items()

    def __getitem__(self, key: str) -> Any:
        if key in self:
            return super().__getitem__(key)[0]
        raise HTTPError(400, f"there is no field {key!r}")

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, [value])

    def get(self, key: str, default: Any = None, type: Converter = None) -> Any:  # noqa: A002
        if key not in self:
            return default
        return _converted(self[key], default, type)

    def getlist(self, key: str, type: Converter = None) -> List[Any]:  # noqa: A002
        values = super().get(key, [])
        if type is None:
            return list(values)
        missing = object()
        found = [_converted(value, missing, type) for value in values]
        return [value for value in found if value is not missing]

    def items(self, multi: bool = False) -> Iterator[Tuple[str, Any]]:  # type: ignore[override]
        for key, values in super().items():
            for value in values if multi else values[:1]:
                yield key, value

    def values(self) -> Iterator[Any]:  # type: ignore[override]
        return (values[0] for values in super().values())

    def lists(self) -> Iterator[Tuple[str, List[Any]]]:
        return ((key, list(values)) for key, values in super().items())

    def listvalues(self) -> Iterator[List[Any]]:
        return iter(super().values())

    def to_dict(self, flat: bool = True) -> Dict[str, Any]:
        return dict(self.items()) if flat else dict(self.lists())

    def copy(self) -> MultiDict:
        return MultiDict(self.items(multi=True))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.items(multi=True))!r})"


def _converted(value: Any, default: Any, convert: Converter) -> Any:
    if convert is None:
        return value
    try:
        return convert(value)
    except (ValueError, TypeError):
        return default


_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


class Headers:
    """Headers in their order; names are compared without case."""

    def __init__(self, defaults: Any = None) -> None:
        self._list: List[Pair] = []
        if defaults is not None:
            self.extend(defaults)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int):
            return self._list[key]
        for name, value in self._list:
            if name.lower() == key.lower():
                return value
        raise HTTPError(400, f"there is no header {key!r}")

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        self.remove(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and any(n.lower() == key.lower() for n, _ in self._list)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._list)

    def __len__(self) -> int:
        return len(self._list)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return sorted((n.lower(), v) for n, v in self) == sorted((n.lower(), v) for n, v in other)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return "".join(f"{name}: {value}\r\n" for name, value in self._list) + "\r\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._list!r})"

    def get(self, key: str, default: Any = None, type: Converter = None) -> Any:  # noqa: A002
        if key not in self:
            return default
        return _converted(self[key], default, type)

    def getlist(self, key: str, type: Converter = None) -> List[Any]:  # noqa: A002
        found = [value for name, value in self._list if name.lower() == key.lower()]
        return found if type is None else [type(value) for value in found]

    get_all = getlist

    def add(self, _key: str, _value: Any, **params: Any) -> None:
        value = str(_value)
        for name, param in params.items():
            name = name.replace("_", "-")
            value += f"; {name}" if param is None else f"; {name}={_quoted(str(param))}"
        self._list.append((str(_key), _clean(value)))

    add_header = add

    def set(self, _key: str, _value: Any, **params: Any) -> None:
        kept = Headers()
        kept.add(_key, _value, **params)
        at = next((i for i, (n, _) in enumerate(self._list) if n.lower() == _key.lower()), None)
        if at is None:
            self._list += kept._list
            return
        rest = [pair for pair in self._list[at + 1 :] if pair[0].lower() != _key.lower()]
        self._list[at:] = kept._list + rest

    def setlist(self, key: str, values: Iterable[Any]) -> None:
        self.remove(key)
        for value in values:
            self.add(key, value)

    def setdefault(self, key: str, default: Any) -> Any:
        if key not in self:
            self.set(key, default)
        return self[key]

    def remove(self, key: str) -> None:
        self._list[:] = [pair for pair in self._list if pair[0].lower() != key.lower()]

    def pop(self, key: str, *default: Any) -> Any:
        if key not in self and default:
            return default[0]
        value = self[key]
        self.remove(key)
        return value

    def clear(self) -> None:
        self._list.clear()

    def extend(self, more: Any) -> None:
        for name, value in _pairs(more):
            self.add(name, value)

    def update(self, more: Any) -> None:
        pairs = list(_pairs(more))
        for name in {name for name, _ in pairs}:
            self.setlist(name, [value for n, value in pairs if n == name])

    def items(self, lower: bool = False) -> Iterator[Pair]:
        return ((name.lower() if lower else name, value) for name, value in self._list)

    def keys(self, lower: bool = False) -> Iterator[str]:
        return (name for name, _ in self.items(lower))

    def values(self) -> Iterator[str]:
        return (value for _, value in self._list)

    def copy(self) -> Headers:
        return Headers(self._list)

    def to_wsgi_list(self) -> List[Pair]:
        return list(self._list)


def _pairs(values: Any) -> Iterator[Tuple[str, Any]]:
    if isinstance(values, Headers):
        yield from values
        return
    for name, value in values.items() if isinstance(values, Mapping) else values:
        for one in value if isinstance(value, (list, tuple)) else [value]:
            yield name, one


def _clean(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise ValueError("Header values must not contain newline characters.")
    return value


def _quoted(value: str) -> str:
    if _NAME.match(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


_PARAMETER = re.compile(
    r"([\w!#$%&'*+\-.^`|~]+)="
    r"(?:([\w!#$%&'*+\-.^`|~]+)|\"((?:[^\"\\]|\\.)*)\")?",
    re.ASCII | re.DOTALL,
)
_NEXT = re.compile(r";[ \t]*")
_MARK = re.compile(r"(\*\d+)?(\*)?\Z", re.ASCII)
_CHARSETS = ("ascii", "us-ascii", "utf-8", "iso-8859-1")


def parse_options(value: Optional[str]) -> Tuple[str, Dict[str, str]]:
    """The value of a header and its parameters: 'form-data; name="a"'."""
    main, _, rest = (value or "").partition(";")
    rest = rest.strip(" \t")
    options: Dict[str, str] = {}
    pieces: Dict[str, List[str]] = {}  # of parameters that came in several
    at = 0
    while main and at < len(rest):
        found = _PARAMETER.match(rest, at)
        if found is not None and found.lastindex is not None and found.lastindex > 1:
            at = found.end()
            name, in_pieces, text = _parameter(found[1].lower(), found[2], found[3])
            if in_pieces:
                options.pop(name, None)
                pieces.setdefault(name, []).append(text)
            else:
                pieces.pop(name, None)
                options[name] = text
        following = _NEXT.search(rest, at)
        if following is None:
            break
        at = following.end()
    options.update((name, "".join(parts)) for name, parts in pieces.items())
    return main.strip(" \t"), options


def _parameter(name: str, token: Optional[str], quoted: Optional[str]) -> Tuple[str, bool, str]:
    """The name without its marks, whether it is a piece, and the value."""
    mark = _MARK.search(name)
    piece, charset = (mark[1], mark[2]) if mark else (None, None)
    name = name[: mark.start()] if mark else name
    text = token if token is not None else '"' + str(quoted) + '"'
    if charset:
        kind, _, extended = text.partition("'")
        _, separator, extended = extended.partition("'")
        if separator and kind.lower() in _CHARSETS:
            text = unquote(extended, encoding=kind, errors="replace")
    elif quoted is not None:
        text = re.sub(r"\\(.)", r"\1", quoted).replace("%22", '"')
    else:
        text = text.replace("%22", '"')
    return name, piece is not None, text


def is_json(kind: str) -> bool:
    """Whether a media type is that of JSON."""
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


Body = Union[str, bytes, bytearray]
