"""From the record's files to the store: what is new is read, what is known is left alone.

Each experiment has one node per kind of file (summary, sets, cycles, four kinds of curves). A node
is written whole, and only when all its files are good. It remembers the hash of each file: a file
with the hash it had is not read again, a file with another hash replaces its own cell or curve and
nothing else, and what has vanished from the source stays in the store. Both are said and logged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batterykit.datasets import lgm50t
from batterykit.datasets.lgm50t import SourceFile
from batterykit.errors import InputError
from batterykit.progress import Track, no_track
from batterykit.store.fingerprint import hash_arrays, hash_bytes, hash_json

# Nothing here imports numpy's heavier friends at the top: a run that finds nothing new must not
# pay for xarray, zarr and Arrow.
if TYPE_CHECKING:
    import xarray as xr

    from batterykit.datasets.parts import Part
    from batterykit.datasets.reader import Table
    from batterykit.store import Store

# Raised when reading or checking changes what is stored for the same bytes: every file is then
# read again.
READER_VERSION = 1
THREADS = 2
PROGRESS_BYTES = 200_000_000  # known files are hashed at 1 GB/s: less than this needs no bar
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
    report = Report()
    errors: list[InputError] = []
    for experiment, folder in _chosen(source, experiments).items():
        found = lgm50t.find_files(experiment, folder)
        if not any(found.files.values()):
            raise InputError(
                f"no file of the record in the folder of experiment {experiment}",
                fix="unpack the record's zip file here: it holds 'Summary Data' and "
                "'Processed Timeseries Data'",
                file=folder,
            )
        one = ExperimentReport(
            experiment,
            str(folder),
            missing=lgm50t.missing(found),
            unrecognised=[str(path.relative_to(folder)) for path in found.unrecognised],
        )
        report.experiments.append(one)
        for kind, files in found.files.items():
            if files:
                node, bad = _ingest_node(store, found, kind, track)
                one.nodes.append(node)
                errors += bad
    if errors:
        raise errors[0] if len(errors) == 1 else BadFilesError(errors)
    if not report.changed:
        count = sum(node.files for one in report.experiments for node in one.nodes)
        store.note(COMMAND, f"nothing changed: {count} files as before, no file read again")
    return report


def _chosen(source: Path, experiments: Iterable[int] | None) -> dict[int, Path]:
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


def _ingest_node(
    store: Store, found: lgm50t.Found, kind: str, track: Track
) -> tuple[NodeReport, list[InputError]]:
    experiment, files = found.experiment, found.files[kind]
    node, source = lgm50t.node_of(experiment, kind), lgm50t.source_of(found.folder)
    report = NodeReport(node, files=len(files))
    with store.writing():
        attrs = store.attrs(node) if store.has(node) else {}
        _check_source(store, node, attrs.get("source", source), source)
        known: dict[str, str] = json.loads(attrs.get("source_hashes", "{}"))
        reference = _reference(store, experiment, kind)
        trusted = known if attrs.get("reader_version") == READER_VERSION else {}
        loaded = _load(files, trusted, f"experiment {experiment}, {kind}", track)
        report.read = sum(one.part is not None or one.error is not None for one in loaded)
        report.new = [one.file.identity for one in loaded if one.file.identity not in known]
        report.changed = [
            one.file.identity
            for one in loaded
            if known.get(one.file.identity, one.digest) != one.digest
        ]
        report.kept = sorted(known.keys() - {file.identity for file in files})
        errors = [one.error for one in loaded if one.error is not None]
        if errors:
            report.state = "failed"
            return report, errors
        if not report.read and attrs.get("reference", "") == reference:
            report.flags = json.loads(attrs.get("flags", "{}"))
            return report, []
        try:
            dataset, report.flags = _assemble(store, experiment, kind, loaded, bool(known))
        except InputError as error:
            report.state = "failed"
            return report, [error]
        hashes = {**known, **{one.file.identity: one.digest for one in loaded}}
        dataset.attrs = {
            "title": f"LG M50T experiment {experiment}: {kind}",
            "source": source,
            "reader_version": READER_VERSION,
            "reference": reference,
            "source_hashes": json.dumps(hashes),
            "flags": json.dumps(report.flags),
        }
        report.state = "updated" if known else "written"
        details = _details(report, known, hashes)
        note = _note(report)
        store.write(node, dataset, command=COMMAND, note=note, details=details, replace=bool(known))
    return report, []


def _check_source(store: Store, node: str, stored: str, source: str) -> None:
    """Refuse to mix measured and synthetic data in one node."""
    if stored != source:
        raise InputError(
            f"node '{node}' of the store holds other data ({stored}) than the folder ({source})",
            fix="name another store with --store, so that measured and synthetic data stay apart",
            file=store.path,
        )


def _load(
    files: Sequence[SourceFile], known: Mapping[str, str], description: str, track: Track
) -> list[_Loaded]:
    """Hash every file, and read those whose hash is not known."""
    size = sum(file.path.stat().st_size for file in files)
    if known and size < PROGRESS_BYTES:
        track = no_track
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(lambda file: _load_one(file, known.get(file.identity)), files)
        return list(track(results, description, len(files)))


def _load_one(file: SourceFile, known: str | None) -> _Loaded:
    try:
        data = file.path.read_bytes()
    except OSError as error:
        return _Loaded(
            file,
            "",
            error=InputError(
                f"the file cannot be read ({error.strerror})",
                fix="look at its permissions and at the disk",
                file=file.path,
            ),
        )
    digest = hash_bytes(data)
    if digest == known:
        return _Loaded(file, digest)
    try:
        return _Loaded(file, digest, part=_read(file, data, digest))
    except InputError as error:
        return _Loaded(file, digest, error=error)


def _read(file: SourceFile, data: bytes, digest: str) -> Part:
    """Read and check one file."""
    from batterykit.datasets import checks, reader
    from batterykit.datasets.parts import Part

    scalars: dict[str, Any] = {"cell": file.cell}
    if file.kind == "summary":
        table = reader.read_summary(file.path, data)
        flags = checks.check_summary(table)
        scalars |= {
            "experiment": file.experiment,
            "letter": file.letter,
            "temperature_chamber": file.temperature,
            "n_rpt": len(flags),
        }
        scalars |= {"source_file": file.path.name, "content_hash": _content_hash(table)}
        table.columns["quality_flag"] = flags
        table.attrs["quality_flag"] = checks.flag_attrs(checks.SUMMARY_FLAGS)  # type: ignore[assignment]
    elif file.kind in lgm50t.CURVE_KINDS:
        table = reader.read_curve(file.path, data)
        steady = file.kind in ("0.1C", "0.5C")
        scalars |= {"rpt": file.rpt, "direction": file.direction, "protocol": file.protocol}
        scalars |= {"source_file": file.path.name, "source_hash": digest}
        scalars["content_hash"] = _content_hash(table)
        scalars["quality_flag"] = checks.check_curve(table, file.direction, constant_current=steady)
    else:
        table = reader.read_table(file.path, data)
        scalars |= {"source_file": file.path.name, "content_hash": _content_hash(table)}
    return Part(scalars, table.columns, table.attrs)


def _content_hash(table: Table) -> str:
    names = hash_json([[name, table.attrs[name].get("units")] for name in table.columns])
    return hash_bytes((names + hash_arrays(*table.columns.values())).encode())


def _assemble(
    store: Store, experiment: int, kind: str, loaded: Sequence[_Loaded], known: bool
) -> tuple[xr.Dataset, dict[str, list[str]]]:
    """Return the node's new dataset, made of the parts read now and those stored before."""
    from batterykit.datasets import parts as parts_

    node = lgm50t.node_of(experiment, kind)
    dims = ("curve", "sample") if kind in lgm50t.CURVE_KINDS else ("cell", "row")
    parts: dict[str, Part] = {}
    if known:
        dataset = store.read(node)
        stored = (
            list(parts_.split_padded(dataset).values())
            if kind == "summary"
            else parts_.split_ragged(dataset, dims)
        )
        parts = {_identity(part): part for part in stored}
    parts |= {one.file.identity: one.part for one in loaded if one.part is not None}
    if kind == "summary":
        ordered = sorted(parts.values(), key=lambda part: str(part.scalars["cell"]))
        return parts_.join_padded(ordered, _SCALAR_ATTRS), _summary_flags(ordered)
    if kind in lgm50t.CURVE_KINDS:
        ordered = _compared_with_summary(store, experiment, kind, parts.values())
        return _curves(ordered), _curve_flags(ordered)
    ordered = sorted(parts.values(), key=lambda part: str(part.scalars["cell"]))
    return parts_.join_ragged(ordered, dims, _SCALAR_ATTRS), {}


def _curves(parts: Sequence[Part]) -> xr.Dataset:
    from batterykit.datasets import checks
    from batterykit.datasets.parts import join_ragged

    attrs = {**_SCALAR_ATTRS, "quality_flag": checks.flag_attrs(checks.CURVE_FLAGS)}
    return join_ragged(parts, ("curve", "sample"), attrs).reset_coords("quality_flag")


def _compared_with_summary(
    store: Store, experiment: int, kind: str, parts: Iterable[Part]
) -> list[Part]:
    """Return the curves in order, their flags set by comparison with the summary's capacities."""
    from batterykit.datasets import checks

    capacities = _capacities(store, experiment, kind)
    result = []
    for part in parts:
        cell, rpt, direction = (part.scalars[name] for name in ("cell", "rpt", "direction"))
        charge = part.columns["charge"]
        summary = capacities.get((cell, rpt), float("nan"))
        flags = part.scalars["quality_flag"] & ~checks.CAPACITY_DIFFERS
        if direction == "discharge" and checks.capacity_differs(charge[-1] - charge[0], summary):
            flags |= checks.CAPACITY_DIFFERS
        result.append(replace(part, scalars={**part.scalars, "quality_flag": flags}))
    return sorted(result, key=_curve_order)


def _curve_order(part: Part) -> tuple[Any, ...]:
    return tuple(part.scalars[name] for name in ("cell", "rpt", "protocol", "direction"))


def _capacities(store: Store, experiment: int, kind: str) -> dict[tuple[str, int], float]:
    """Return the summary's capacity [Ah] of each (cell, RPT) at the rate of these curves."""
    variable = _COMPARED.get(kind)
    node = lgm50t.node_of(experiment, "summary")
    if variable is None or not store.has(node):
        return {}
    summary = store.read(node)
    return {
        (str(cell), int(rpt)): float(value)
        for cell, row in zip(summary["cell"].values, summary[variable].values, strict=True)
        for rpt, value in zip(summary["rpt"].values, row, strict=True)
    }


def _reference(store: Store, experiment: int, kind: str) -> str:
    """Return a hash of the summaries that these curves are compared with; "" for none."""
    node = lgm50t.node_of(experiment, "summary")
    if kind not in _COMPARED or not store.has(node):
        return ""
    return hash_json(store.attrs(node).get("source_hashes", ""))


def _identity(part: Part) -> str:
    scalars = part.scalars
    if "protocol" not in scalars:
        return str(scalars["cell"])
    return "{cell} RPT{rpt} {protocol} {direction}".format(**scalars)


def _summary_flags(parts: Sequence[Part]) -> dict[str, list[str]]:
    from batterykit.datasets import checks

    found: dict[str, list[str]] = {}
    for part in parts:
        for rpt, value in enumerate(part.columns["quality_flag"].tolist()):
            for name in checks.names_of(checks.SUMMARY_FLAGS, value):
                found.setdefault(name, []).append(f"{part.scalars['cell']} RPT{rpt}")
    return found


def _curve_flags(parts: Sequence[Part]) -> dict[str, list[str]]:
    from batterykit.datasets import checks

    found: dict[str, list[str]] = {}
    for part in parts:
        for name in checks.names_of(checks.CURVE_FLAGS, part.scalars["quality_flag"]):
            found.setdefault(name, []).append(_identity(part))
    return found


def _details(
    report: NodeReport, known: Mapping[str, str], hashes: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the log keeps of a write: for a changed file the hash it had before."""
    if not known:
        return {"files": report.files}
    changed = {name: {"was": known[name], "is": hashes[name]} for name in report.changed}
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
    parts = [
        f"{word} {shortened(names)}"
        for word, names in (("new", report.new), ("changed", report.changed))
        if names
    ]
    return "; ".join(parts) or "compared with the changed summary, no file read again"


def shortened(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


_COMPARED = {"0.1C": "capacity_c10", "0.5C": "capacity_c2"}
_SCALAR_ATTRS: dict[str, dict[str, Any]] = {
    "cell": {"long_name": "cell, by experiment and letter"},
    "experiment": {"long_name": "experiment of the record (2 is the record's '2,2')"},
    "letter": {"long_name": "the cell's letter within its experiment"},
    "temperature_chamber": {"units": "degC", "long_name": "temperature of the chamber"},
    "n_rpt": {"long_name": "number of check-ups of the cell"},
    "rpt": {"long_name": "check-up (reference performance test)"},
    "direction": {"long_name": "discharge or charge"},
    "protocol": {"long_name": "test protocol, as in the file's name"},
    "source_file": {"long_name": "name of the file read"},
    "source_hash": {"long_name": "hash of the file's bytes"},
    "content_hash": {"long_name": "hash of the values and units"},
}
