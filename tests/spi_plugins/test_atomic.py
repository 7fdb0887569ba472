"""Writes that are killed, that overlap, or that find no room."""

import contextlib
import errno
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading

import pytest

from spi_plugins.archive import write_atomically
from spi_plugins.atomic import replacing

WRITER = """
import pathlib, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
from spi_plugins.atomic import replacing
with replacing(pathlib.Path("{path}")) as file:
    file.write(b"half")
    file.flush()
    print(flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.zip"


def begin(path):
    """A process in the midst of a write."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writer = subprocess.Popen([sys.executable, "-c", WRITER.format(path=path)], **pipes)
    writer.stdout.readline()
    return writer


def left(path):
    return sorted(name for name in os.listdir(path.parent) if name.endswith(".tmp"))


def test_the_next_write_deletes_what_killed_ones_left_and_nothing_else(path):
    write_atomically(path, b"old")
    others = [path.parent / name for name in (".spi-notes", ".spi-folder.tmp", ".other.tmp", "spi-x.tmp")]
    for other in others:
        other.mkdir() if "folder" in other.name else other.write_text("mine")
    before = left(path)
    dead, alive = begin(path), begin(path.with_name("other.zip"))
    dead.kill()
    dead.communicate()
    assert path.read_bytes() == b"old"
    assert len(left(path)) == len(before) + 2
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert len(left(path)) == len(before) + 1  # that of the living
    alive.send_signal(signal.SIGINT)
    alive.communicate()
    assert left(path) == before
    assert all(other.exists() for other in others)


def test_writers_at_once_each_write_a_whole_file(path):
    contents = [bytes([number]) * 100_000 for number in range(8)]

    def write(content):
        for _ in range(20):
            write_atomically(path, content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert left(path) == []


def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(path, monkeypatch):
    write_atomically(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file\.zip'$"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    folder = path.with_name("folder")
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match=r"/folder'$"):
        write_atomically(folder, b"new")
    with pytest.raises(OSError, match=r"file\.zip"):
        write_atomically(path / "within", b"new")
    with contextlib.suppress(RuntimeError), replacing(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert left(path) == []


def test_files_get_the_usual_permissions(path):
    before = os.umask(0o027)
    try:
        write_atomically(path.parent / "new" / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE(pathlib.Path(path.parent / "new" / "file").stat().st_mode) == 0o640
