"""Addresses of stores: what is a secret in them, and which path they mean."""

from __future__ import annotations

import pytest

from ghost_deploy.batch.file_access import FileAccess, root_of, shown
from ghost_deploy.batch.store_paths import address_in_store, path_in_store

DFS = "account.dfs.core.windows.net"
BLOB = "account.blob.core.windows.net"
ADDRESSES = [
    # address, as it is shown, path in the file system
    ("s3://bucket/a/b.jpg", "s3://bucket/a/b.jpg", "bucket/a/b.jpg"),
    ("s3://key:secret@bucket/a.jpg", "s3://bucket/a.jpg", "bucket/a.jpg"),
    (f"abfs://box@{DFS}/a/b.jpg", f"abfs://box@{DFS}/a/b.jpg", "box/a/b.jpg"),
    (f"abfss://box@{DFS}/a/b.jpg", f"abfss://box@{DFS}/a/b.jpg", "box/a/b.jpg"),
    (f"abfs://box:c2VjcmV0@{DFS}/a.jpg", f"abfs://box@{DFS}/a.jpg", "box/a.jpg"),
    (f"abfs://{BLOB}/box/a.jpg", f"abfs://{BLOB}/box/a.jpg", "box/a.jpg"),
    (f"abfs://:c2VjcmV0@{BLOB}/box/a.jpg", f"abfs://{BLOB}/box/a.jpg", "box/a.jpg"),
    ("abfs://account@box/a/b.jpg", "abfs://account@box/a/b.jpg", "box/a/b.jpg"),
    ("abfs://account:c2VjcmV0@box/a.jpg", "abfs://account@box/a.jpg", "box/a.jpg"),
    ("abfs://account@box/me@home.jpg", "abfs://account@box/me@home.jpg", "box/me@home.jpg"),
]


@pytest.mark.parametrize(("address", "plain", "path"), ADDRESSES)
def test_addresses(address: str, plain: str, path: str) -> None:
    assert shown(address) == plain
    assert path_in_store(plain) == path
    assert address_in_store(root_of(address), path) == plain


# S3 is asked for the region of the bucket.
@pytest.mark.parametrize(("address", "plain", "path"), ADDRESSES[2:])
def test_the_file_system_takes_them_so(address: str, plain: str, path: str) -> None:
    fs = pytest.importorskip("pyarrow.fs")
    if not hasattr(fs, "AzureFileSystem"):
        pytest.skip("pyarrow was built without Azure")
    assert fs.FileSystem.from_uri(address)[1] == path
    assert FileAccess.of([address]).locate(plain)[1] == path


def test_the_secret_is_kept_for_opening_alone() -> None:
    address = f"abfs://box:c2VjcmV0@{DFS}/a.jpg"
    access = FileAccess.of([address])
    assert access.roots == {f"abfs://box@{DFS}": f"abfs://box:c2VjcmV0@{DFS}"}
