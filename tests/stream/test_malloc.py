from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import ctypes, sys, threading
from ghost_deploy.stream.malloc import use_single_arena
if sys.argv[2:]:
    use_single_arena()
together = threading.Barrier(5)

def allocate():
    held = bytearray(100_000)
    together.wait()

for _ in range(4):
    threading.Thread(target=allocate).start()
together.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


def heaps(path: Path, *words: str) -> int:
    """The heaps of a process in which four threads allocate."""
    subprocess.run([sys.executable, "-c", CHILD, str(path), *words], check=True, timeout=60)
    return path.read_text().count("<heap ")


def test_all_threads_share_one_heap(tmp_path: Path) -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        pytest.skip("not glibc")
    assert heaps(tmp_path / "plain") > 1
    assert heaps(tmp_path / "shared", "share") == 1


FREED = """
import ctypes
from ghost_deploy.stream.malloc import return_free_memory, use_single_arena

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

use_single_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks = [ctypes.c_void_p(libc.malloc(50_000)) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 50_000)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
    libc.free(block)
before = resident()
return_free_memory()
print(before, resident())
"""


def test_what_was_freed_goes_back_to_the_system() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("not glibc")
    ran = subprocess.run(
        [sys.executable, "-c", FREED], check=True, timeout=60, capture_output=True, text=True
    )
    before, after = map(int, ran.stdout.split())
    assert after < before - 5000, "pages of 4 KiB, of 12 000 that were freed"


LARGE = """
import ctypes, sys
from ghost_deploy.stream.malloc import return_large_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

if sys.argv[1:]:
    return_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def fill(size):
    block = ctypes.c_void_p(libc.malloc(size))
    ctypes.memset(block, 1, size)
    return block

libc.free(fill(30_000_000))  # by default blocks below this size are kept from here on
before = resident()
blocks = [fill(1_000_000) for _ in range(20)]
held = fill(1_000)
for block in blocks:
    libc.free(block)
print(resident() - before)
"""


@pytest.mark.parametrize(("words", "most"), [(["at once"], 500), ([], 10**6)])
def test_large_blocks_go_back_when_they_are_freed(words: list[str], most: int) -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        pytest.skip("not glibc")
    ran = subprocess.run(
        [sys.executable, "-c", LARGE, *words],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    pages = int(ran.stdout)
    assert pages < most
    assert words or pages > 4000, "pages of 4 KiB: glibc keeps them by default"
