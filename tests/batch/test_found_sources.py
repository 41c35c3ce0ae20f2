"""What the inputs of a run name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ghost_deploy.batch import file_access
from ghost_deploy.batch.file_access import FileAccess, root_of, shown
from ghost_deploy.batch.found_sources import FoundSources, find_sources
from ghost_deploy.core.errors import StoreError, UsageError

pa = pytest.importorskip("pyarrow")
NAMES = ("b.jpg", "deep/er/a.PNG", "deep/c.jpeg", "clip.mp4")
LEFT_OUT = (".hidden.jpg", ".cache/d.jpg", "notes.md", "part.parquet")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in (*NAMES, *LEFT_OUT):
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "archive"


def find(*words: object, column: str | None = None) -> FoundSources:
    return find_sources([str(word) for word in words], FileAccess(), column, lambda _: None)


def names(found: FoundSources, below: Path) -> list[str]:
    every = [*found.images.to_pylist(), *(file.source for file in found.videos)]
    return [os.path.relpath(path, below) for path in every]


def write_parquet(target: Path, **columns: list[object]) -> Path:
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), target)
    return target


WRONG: dict[str, tuple[Callable[[Path], list[object]], str]] = {
    "nothing": (lambda _: [], "no input is named"),
    "an empty text": (lambda _: [""], "names no image|no input"),
    "missing": (lambda folder: [folder / "no"], "there is no input"),
    "an empty folder": (lambda folder: [folder / "archive" / ".cache" / "e"], "there is no input"),
    "a pattern without a match": (lambda folder: [folder / "*.tif"], "names no image"),
    "a missing list": (lambda folder: [f"@{folder}/no"], "there is no list"),
    "a list without a line": (lambda folder: [folder / "empty.txt"], "names no image"),
    "a Parquet file without paths": (lambda folder: [folder / "other.parquet"], "no column of"),
    "a missing Parquet file": (lambda folder: [folder / "no.parquet"], "there is no input"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_what_names_nothing(
    archive: Path, words: Callable[[Path], list[object]], message: str
) -> None:
    (archive.parent / "empty.txt").write_text("# nothing\n\n")
    write_parquet(archive.parent / "other.parquet", number=[1])
    with pytest.raises(UsageError, match=message):
        find(*words(archive.parent))


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(StoreError, match="cannot be read"):
        find(tmp_path / "a.parquet")


def test_a_column_that_is_missing(tmp_path: Path) -> None:
    index = write_parquet(tmp_path / "a.parquet", path=["a.jpg"])
    with pytest.raises(UsageError, match="no column where"):
        find(index, column="where")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "int64"),
        ([True], "bool"),
        ([["a.jpg"]], "list<"),
        ([{"bytes": b"\xff\xd8", "path": "a.jpg"}], "struct<"),  # as Hugging Face stores images
        ([b"\xff\xd8\xff\xe0\x00\x10JFIF"], "10 bytes"),
        (["x" * 70_000], "70000 bytes"),
    ],
)
def test_a_column_that_holds_no_paths(tmp_path: Path, values: list[object], kind: str) -> None:
    index = write_parquet(tmp_path / "a.parquet", image=values)
    with pytest.raises(UsageError, match=r"column image of .* holds no paths") as failed:
        find(index)
    assert kind in str(failed.value)
    with pytest.raises(UsageError, match="holds no paths"):
        find(index, column="image")


@pytest.mark.parametrize(
    "kind", ["string", "large_string", "binary", "large_binary", "dictionary", "string_view"]
)
def test_paths_of_any_text_type(archive: Path, kind: str) -> None:
    """Older writers mark no text as such: their paths are binary."""
    paths = pa.array([str(archive / name) for name in NAMES] + [None, "  "])
    if kind == "dictionary":
        column = paths.dictionary_encode()
    elif kind == "string_view":
        column = pa.array(paths.to_pylist(), pa.string_view())
    else:
        column = paths.cast(getattr(pa, kind)())
    index = write_parquet(archive.parent / "a.parquet", image=[{"x": 1}] * 6, url=column)
    assert set(names(find(index), archive)) == set(NAMES)


@pytest.mark.parametrize("content", [b"\0" * 70_000, b"a.jpg\n" + b"x" * 70_000])
def test_a_list_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UsageError, match="no list of paths"):
        find(tmp_path / "a.txt")


def test_a_list_that_never_ends() -> None:
    with pytest.raises(UsageError, match="no list of paths"):
        find("@/dev/zero")


def test_a_folder_with_all_below_it(archive: Path) -> None:
    assert names(find(archive), archive) == ["b.jpg", "deep/c.jpeg", "deep/er/a.PNG", "clip.mp4"]


def test_the_same_source_counts_once(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive)
    found = find(archive, "b.jpg", "./deep/../b.jpg", archive / "*.mp4")
    assert len(found.images) == 3
    assert len(found.videos) == 1
    assert found.duplicates == 3


def test_a_pattern(archive: Path) -> None:
    assert names(find(archive / "**" / "*.jp*"), archive) == ["b.jpg", "deep/c.jpeg"]


def test_lists_name_what_may_not_be_there(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of a list that does not exist is a row with an error, and no reason not to start."""
    (archive / "list.txt").write_text(f"b.jpg\n# no\n\n{archive}/gone.jpg\nhere.png\n")
    (archive.parent / "here.png").write_bytes(b"x")
    monkeypatch.chdir(archive.parent)
    expected = ["b.jpg", "gone.jpg", "../here.png"]
    assert names(find(archive / "list.txt"), archive) == expected
    assert names(find(f"@{archive}/list.txt"), archive) == expected


ODD_NAMES = ("a\u2028b.jpg", "a\x85b.jpg", "a\x0bb.jpg", " a .jpg ", "a\x1cb.jpg")


def test_names_of_lists_stay_as_they_are(tmp_path: Path) -> None:
    text = "\ufeff" + "\r\n".join(ODD_NAMES) + "\r\n\r\n  \n"
    (tmp_path / "list.txt").write_bytes(text.encode())
    for name in ODD_NAMES:
        (tmp_path / name).write_bytes(b"x")
    assert names(find(tmp_path / "list.txt"), tmp_path) == list(ODD_NAMES)


def test_a_pattern_in_a_folder_with_a_bracket(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = archive.rename(archive.parent / "a[1]*")
    monkeypatch.chdir(odd)
    assert names(find("**/*.jp*"), odd) == ["b.jpg", "deep/c.jpeg"]
    monkeypatch.chdir(odd / "deep")
    assert names(find("../*.jpg"), odd) == ["b.jpg"]


@pytest.mark.parametrize("before", ["/", "file://", "FILE://localhost", "file:///"])
def test_two_slashes_and_file_addresses_are_the_same_path(archive: Path, before: str) -> None:
    found = find(archive, f"{before}{archive}", f"{before}{archive}/*.jpg")
    assert (len(found.images), found.duplicates) == (3, 5)


@pytest.mark.parametrize(("column", "asked"), [("path", None), ("uri", None), ("where", "where")])
def test_parquet_with_a_column_of_paths(archive: Path, column: str, asked: str | None) -> None:
    paths = ["b.jpg", str(archive / "clip.mp4"), None, "", "b.jpg", f"file://{archive}/deep/c.jpeg"]
    index = write_parquet(archive / "index.parquet", number=list(range(6)), **{column: paths})
    found = find(index, column=asked)
    assert names(found, archive) == ["b.jpg", "deep/c.jpeg", "clip.mp4"]
    assert found.duplicates == 1


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    raw = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    Path(raw).write_bytes(b"x")
    found = find(tmp_path)
    (source,) = found.images.to_pylist()
    assert source == f"{tmp_path}/\\xff.jpg"
    assert found.files([source])[0].opened == raw


def test_names_that_look_like_bytes_stay_two(tmp_path: Path) -> None:
    raws = [os.fsdecode(os.fsencode(tmp_path) + b) for b in (b"/\xff.jpg", b"/\\xff.jpg")]
    for raw in (*raws, f"{tmp_path}/\\\\xff.jpg"):
        Path(raw).write_bytes(b"x")
    found = find(tmp_path)
    assert len(found.images) == 3
    opened = {file.opened for file in found.files(found.images.to_pylist())}
    assert opened == {*raws, f"{tmp_path}/\\\\xff.jpg"}


H = "https://h/i.jpg"
SIGNED = "X-Amz-Credential=AKIA&X-Amz-Date=1&X-Amz-Signature=5ec"
WEB = {
    "other images": ([f"{H}?id=1", f"{H}?id=2", H], [f"{H}?id=1", f"{H}?id=2", H]),
    "signed anew": ([f"{H}?{SIGNED}", f"{H}?{SIGNED}0"], [H]),
    "signed with an id": ([f"{H}?id=1&{SIGNED}", f"{H}?{SIGNED}&id=2"], [f"{H}?id=1", f"{H}?id=2"]),
    "Google": ([f"{H}?X-Goog-Signature=5ec&generation=3"], [f"{H}?generation=3"]),
    "Azure": ([f"{H}?sv=2&se=3&sr=b&sp=r&sig=5ec%3D&snapshot=4"], [f"{H}?snapshot=4"]),
    "no signature": ([f"{H}?sv=2&st=3"], [f"{H}?sv=2&st=3"]),
    "token": ([f"{H}?alt=media&token=5ec"], [f"{H}?alt=media"]),
    "user": (["https://me:5ec@h/i.jpg?id=1"], [f"{H}?id=1"]),
}


@pytest.mark.parametrize("through_list", [False, True])
@pytest.mark.parametrize(("given", "sources"), WEB.values(), ids=WEB)
def test_web_addresses(
    tmp_path: Path,
    given: list[str],
    sources: list[str],
    through_list: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "list.txt").write_text("\n".join(given))
    found = find(tmp_path / "list.txt") if through_list else find(*given)
    assert found.images.to_pylist() == sources
    assert found.files(sources)[-1].opened == given[-1]
    monkeypatch.setattr(file_access, "_file_system", lambda root: root)  # aiohttp may be missing
    assert FileAccess().locate(given[-1]) == (root_of(given[-1]), given[-1])


def test_a_video_with_a_query() -> None:
    found = find("https://h/a.mp4?id=1", "https://h/a.mp4?id=2&sig=5ec")
    assert [file.source for file in found.videos] == [
        "https://h/a.mp4?id=1",
        "https://h/a.mp4?id=2",
    ]


SECRETS = {
    "s3://AKIA:5ec@b/k.jpg": "s3://b/k.jpg",
    "s3://k:5ec@5ec@b/k@2.jpg": "s3://b/k@2.jpg",
    "s3://AKIA:abc/5ec@b/k.jpg": "s3://b/k.jpg",
    "s3://b/k.jpg?X-Amz-Signature=5ec": "s3://b/k.jpg",
    "s3://b/a:1/k@2.jpg": "s3://b/a:1/k@2.jpg",
    "hdfs://h:8020/a@b/k.jpg": "hdfs://h:8020/a@b/k.jpg",
}


@pytest.mark.parametrize(("address", "expected"), SECRETS.items())
def test_secrets_are_not_shown(address: str, expected: str) -> None:
    assert shown(address) == expected


def test_a_secret_with_a_slash_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be told from the path") as error:
        FileAccess.of(["s3://AKIA:abc/5ec@b/k.jpg"])
    assert "5ec" not in str(error.value)


def test_what_is_left_out_is_said(archive: Path) -> None:
    (archive / "_DSC.JPG").write_bytes(b"x")
    (archive / "linked").symlink_to(archive / "deep")
    notes: list[str] = []
    found = find_sources([str(archive)], FileAccess(), None, notes.append)
    assert len(found.images) == 4
    assert [note.partition(": ")[2] for note in notes] == [
        "2 hidden files and folders are left out",
        "1 link to a folder is left out",
    ]


def test_content_decides_where_the_name_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "movie").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(64))
    (tmp_path / "image").write_bytes(b"\xff\xd8\xff")
    found = find(tmp_path / "movie", tmp_path / "image")
    assert (len(found.images), len(found.videos)) == (1, 1)


def test_links_that_lead_back_are_not_followed(archive: Path) -> None:
    (archive / "deep" / "back").symlink_to(archive)
    notes: list[str] = []
    every = find_sources([f"{archive}/**/*.*"], FileAccess(), None, notes.append)
    assert sorted(names(every, archive)) == sorted(NAMES)
    assert any("1 link to a folder is left out" in note for note in notes)
    assert names(find(f"{archive}/**"), archive) == names(every, archive)
    assert names(find(f"{archive}/deep/**/*.PNG"), archive) == ["deep/er/a.PNG"]
    assert names(find(f"{archive}/**/e?/*"), archive) == ["deep/er/a.PNG"]


def test_a_pattern_in_a_folder_with_wild_characters(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = archive.parent / "a[b]*"
    archive.rename(odd)
    monkeypatch.chdir(odd)
    assert len(names(find("**"), odd)) == len(NAMES)
    assert names(find("deep/**/*.PNG"), odd) == ["deep/er/a.PNG"]


def test_spaces_around_a_name_of_a_list(archive: Path) -> None:
    (archive / " b.jpg ").write_bytes(b"x")
    (archive / "list.txt").write_text("  deep/c.jpeg \n b.jpg \n none.jpg\n  s3://a/b.jpg\n")
    found = find(archive / "list.txt").images.to_pylist()
    there = [str(archive / "deep" / "c.jpeg"), str(archive / " b.jpg "), "s3://a/b.jpg"]
    assert [found[0], found[1], found[3]] == there
    assert found[2].endswith("/none.jpg")
