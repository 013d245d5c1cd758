from __future__ import annotations

import json
from typing import Any, Dict

import pytest
import sluice_inputs as inputs


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("", {}),
        ("a=1&b=[1,2]&c=a&d=null", {"a": 1, "b": [1, 2], "c": "a", "d": None}),
        ("foo=bar1&foo=bar2&x=y", {"foo": ["bar1", "bar2"], "x": "y"}),
        ("a=%5B1%5D&b=x+y&c=%2B", {"a": [1], "b": "x y", "c": "+"}),
        ("a=&b", {"a": "", "b": ""}),
        ("a=1;b=2", {"a": "1;b=2"}),
        ("a=%ff", {"a": "%FF"}),
        ("a=NaN", {"a": float("nan")}),
    ],
)
def test_query_object(query: str, want: Dict[str, Any]) -> None:
    # Compared as JSON because NaN is not equal to itself.
    assert json.dumps(inputs.query_object(query)) == json.dumps(want)


def test_meta() -> None:
    meta = b"a=1\0Host\0h:1\0X-B3traceid\0caf\xe9\0X-Empty\0"
    assert inputs.query_of(meta) == "a=1"
    assert inputs.headers_of(meta) == {"Host": "h:1", "X-B3Traceid": "café", "X-Empty": ""}
    assert inputs.query_of(b"") == ""
    with pytest.raises(UnicodeDecodeError):
        inputs.query_of(b"\xff\0")
