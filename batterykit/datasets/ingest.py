"""From the record's files to the store: what is new is read, what is known is left alone.

Each experiment has one node per kind of file (summary, sets, cycles, four kinds of curves). A node
is written whole, and only when all its files are good. It remembers the hash of each file: a file
with the hash it had is not read again, a file with another hash replaces its own cell or curve and
nothing else, and what has vanished from the source stays in the store. Both are said and logged.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batterykit.datasets import lgm50t
from batterykit.datasets.lgm50t import SourceFile
from batterykit.errors import InputError, StoreError
from batterykit.progress import Track, no_track
from batterykit.store.fingerprint import hash_bytes, hash_json

# xarray, zarr and Arrow come in with `datasets.assemble`, which is imported where something is
# read: a run that finds nothing new must not wait for them.
if TYPE_CHECKING:
    import xarray as xr

    from batterykit.datasets.parts import Part
    from batterykit.store import Store

# Raised when reading or checking changes what is stored for the same bytes: every file is then
# read again.
READER_VERSION = 1
THREADS = max(2, min(4, os.cpu_count() or 1))  # more of them wait for the interpreter lock
PROGRESS_BYTES = 200_000_000  # known files are hashed at 1 GB/s: less than this needs no bar
AHEAD_BYTES = 500_000_000  # a node with more is not read while the one before is being written
COMMAND = "ingest"
_SHOWN = 5


@dataclass
class NodeReport:
    """What happened to one node.

    Parameters
    ----------
    node
        Its path in the store.
    state
        "written" (new), "updated", "unchanged" or "failed".
    files, read
        Number of files in the source, and of those read (the others were known by their hash).
    new, changed, kept
        Identities (`E5-A`, `E5-A RPT3 0.1C discharge`) that came, that changed, and that are
        in the store but no more in the source.
    flags
        Flag -> identities that have it (with the RPT for summaries).
    """

    node: str
    state: str = "unchanged"
    files: int = 0
    read: int = 0
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    flags: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class ExperimentReport:
    """What happened to one experiment.

    Parameters
    ----------
    experiment, folder
        Which, and where its files are.
    nodes
        One report for each node that has files.
    missing
        Lines that say which files of the record are not there.
    unrecognised
        CSV files whose names fit nothing, relative to the folder.
    """

    experiment: int
    folder: str
    nodes: list[NodeReport] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unrecognised: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What an ingest did.

    Parameters
    ----------
    experiments
        One report each, in order.
    """

    experiments: list[ExperimentReport] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything in the store changed."""
        return any(node.state != "unchanged" for one in self.experiments for node in one.nodes)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return {"changed": self.changed, "experiments": [asdict(one) for one in self.experiments]}


class BadFilesError(InputError):
    """Several bad files, named all at once.

    Parameters
    ----------
    errors
        One error a file, at least one.
    """

    def __init__(self, errors: Sequence[InputError]) -> None:
        self.errors = list(errors)
        first = self.errors[0]
        super().__init__(
            first.problem, fix=first.fix, file=first.file, column=first.column, row=first.row
        )

    def __str__(self) -> str:
        shown = [f"  {error}" for error in self.errors[:20]]
        if len(self.errors) > len(shown):
            shown.append(f"  ... and {len(self.errors) - len(shown)} more")
        return "\n".join([f"{len(self.errors)} files are bad:", *shown])

    def as_dict(self) -> dict[str, Any]:
        """Return the first error's parts, and all of them as a list."""
        return {**super().as_dict(), "errors": [error.as_dict() for error in self.errors]}


@dataclass(frozen=True)
class _Loaded:
    """One file: its hash, and what it holds unless the hash was known already."""

    file: SourceFile
    digest: str
    part: Part | None = None
    error: InputError | None = None


def ingest(
    store: Store,
    source: Path,
    experiments: Iterable[int] | None = None,
    *,
    track: Track = no_track,
) -> Report:
    """Bring the files of the record into the store.

    Parameters
    ----------
    store
        Where they go.
    source
        The record's folder, which holds the experiments' folders, or one of those.
    experiments
        Which experiments, 1 to 5; all that are there when None.
    track
        Shows progress over the files.

    Returns
    -------
    Report
        What was written, updated, left alone, missing and flagged.

    Raises
    ------
    InputError
        The folder or an experiment is not there, or files are bad (several: `BadFilesError`).
        Nodes whose files are all good are written all the same; nothing stored is lost.
    StoreError
        The store cannot be written.
    """
    report, founds = Report(), []
    for experiment, folder in choose(source, experiments).items():
        found = lgm50t.find_files(experiment, folder)
        _check_not_empty(found)
        founds.append(found)
        report.experiments.append(
            ExperimentReport(
                experiment,
                str(folder),
                missing=lgm50t.missing(found),
                unrecognised=[str(path.relative_to(folder)) for path in found.unrecognised],
            )
        )
    _check_source(store, founds)
    errors: list[InputError] = []
    pool = ThreadPoolExecutor(THREADS)
    try:
        for experiment, node, bad in _Run(store, pool, track).nodes(founds):
            next(one for one in report.experiments if one.experiment == experiment).nodes += [node]
            errors += bad
    finally:
        pool.shutdown(cancel_futures=True)
    if errors:
        raise errors[0] if len(errors) == 1 else BadFilesError(errors)
    if not report.changed:
        count = sum(node.files for one in report.experiments for node in one.nodes)
        note = f"nothing changed: {count} files as before, no file read again"
        with contextlib.suppress(StoreError):  # this answer needs no store that can be written
            store.note(COMMAND, note)
    return report


def _check_not_empty(found: lgm50t.Found) -> None:
    if not any(found.files.values()):
        raise InputError(
            f"no file of the record in the folder of experiment {found.experiment}",
            fix="unpack the record's zip file here: it holds 'Summary Data' and "
            "'Processed Timeseries Data'",
            file=found.folder,
        )


def choose(source: Path, experiments: Iterable[int] | None) -> dict[int, Path]:
    """Return the folders of the experiments asked for, in order; of all that are there for None.

    Raises
    ------
    InputError
        The folder or an experiment is not there.
    """
    folders = lgm50t.find_experiments(source)
    if experiments is None:
        return folders
    for number in experiments:
        if number not in folders:
            have = ", ".join(str(one) for one in folders)
            raise InputError(
                f"experiment {number} is not in this folder (it has: {have})",
                fix=f"name the folder that holds 'Expt {number} - ...' with --source, "
                f"or choose --expt {next(iter(folders))}",
                file=source,
            )
    return {number: folders[number] for number in sorted(set(experiments))}


@dataclass
class _Job:
    """A node to be brought up to date; its files are being hashed and read in the background."""

    found: lgm50t.Found
    kind: str
    known: dict[str, str]
    loading: list[Future[_Loaded]]

    @property
    def node(self) -> str:
        return lgm50t.node_of(self.found.experiment, self.kind)

    @property
    def files(self) -> list[SourceFile]:
        return self.found.files[self.kind]

    @property
    def source(self) -> str:
        return lgm50t.source_of(self.found.folder)


class _Run:
    """One ingest: reads the files of the next node while the last one is being written."""

    def __init__(self, store: Store, pool: ThreadPoolExecutor, track: Track) -> None:
        self.store = store
        self.pool = pool
        self.track = track
        self.summaries: dict[int, xr.Dataset] = {}

    def nodes(
        self, founds: Iterable[lgm50t.Found]
    ) -> Iterator[tuple[int, NodeReport, list[InputError]]]:
        """Bring node after node up to date; yield experiment, report and errors of each."""
        todo = [
            (found, kind)
            for found in founds
            for kind, files in found.files.items()
            if files or _attrs(self.store, lgm50t.node_of(found.experiment, kind))
        ]
        sizes = [_size(found.files[kind]) for found, kind in todo]
        job: _Job | None = None
        for index, (found, kind) in enumerate(todo):
            job = job or self._start(found, kind)
            loaded = self._wait(job, quick=bool(job.known) and sizes[index] < PROGRESS_BYTES)
            early = index + 1 < len(todo) and sizes[index + 1] < AHEAD_BYTES
            following = self._start(*todo[index + 1]) if early else None
            yield (found.experiment, *self._finish(job, loaded))
            job = following

    def _start(self, found: lgm50t.Found, kind: str) -> _Job:
        known = _known(_attrs(self.store, lgm50t.node_of(found.experiment, kind)))
        files = found.files[kind]
        loading = [self.pool.submit(_load, file, known.get(file.identity)) for file in files]
        return _Job(found, kind, known, loading)

    def _wait(self, job: _Job, *, quick: bool) -> list[_Loaded]:
        track = no_track if quick else self.track
        description = f"experiment {job.found.experiment}, {job.kind}"
        return [one.result() for one in track(job.loading, description, len(job.loading))]

    def _finish(self, job: _Job, loaded: list[_Loaded]) -> tuple[NodeReport, list[InputError]]:
        """Write the node if anything about it is new and nothing is bad."""
        report = self._unchanged(job, loaded)  # which needs no lock
        if report is not None:
            return report, []
        with self.store.writing():
            attrs = _attrs(self.store, job.node)
            if _known(attrs) != job.known:  # another process wrote the node meanwhile
                loaded = [_load(file, _known(attrs).get(file.identity)) for file in job.files]
            report = _compare(job.node, loaded, _hashes(attrs))
            errors = [one.error for one in loaded if one.error is not None]
            if not errors:
                try:
                    self._write(job, loaded, attrs, report)
                except InputError as error:
                    errors = [error]
            if errors:
                report.state = "failed"
        return report, errors

    def _unchanged(self, job: _Job, loaded: Sequence[_Loaded]) -> NodeReport | None:
        """Return the report of a node about which nothing is new, None for any other."""
        attrs = _attrs(self.store, job.node)
        report = _compare(job.node, loaded, _hashes(attrs))
        same = attrs.get("reference") == self._reference(job) and _known(attrs) == job.known
        if report.read or not same:
            return None
        report.flags = json.loads(attrs["flags"])
        return report

    def _write(
        self, job: _Job, loaded: Sequence[_Loaded], attrs: Mapping[str, Any], report: NodeReport
    ) -> None:
        """Write the node, made of the parts read now and of those stored before."""
        from batterykit.datasets import assemble

        before = _hashes(attrs)
        now = {**before, **{one.file.identity: one.digest for one in loaded}}
        parts = assemble.split(job.kind, self.store.read(job.node)) if before else {}
        parts |= {one.file.identity: one.part for one in loaded if one.part is not None}
        dataset = assemble.join(job.kind, parts.values(), self._capacities(job))
        report.state = "updated" if before else "written"
        report.flags = assemble.flagged(job.kind, dataset)
        dataset.attrs = {
            "title": f"LG M50T experiment {job.found.experiment}: {job.kind}",
            "source": job.source,
            "reader_version": READER_VERSION,
            "reference": self._reference(job),
            "source_hashes": json.dumps(now),
            "flags": json.dumps(report.flags),
        }
        self.store.write(
            job.node,
            dataset,
            command=COMMAND,
            note=_note(report),
            details=_details(report, before, now),
            replace=bool(before),
        )
        if job.kind == "summary":
            self.summaries[job.found.experiment] = dataset

    def _capacities(self, job: _Job) -> Mapping[tuple[str, int], float]:
        """Return the summary's capacities that these curves are compared with."""
        from batterykit.datasets import assemble

        if not self._reference(job):
            return {}
        experiment = job.found.experiment
        if experiment not in self.summaries:
            node = lgm50t.node_of(experiment, "summary")
            self.summaries[experiment] = self.store.read(node)
        return assemble.capacities(job.kind, self.summaries[experiment])

    def _reference(self, job: _Job) -> str:
        """Return a hash of the summaries that these curves are compared with; "" for none."""
        if job.kind not in lgm50t.COMPARED:
            return ""
        hashes = _hashes(_attrs(self.store, lgm50t.node_of(job.found.experiment, "summary")))
        return hash_json(hashes) if hashes else ""


def _load(file: SourceFile, known: str | None) -> _Loaded:
    """Hash a file, and read it unless its hash is known."""
    try:
        data = file.path.read_bytes()
    except OSError as error:
        problem = f"the file cannot be read ({error.strerror})"
        fix = "look at its permissions and at the disk"
        return _Loaded(file, "", error=InputError(problem, fix=fix, file=file.path))
    digest = hash_bytes(data)
    if digest == known:
        return _Loaded(file, digest)
    from batterykit.datasets.assemble import read_part

    try:
        return _Loaded(file, digest, part=read_part(file, data, digest))
    except InputError as error:
        return _Loaded(file, digest, error=error)


def _attrs(store: Store, node: str) -> dict[str, Any]:
    if not store.has(node) and not (store.path / node).exists():
        return {}  # there is no such node yet
    return store.attrs(node)


def _hashes(attrs: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of each file that a node was made of, by identity."""
    hashes: dict[str, str] = json.loads(attrs.get("source_hashes", "{}"))
    return hashes


def _known(attrs: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of the files that need not be read again."""
    return _hashes(attrs) if attrs.get("reader_version") == READER_VERSION else {}


def _size(files: Iterable[SourceFile]) -> int:
    size = 0
    for file in files:
        with contextlib.suppress(OSError):  # whoever reads the file will say why
            size += file.path.stat().st_size
    return size


def _compare(node: str, loaded: Sequence[_Loaded], before: Mapping[str, str]) -> NodeReport:
    found = {one.file.identity: one.digest for one in loaded}
    return NodeReport(
        node,
        files=len(loaded),
        read=sum(one.part is not None or one.error is not None for one in loaded),
        new=[name for name in found if name not in before],
        changed=[name for name, digest in found.items() if before.get(name, digest) != digest],
        kept=sorted(before.keys() - found.keys()),
    )


def _check_source(store: Store, founds: Iterable[lgm50t.Found]) -> None:
    """Refuse to mix measured and synthetic data in one store."""
    held = {
        store.attrs(node).get("source"): f"the store's node '{node}'"
        for node in store.nodes("raw/")
    }
    for found in founds:
        source = lgm50t.source_of(found.folder)
        held.setdefault(source, f"the folder '{found.folder.name}'")
        for other, place in held.items():
            if other not in (source, None):
                raise InputError(
                    f"{place} holds other data ({other}) than this folder ({source})",
                    fix="name another store with --store, so that measured and synthetic data "
                    "stay apart",
                    file=found.folder,
                )


def _details(
    report: NodeReport, before: Mapping[str, str], now: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the log keeps of a write: for a changed file the hash it had before."""
    if not before:
        return {"files": report.files}
    changed = {name: {"was": before[name], "is": now[name]} for name in report.changed}
    return {
        "files": report.files,
        "read": report.read,
        "new": report.new,
        "changed": changed,
        "kept": report.kept,
    }


def _note(report: NodeReport) -> str:
    if report.state == "written":
        return f"{report.files} files read"
    words = (("new", report.new), ("changed", report.changed))
    said = "; ".join(f"{word}: {shortened(names)}" for word, names in words if names)
    if said:
        return said
    return "read again in a new way" if report.read else "compared with the changed summary"


def shortened(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
