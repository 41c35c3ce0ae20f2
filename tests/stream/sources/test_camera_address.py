from __future__ import annotations

import itertools
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.sources.camera_address import split_address
from ghost_deploy.stream.sources.uri import parse_source

ODD = "[]#/?@:% &=+!*é\"'"


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://",
        "rtsp:///path",
        "rtsp://:554/1",
        "rtsp://host:0/1",
        "rtsp://host:70000/1",
        "rtsp://host:port/1",
        "rtsp://user:secret@/1",
        "rtsp://user:secret@host:554x/1",
        "http://user:sec#ret@:80/",
        "rtsp://[::1/1",
    ],
)
def test_what_can_never_work_stops_the_start(address: str) -> None:
    with pytest.raises(UsageError, match="names no server") as caught:
        parse_source(address)
    assert "secret" not in str(caught.value)
    assert "%23" in str(caught.value)


@pytest.mark.parametrize(
    ("address", "user", "password", "host", "port", "rest"),
    [
        ("rtsp://host", "", "", "host", None, ""),
        ("RTSP://host:554/a/b?c=d#e", "", "", "host", 554, "/a/b?c=d#e"),
        ("rtsp://user@host/1", "user", "", "host", None, "/1"),
        ("rtsp://a:b@[fe80::1%eth0]:8554/1", "a", "b", "fe80::1%eth0", 8554, "/1"),
        ("rtsp://a:b%40c%zz@host/1", "a", "b@c%zz", "host", None, "/1"),
        ("rtsp://a:b@10.0.0.5/cam@2", "a", "b", "10.0.0.5", None, "/cam@2"),
        ("rtsp://10.0.0.5/user=a&password=b@c", "", "", "10.0.0.5", None, "/user=a&password=b@c"),
        ("http://h/v?mail=a@b.com", "", "", "h", None, "/v?mail=a@b.com"),
        ("rtsp://a:b#c@camera/1", "a", "b#c", "camera", None, "/1"),
        ("rtsp://a:1#2@camera/1", "a", "1#2", "camera", None, "/1"),
        ("rtsp://a:1/2@10.0.0.5/1", "a", "1/2", "10.0.0.5", None, "/1"),
        ("rtsp://a:b@c/d@10.0.0.5/1", "a", "b@c/d", "10.0.0.5", None, "/1"),
        ("rtsp://a:b@c:1/d@localhost/1", "a", "b", "c", 1, "/d@localhost/1"),
    ],
)
def test_the_parts(
    address: str, user: str, password: str, host: str, port: int | None, rest: str
) -> None:
    parts = split_address(address)
    found = (parts.user, parts.password, parts.host, parts.port, parts.rest)
    assert found == (user, password, host, port, rest)
    assert split_address(parts.url) == parts
    assert password == "" or password not in repr(parts)


@pytest.mark.parametrize("host", ["192.168.1.9/1", "camera:8554/1", "[::1]:554/live?x=1"])
@pytest.mark.parametrize("inside", ["".join(pair) for pair in itertools.permutations("[]#/?@:", 2)])
def test_passwords_as_manuals_write_them(inside: str, host: str) -> None:
    parts = split_address(f"rtsp://admin:p{inside}w@{host}")
    assert (parts.user, parts.password) == ("admin", f"p{inside}w")
    assert parts.bare == f"rtsp://{host}"


@given(st.text("ab1" + ODD, min_size=1, max_size=12))
def test_an_escaped_address_is_read_alike_by_libraries(password: str) -> None:
    parts = split_address(f"rtsp://user:{password}x@127.0.0.1:8554/1")
    standard = urlsplit(parts.url)
    assert (standard.hostname, standard.port, standard.path) == ("127.0.0.1", 8554, "/1")
    assert split_address(parts.url) == parts
