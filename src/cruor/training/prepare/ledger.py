"""What a preparation under way has done: one SQLite file in the prepared folder, gone when all is done.

A row stands for finished work, and is written after the work: whatever a kill interrupts is done again.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from cruor.training.prepare.plan import NotRead, PrepareError
from cruor.training.prepare.store import Row

LEDGER = "unfinished.sqlite"
COMMIT_EVERY_S = 0.25
"""What a kill may cost; each commit waits for the disk."""

_TABLES = """
create table if not exists settings (text text not null);
create table if not exists scanned (files text primary key) without rowid;
create table if not exists headers (path text primary key, study text, series text, instance text);
create index if not exists by_series on headers (study, series, path);
create index if not exists by_instance on headers (instance, path);
create table if not exists done (key text primary key, place integer, slices integer, rows blob);
create table if not exists not_read (key text, file text, why text);
"""


class Ledger:
    """The file, open for one process alone.

    Raises:
        PrepareError: another process has it open, it is for other settings, or it is broken.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self.file = folder / LEDGER
        self._committed = time.monotonic()
        try:
            self._base = sqlite3.connect(self.file, timeout=1.0)
            self._base.execute("pragma locking_mode = exclusive")
            self._base.execute("begin exclusive")
            self._base.commit()
            self._base.executescript(_TABLES)
            found = self._base.execute("select text from settings").fetchone()
        except sqlite3.OperationalError as error:
            raise PrepareError(
                f"{folder}: another `cruor prepare` is at work there, or it cannot be written to ({error}); "
                "wait for it or name another --out"
            ) from error
        except sqlite3.DatabaseError as error:
            raise PrepareError(
                f"{self.file}: is broken ({error}); delete the folder and begin anew"
            ) from error
        if found is None:
            self._base.execute("insert into settings values (?)", (settings,))
            self._base.commit()
        elif found[0] != settings:
            self._base.close()
            raise PrepareError(
                f"{folder}: holds a preparation of something else that has not ended ({found[0]}); finish it "
                "with its own command, name another --out, or delete the folder"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.commit()
        self._base.close()

    def scanned(self) -> set[str]:
        """Digests of the parts of the data set whose headers are known."""
        return {digest for (digest,) in self._base.execute("select files from scanned")}

    def add_headers(
        self, digest: str, headers: Iterable[tuple[str, str, str, str]], not_read: Iterable[NotRead]
    ) -> None:
        """Keep a part: path, study, series and SOP instance UID of each file, and what was put aside."""
        self._base.executemany("insert or replace into headers values (?, ?, ?, ?)", headers)
        self.add_not_read(digest, not_read)
        self._base.execute("insert or replace into scanned values (?)", (digest,))
        self._commit_now_and_then()

    def series(self) -> list[tuple[str, str, int]]:
        """Study UID, series UID and number of files of each series, in order."""
        asked = "select study, series, count(*) from headers group by study, series order by study, series"
        return self._base.execute(asked).fetchall()

    def files_of(self, study: str, series: str) -> list[tuple[str, str]]:
        """(path, SOP instance UID) of each file of a series, in order."""
        asked = "select path, instance from headers where study = ? and series = ? order by path"
        return self._base.execute(asked, (study, series)).fetchall()

    def repeated(self) -> Iterator[tuple[str, list[str]]]:
        """SOP instance UIDs that stand in several files, with these in order."""
        asked = "select instance from headers group by instance having count(*) > 1 order by instance"
        for (instance,) in self._base.execute(asked).fetchall():
            found = self._base.execute(
                "select path from headers where instance = ? order by path", (instance,)
            )
            yield instance, [path for (path,) in found]

    def drop_header(self, path: str) -> None:
        """Forget a file."""
        self._base.execute("delete from headers where path = ?", (path,))

    def is_empty(self) -> bool:
        """Whether no header and no job of an earlier or this run stands here."""
        asked = "select exists (select 1 from headers) or exists (select 1 from done)"
        return not self._base.execute(asked).fetchone()[0]

    def done(self) -> set[str]:
        """Keys of the jobs that are done."""
        return {key for (key,) in self._base.execute("select key from done")}

    def add_done(self, key: str, place: int, rows: Sequence[Row], not_read: Iterable[NotRead]) -> None:
        """Keep what a job gave: its rows of the index, and what it could not read."""
        packed = zlib.compress(json.dumps(rows).encode())
        self._base.execute("insert or replace into done values (?, ?, ?, ?)", (key, place, len(rows), packed))
        self.add_not_read(key, not_read)
        self._commit_now_and_then()

    def slices(self) -> int:
        """Slices of all jobs that are done."""
        (count,) = self._base.execute("select coalesce(sum(slices), 0) from done").fetchone()
        return int(count)

    def rows(self) -> Iterator[Row]:
        """Rows of the index in the order of the plan; memory holds those of one job."""
        keys = self._base.execute("select key from done where slices > 0 order by place, key").fetchall()
        for key in keys:
            (packed,) = self._base.execute("select rows from done where key = ?", key).fetchone()
            yield from json.loads(zlib.decompress(packed))

    def not_read(self) -> list[NotRead]:
        """Everything that was put aside, in order of name."""
        asked = "select distinct file, why from not_read order by file, why"
        return [NotRead(file, why) for file, why in self._base.execute(asked)]

    def add_not_read(self, key: str, not_read: Iterable[NotRead]) -> None:
        """Keep what was put aside, in place of what was kept under the key before."""
        self._base.execute("delete from not_read where key = ?", (key,))
        self._base.executemany(
            "insert into not_read values (?, ?, ?)", [(key, one.file, one.why) for one in not_read]
        )

    def _commit_now_and_then(self) -> None:
        if time.monotonic() - self._committed > COMMIT_EVERY_S:
            self._base.commit()
            self._committed = time.monotonic()
