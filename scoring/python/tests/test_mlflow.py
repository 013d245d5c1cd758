from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

import pytest
import sluice_frames as frames
import sluice_inputs as inputs
import sluice_mlflow as models
from sluice_script import ScriptError


def files(tmp_path: Path, *names: str) -> str:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return str(tmp_path)


def test_model_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files(tmp_path, "a/b/MLmodel")
    assert models.find(folder) == str(tmp_path / "a" / "b")
    files(tmp_path, "c/MLmodel")
    with pytest.raises(ScriptError, match="it has 2 files MLmodel"):
        models.find(folder)
    monkeypatch.setenv("MLFLOW_MODEL_FOLDER", "c")
    assert models.find(folder) == str(tmp_path / "c")
    monkeypatch.delenv("MLFLOW_MODEL_FOLDER")
    files(tmp_path, "MLmodel")
    assert models.find(folder) == str(tmp_path)
    for nowhere in ("", str(tmp_path / "no")):
        with pytest.raises(ScriptError) as raised:
            models.find(nowhere)
        assert raised.value.code == "ModelInvalid"


@pytest.mark.parametrize(
    "data",
    ["a text", ["one", "two"], [{"role": "user"}], {"q": "x", "more": ["a"]}],
)
def test_language_is_passed_on(data: Any) -> None:
    assert models._language(data) is data


class FakeChannel:
    def __init__(self, body: bytes) -> None:
        self.body = body
        self.dropped = False

    def body_bytes(self, frame: frames.Frame) -> bytes:
        return self.body

    def drop_body(self, frame: frames.Frame) -> None:
        self.dropped = True


def taken(body: bytes, meta: bytes = b"", flags: int = 0) -> Any:
    channel: Any = FakeChannel(body)
    script: Any = None
    frame = frames.Frame(frames.REQUEST, flags, 0, 1, meta, memoryview(b""), 0)
    arguments = models.read(channel, frame, script)
    assert channel.dropped == bool(flags & frames.FLAG_GET)
    return arguments


def test_requests_are_read() -> None:
    both = {"input_data": [1], "params": {"a": 1}}
    assert taken(b'{"input_data": [1], "params": {"a": 1}, "x": 2}') == both
    assert taken(b"{}", b"\0/invocations\0text/csv") == {"invocation": (b"{}", "text/csv")}
    assert taken(b"", b"\0/invocations\0") == {"invocation": (b"", "")}
    query = taken(b"", b"input_data=[1]", frames.FLAG_GET)
    assert query == {"input_data": [1], "params": None}
    for body, message in (
        (b"", b"POST body is empty"),
        (b"{", b"could not be decoded as JSON"),
        (b"[]", b"should be a JSON dictionary"),
        (b"{}", b"not provided for the 'input_data' parameter"),
    ):
        with pytest.raises(inputs.InputError) as refused:
            taken(body)
        assert message in refused.value.body
        assert refused.value.outcome == frames.BAD_INPUT
    with pytest.raises(UnicodeDecodeError):  # as the original fails, too
        taken(b'{"input_data": "\xff"}')


def test_rows_of_columns() -> None:
    assert models._rows([[1, 2], ["a", "b"]]) == [[1, "a"], [2, "b"]]
    with pytest.raises(ValueError, match="different lengths"):
        models._rows([[1], []])


def test_columns_are_told_apart() -> None:
    columns = object.__new__(models.Columns)
    columns.names, columns.types = ["a", "b"], {"a": float, "b": float}
    cases: List[Tuple[Any, Any]] = [
        ({"columns": ["b"], "data": [[1]]}, (["b"], None, [[1]])),
        ({"columns": ["b"], "index": [7], "data": [[1]]}, (["b"], [7], [[1]])),
        ('{"columns": ["b"], "data": []}', (["b"], None, [])),
        ({"a": [1, 2], "b": [3, 4]}, (["a", "b"], None, [[1, 3], [2, 4]])),
        ({"a": 1, "b": "x"}, (["a", "b"], None, [[1, "x"]])),
        ([[1, 2]], (["a", "b"], None, [[1, 2]])),
        ([{"b": 1}, {"a": 2}], (["b", "a"], None, [[1, None], [None, 2]])),
        ([1, 2], (["a"], None, [[1], [2]])),
        ([], (["a", "b"], None, [])),
    ]
    for data, want in cases:
        assert columns._parts(data) == want, data
    with pytest.raises(ValueError, match="input_data is int"):
        columns._parts(1)
