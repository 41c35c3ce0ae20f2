"""Addresses of boards."""

from __future__ import annotations

import pytest

from ghost_deploy.core.errors import UsageError
from ghost_deploy.remote.address import BoardAddress, parse_boards


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh://",
        "pi@board",
        "board",
        "http://board",
        "SSH://board",
        "ssh:board",
        "ssh:///folder",
        "ssh://@board",
        "ssh://pi@",
        "ssh://board:",
        "ssh://board:0",
        "ssh://board:65536",
        "ssh://board:ssh",
        "ssh://board:-1",
        # Read by ssh as options, these would run a program here.
        "ssh://-oProxyCommand=touch",
        "ssh://-oProxyCommand=touch${IFS}x/folder",
        "ssh://pi@-oProxyCommand=touch",
        "ssh://-oProxyCommand=touch@board",
        "ssh://%2DoProxyCommand=touch@board",
        "ssh://--@board",
        # What a shell would read in `Match exec` and in ProxyCommand's %h.
        "ssh://board;touch",
        "ssh://board$(touch)",
        "ssh://`touch`",
        "ssh://board|x",
        "ssh://a b@board",
        "ssh://a'b@board",
        "ssh://pi@bo ard",
        "ssh://böard",
        "ssh://board\n",
        "ssh://board/a\nb",
        "ssh://board/a%0Ab",
        "ssh://board/%00",
        "ssh://board/../etc",
        "ssh://board/a/../../etc",
        "ssh://board/~root/x",
        "ssh://[::1",
        "ssh://::1",
        "ssh://[::1]x:22",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        BoardAddress.parse(text)
    assert caught.value.fix


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="holds a password") as caught:
        BoardAddress.parse("ssh://pi:s3cret@board")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://board", BoardAddress("board")),
        ("ssh://board/", BoardAddress("board")),
        ("ssh://pi@raspberrypi.local", BoardAddress("raspberrypi.local", "pi")),
        ("ssh://pi@10.0.0.7:2222", BoardAddress("10.0.0.7", "pi", 2222)),
        ("ssh://pi@[fe80::1%eth0]:22/opt", BoardAddress("fe80::1%eth0", "pi", 22, "/opt")),
        ("ssh://[::1]", BoardAddress("::1")),
        ("ssh://my_alias", BoardAddress("my_alias")),
        ("ssh://a.b@corp.example@jump", None),
        ("ssh://a%40corp@host", BoardAddress("host", "a@corp")),
        ("ssh://h/data/a%20b/", BoardAddress("h", folder="/data/a b")),
        ("ssh://h/a b'c\"d?e#f", BoardAddress("h", folder="/a b'c\"d?e#f")),
        ("ssh://h/-x", BoardAddress("h", folder="/-x")),
        ("ssh://h/größe", BoardAddress("h", folder="/größe")),
        ("ssh://h/~/edge", BoardAddress("h", folder="~/edge")),
        ("ssh://h/a@b:c", BoardAddress("h", folder="/a@b:c")),
    ],
)
def test_addresses(text: str, expected: BoardAddress | None) -> None:
    found = BoardAddress.parse(text)
    if expected is not None:
        assert found == expected
    assert BoardAddress.parse(str(found)) == found


def test_a_board_is_named_once() -> None:
    assert len(parse_boards(["ssh://a", "ssh://b", "ssh://a:2222"])) == 3
    with pytest.raises(UsageError, match="twice"):
        parse_boards(["ssh://a", "ssh://pi@a:22"])
