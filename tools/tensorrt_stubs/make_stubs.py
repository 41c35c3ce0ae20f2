"""Stand-ins for the cuBLAS and cuDNN that a TensorRT 8 wheel links to but need not use.

    python tools/tensorrt_stubs/make_stubs.py SITE_PACKAGES/tensorrt -o stubs
    LD_LIBRARY_PATH=stubs:$LD_LIBRARY_PATH python -c "import tensorrt; print(tensorrt.__version__)"

libnvinfer_plugin.so.8 of the pip wheel 8.5.3.1 names libcublas.so.11, libcublasLt.so.11 and
libcudnn.so.8 (over 1 GB) among the libraries that must be loaded with it. Only plugins that
multiply matrices call them, and builder tactics that a build can exclude: see the README beside
this file. This script reads from the wheel's own libraries which symbols, in which versions, are
missing, and compiles libraries that have them; each answers with the error "not initialized"
(1 in cuBLAS and in cuDNN), so that a call that was not expected fails and does not crash.

Needs readelf and objdump (binutils) and a C compiler. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PREFIXES = ("libcublas.so", "libcublasLt.so", "libcudnn.so")
_UNDEFINED = re.compile(r"\bUND\s+(\w+)@(\S+)")
_REQUIRED = re.compile(r"required from (\S+):")
_VERSION = re.compile(r"0x[0-9a-f]+ 0x[0-9a-f]+ \d+ (\S+)")

Symbols = dict[str, dict[str, list[str]]]
"""Library, then version, then the names of its functions."""


def main(argv: Sequence[str] | None = None) -> int:
    """Make the libraries and say which."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path, help="folder with libnvinfer_plugin.so.8")
    parser.add_argument("-o", "--out", type=Path, default=Path("stubs"), help="folder to fill")
    args = parser.parse_args(argv)
    for tool in ("readelf", "objdump"):
        if shutil.which(tool) is None:
            parser.error(f"{tool} is not installed; it comes with binutils")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        parser.error("there is no C compiler")
    found = wanted_symbols(sorted(args.package.glob("*.so*")))
    if not found:
        parser.error(f"no library in {args.package} needs one of {', '.join(PREFIXES)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for library, versions in found.items():
        if is_here(library):
            print(f"{library}: there is a real one, and it stays")
            continue
        compile_stub(compiler, args.out / library, versions)
        count = sum(map(len, versions.values()))
        print(f"{args.out / library}: {count} functions")
    return 0


def wanted_symbols(libraries: Iterable[Path]) -> Symbols:
    """What the libraries need of cuBLAS and cuDNN, by the file and the version that define it."""
    found: dict[str, dict[str, set[str]]] = {}
    for file in libraries:
        owners = version_owners(_output("objdump", "-p", file))
        for name, version in _UNDEFINED.findall(_output("readelf", "--dyn-syms", "-W", file)):
            library = owners.get(version, "")
            if library.startswith(PREFIXES):
                found.setdefault(library, {}).setdefault(version, set()).add(name)
    return {
        library: {version: sorted(names) for version, names in versions.items()}
        for library, versions in found.items()
    }


def is_here(library: str) -> bool:
    """Whether the loader finds a library of that name."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def version_owners(listing: str) -> dict[str, str]:
    """Symbol version to library, of `objdump -p`."""
    owners, library = {}, ""
    for line in listing.splitlines():
        if match := _REQUIRED.search(line):
            library = match[1]
        elif library and (match := _VERSION.search(line)):
            owners[match[1]] = library
    return owners


def compile_stub(compiler: str, path: Path, versions: Mapping[str, Sequence[str]]) -> None:
    """Compile a library that has the functions, each under its version."""
    names = [name for group in versions.values() for name in group]
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch, "stub.c"), Path(scratch, "stub.map")
        source.write_text("".join(f"int {name}(void) {{ return 1; }}\n" for name in names))
        script.write_text(
            "".join(
                f"{version} {{ global: {' '.join(f'{name};' for name in group)} }};\n"
                for version, group in versions.items()
            )
        )
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", path, source, f"-Wl,-soname,{path.name}",
             f"-Wl,--version-script={script}"],
            check=True,
        )  # fmt: skip


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
