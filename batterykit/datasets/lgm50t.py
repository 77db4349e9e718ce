"""The LG M50T ageing record (Zenodo 10637534): folders, file names, columns, cells.

Finds files and says which are missing; reads none of them. Discovery is tolerant: letter case,
`2,2`, a folder unpacked twice and copies of files are all met in practice. What a file holds is
`datasets.reader`'s business.

Source: Kirkaldy et al., J. Power Sources 603 (2024) 234185, doi 10.1016/j.jpowsour.2024.234185;
data doi 10.5281/zenodo.10637534, CC BY 4.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batterykit.errors import InputError

MARKER = "TWIN.json"  # lies in every folder that the twin wrote: the root, each experiment
SOURCE_OF_TWIN = "synthetic: made by batterykit's twin, nothing measured"
SOURCE = "LG M50T ageing record, Kirkaldy et al. 2024, doi:10.5281/zenodo.10637534 (CC BY 4.0)"
CUTOFF_DISCHARGE_V = 2.5  # LG M50T data sheet
CUTOFF_CHARGE_V = 4.2  # LG M50T data sheet
CURVE_KINDS = ("0.1C", "0.5C", "GITT", "hybrid")
COMPARED = {"0.1C": "capacity_c10", "0.5C": "capacity_c2"}  # curves -> the summary's capacity
KINDS = ("summary", "sets", "cycles", *CURVE_KINDS)


@dataclass(frozen=True)
class Column:
    """A column that a file of the record must have.

    Parameters
    ----------
    header
        As the record writes it, unit included.
    name, unit, long_name
        In the store.
    low, high
        Values outside, in the store's unit, cannot be right: most likely the unit is another.
    empty
        Where it may be empty: "never", "first" (RPT 0), "odd" (odd RPTs; flagged on even ones),
        "dates" (RPT 0; flagged elsewhere).
    date
        Whether it holds dates instead of numbers.
    """

    header: str
    name: str
    unit: str
    long_name: str
    low: float = float("-inf")
    high: float = float("inf")
    empty: str = "never"
    date: bool = False


_CAPACITY = (0.5, 20.0)  # Ah; the fresh cell has 4.9, its fitted electrodes 4.5 to 5.8
_FRACTION = (-0.5, 1.2)

SUMMARY_COLUMNS = (
    Column("Ageing Sets", "ageing_sets", "1", "number of ageing sets so far", 0, 1000),
    Column("Ageing Cycles", "ageing_cycles", "1", "number of ageing cycles so far", 0, 1e6),
    Column(
        "Age set start date", "age_set_start_date", "", "start of the ageing set before this RPT",
        empty="dates", date=True,
    ),
    Column(
        "Age set end date", "age_set_end_date", "", "end of the ageing set before this RPT",
        empty="dates", date=True,
    ),
    Column("RPT start date", "rpt_start_date", "", "start of this RPT", empty="dates", date=True),
    Column(
        "Days of degradation", "days_of_degradation", "d", "days of ageing so far",
        0, 1e5, empty="first",
    ),
    Column(
        "Age set av. temperature [\N{DEGREE SIGN}C]", "age_set_temperature", "degC",
        "mean temperature of the cell during the ageing set before this RPT",
        -40, 150, empty="dates",
    ),
    Column(
        "Charge Throughput [A h]", "charge_throughput", "Ah", "charge throughput so far", 0, 1e5
    ),
    Column(
        "Energy Throughput [W h]", "energy_throughput", "Wh", "energy throughput so far", 0, 4e5
    ),
    Column(
        "C/10 Capacity [mA h]", "capacity_c10", "Ah", "discharge capacity at C/10", *_CAPACITY
    ),
    Column(
        "C/2 Capacity [mA h]", "capacity_c2", "Ah", "discharge capacity at C/2",
        *_CAPACITY, empty="odd",
    ),
    Column(
        "0.1s Resistance [Ohms]", "resistance_0p1s", "Ohm", "resistance after 0.1 s of a pulse",
        0.002, 1.0, empty="odd",
    ),
    Column(
        "Cell Capacity [mA h]", "cell_capacity", "Ah", "cell capacity by OCV fitting", *_CAPACITY
    ),
    Column(
        "PE Capacity [mA h]", "pe_capacity", "Ah", "positive electrode capacity by OCV fitting",
        *_CAPACITY,
    ),
    Column(
        "NE Capacity [mA h]", "ne_capacity", "Ah", "negative electrode capacity by OCV fitting",
        *_CAPACITY,
    ),
    Column(
        "NE_Gr Capacity [mA h]", "ne_gr_capacity", "Ah",
        "graphite part of the negative electrode's capacity by OCV fitting", *_CAPACITY,
    ),
    Column(
        "NE_Si Capacity [mA h]", "ne_si_capacity", "Ah",
        "silicon part of the negative electrode's capacity by OCV fitting", 0.01, 20.0,
    ),
    Column(
        "Electrode Offset [mA h]", "electrode_offset", "Ah",
        "PE_lo times PE capacity less NE_lo times NE capacity", 0.01, 20.0,
    ),
    Column("SoH", "soh", "1", "state of health: fitted cell capacity over that at RPT 0", 0.1, 1.5),
    Column("LAM PE", "lam_pe", "1", "loss of active material, positive electrode", *_FRACTION),
    Column("LAM NE_tot", "lam_ne", "1", "loss of active material, negative electrode", *_FRACTION),
    Column("LAM NE_Gr", "lam_ne_gr", "1", "loss of active material, graphite", *_FRACTION),
    Column("LAM NE_Si", "lam_ne_si", "1", "loss of active material, silicon", *_FRACTION),
    Column("LLI", "lli", "1", "loss of lithium inventory", *_FRACTION),
    Column("PE_lo", "pe_lo", "1", "delithiated fraction of the PE, cell discharged", *_FRACTION),
    Column("NE_lo", "ne_lo", "1", "lithiated fraction of the NE, cell discharged", *_FRACTION),
    Column("PE_hi", "pe_hi", "1", "delithiated fraction of the PE, cell charged", *_FRACTION),
    Column("NE_hi", "ne_hi", "1", "lithiated fraction of the NE, cell charged", *_FRACTION),
    Column("Gr_frac", "gr_frac", "1", "graphite's share of the NE capacity", *_FRACTION),
    Column(
        "RMSE of OCV-fitting [V]", "ocv_fit_rmse", "V", "root-mean-square error of the OCV fit",
        0, 0.5,
    ),
)  # fmt: skip

CURVE_COLUMNS = (
    Column("Time (s)", "time", "s", "time since the start of the cycler's file"),
    Column("Voltage (V)", "voltage", "V", "terminal voltage", 0.5, 6.0),
    Column("Current (mA)", "current", "A", "current, negative on discharge", -50.0, 50.0),
    Column("Charge (mA.h)", "charge", "Ah", "charge passed since the start", -50.0, 50.0),
    Column("Temperature (degC)", "temperature", "degC", "cell temperature", -60.0, 150.0),
)

# Source: the record's summary files; (cells, chamber temperature [degC]) and RPTs per cell.
_CELLS: dict[int, tuple[tuple[str, float], ...]] = {
    1: (("ABJ", 10.0), ("DEF", 25.0), ("KLM", 40.0)),
    2: (("AB", 10.0), ("CD", 25.0), ("EF", 40.0)),
    3: (("ABC", 10.0), ("DEF", 25.0), ("GHI", 40.0)),
    4: (("ABC", 10.0), ("DE", 25.0), ("FGH", 40.0)),
    5: (("ABC", 10.0), ("DE", 25.0), ("FGH", 40.0)),
}
_RPTS: dict[int, dict[str, int]] = {
    1: {"ABEF": 15, "D": 14, "JKLM": 11},
    2: {"ABCDEF": 13},
    3: {"ABC": 11, "DEFG": 12, "HI": 13},
    4: {"ABCDEFGH": 10},
    5: {"ABCDEFGH": 16},
}
EXPERIMENTS = tuple(_CELLS)
CHAMBER_DEGC = {
    f"E{number}-{letter}": temperature
    for number, groups in _CELLS.items()
    for letters, temperature in groups
    for letter in letters
}
N_RPT = {
    f"E{number}-{letter}": count
    for number, groups in _RPTS.items()
    for letters, count in groups.items()
    for letter in letters
}
# (kind, protocol, first RPT that has it, step): one file each, discharge
_PROTOCOLS = (
    ("0.1C", "0.1C", 0, 1),
    ("0.5C", "0.5C", 0, 2),
    ("GITT", "25-pulse GITT 0.5C", 0, 2),
    ("GITT", "5-pulse GITT 0.5C", 0, 2),
    ("hybrid", "Hybrid CC-Pulse 0.5C", 1, 2),
    ("hybrid", "Hybrid CC-Pulse 1C", 1, 2),
)

_AS_IN_RECORD = {protocol.lower(): protocol for _, protocol, _, _ in _PROTOCOLS}
_FOLDERS = {
    "summary": ("Summary Data", "Performance Summary"),
    "sets": ("Summary Data", "Ageing Sets Summary", "Summary per Set"),
    "cycles": ("Summary Data", "Ageing Sets Summary", "Summary per Cycle"),
    "0.1C": ("Processed Timeseries Data", "0.1C Voltage Curves"),
    "0.5C": ("Processed Timeseries Data", "0.5C Voltage Curves"),
    "GITT": ("Processed Timeseries Data", "GITT Voltage Curves"),
    "hybrid": ("Processed Timeseries Data", "Hybrid CC-Pulse Voltage Curves"),
}
_EXPERIMENT = re.compile(r"^expt\s*(?P<number>[1-5])(?:,\d+)?(?=\W|$)", re.IGNORECASE)
_CELL_FOLDER = re.compile(r"^cell\s+(?P<letter>[a-z])$", re.IGNORECASE)
_START = r"^expt\s*(?P<number>\d+)(?:,\d+)?\s*-\s*cell\s+(?P<letter>[a-z])\s*"
_TEMPERATURE = r"\((?P<temperature>-?\d+(?:\.\d+)?)\s*degC\)"
_CURVE = r"-\s*RPT\s*(?P<rpt>\d+)\s*-\s*(?P<protocol>.*?)\s*(?P<direction>discharge|charge)\s+data"
_NAMES = {
    "summary": re.compile(_START + _TEMPERATURE + r"\s*-\s*Processed Data.*\.csv$", re.IGNORECASE),
    "sets": re.compile(_START + r"-\s*set_data.*\.csv$", re.IGNORECASE),
    "cycles": re.compile(_START + r"-\s*cycle_data.*\.csv$", re.IGNORECASE),
} | dict.fromkeys(CURVE_KINDS, re.compile(_START + _CURVE + r".*\.csv$", re.IGNORECASE))
_KIND_OF_PROTOCOL = {
    "0.1C": re.compile(r"0\.1C", re.IGNORECASE),
    "0.5C": re.compile(r"0\.5C", re.IGNORECASE),
    "GITT": re.compile(r".*\bGITT\b.*", re.IGNORECASE),
    "hybrid": re.compile(r"Hybrid\b.*", re.IGNORECASE),
}


@dataclass(frozen=True)
class SourceFile:
    """One file of the record, by what its name says.

    Parameters
    ----------
    path
        Where it is.
    experiment, letter, kind
        Which experiment (1 to 5), cell and kind (one of `KINDS`) it belongs to.
    temperature
        Of the chamber [degC]; summaries only.
    rpt, protocol, direction
        Curves only.
    """

    path: Path
    experiment: int
    letter: str
    kind: str
    temperature: float = float("nan")
    rpt: int = -1
    protocol: str = ""
    direction: str = ""

    @property
    def cell(self) -> str:
        """The cell's name in the store, e.g. `E5-A`."""
        return f"E{self.experiment}-{self.letter}"

    @property
    def identity(self) -> str:
        """What the file describes, unique within its kind: `E5-A`, `E5-A RPT3 0.1C discharge`."""
        if not self.protocol:
            return self.cell
        return f"{self.cell} RPT{self.rpt} {self.protocol} {self.direction}"

    @property
    def order(self) -> tuple[str, int, str, str]:
        """Sort key: cell, RPT, protocol, direction."""
        return self.letter, self.rpt, self.protocol, self.direction


@dataclass(frozen=True)
class Found:
    """The files of one experiment.

    Parameters
    ----------
    experiment, folder
        Which experiment, and its folder.
    files
        Per kind, in the order of `SourceFile.order`.
    unrecognised
        CSV files whose names fit nothing.
    """

    experiment: int
    folder: Path
    files: dict[str, list[SourceFile]] = field(default_factory=dict)
    unrecognised: list[Path] = field(default_factory=list)


def node_of(experiment: int, kind: str) -> str:
    """Return the store's node for one kind of file, e.g. `raw/expt5/curves/0.1C`."""
    return f"raw/expt{experiment}/{'curves/' if kind in CURVE_KINDS else ''}{kind}"


def find_experiments(source: Path) -> dict[int, Path]:
    """Return the experiments' folders in the record's root, or in one experiment's own folder.

    Raises
    ------
    InputError
        The folder is missing or no folder, holds no experiment, or holds one twice.
    """
    if not source.is_dir():
        raise InputError(
            "there is no such folder" if not source.exists() else "this is not a folder",
            fix="name the record's folder with --source (it holds folders 'Expt 5 - ...'), "
            "or make synthetic data with `batterykit twin --out DIR`",
            file=source,
        )
    names = (source.absolute().name, source.resolve().name)  # one may be a link's, or "."'s
    own = next(filter(None, map(_EXPERIMENT.match, names)), None)
    if own and any(_child(source, parts[0]) for parts in _FOLDERS.values()):
        return {int(own["number"]): source}
    found: dict[int, Path] = {}
    for folder in sorted(path for path in _entries(source) if path.is_dir()):
        match = _EXPERIMENT.match(folder.name)
        if match is None:
            continue
        number = int(match["number"])
        if number in found:
            raise InputError(
                f"two folders for experiment {number}: '{found[number].name}' and '{folder.name}'",
                fix="keep one of them here, or name one of them with --source",
                file=source,
            )
        found[number] = _unpacked_twice(folder)
    if not found:
        raise InputError(
            "no experiment in this folder",
            fix="name the folder that holds 'Expt 5 - Standard Cycle Aging (Control)' and the "
            "like with --source, or one of those folders itself",
            file=source,
        )
    return found


def source_of(folder: Path) -> str:
    """Return where the data of an experiment's folder comes from: the record, or the twin."""
    return SOURCE_OF_TWIN if (folder / MARKER).exists() else SOURCE


def find_files(experiment: int, folder: Path) -> Found:
    """Return the files of an experiment's folder, sorted by kind, cell, RPT and protocol.

    Raises
    ------
    InputError
        Two files describe the same thing, a file lies in another experiment's or another cell's
        folder, or its name gives the cell another temperature than the record's.
    """
    found = Found(experiment, folder)
    for kind, parts in _FOLDERS.items():
        files = []
        for path in _csv_files(_descend(folder, parts)):
            file = _recognise(path, kind)
            if file is None:
                found.unrecognised.append(path)
            else:
                _check_place(file, experiment)
                files.append(file)
        files.sort(key=lambda file: (file.order, file.path.name))
        _check_unique(files)
        found.files[kind] = files
    return found


def missing(found: Found) -> list[str]:
    """Return which files of the record are not there: a line each for what is there in part."""
    lines: list[str] = []
    nothing: list[str] = []
    cells = [cell for cell in N_RPT if cell.startswith(f"E{found.experiment}-")]
    for kind in ("summary", "sets", "cycles"):
        have = {file.cell for file in found.files[kind]}
        without = [cell for cell in cells if cell not in have]
        if len(without) == len(cells):
            nothing.append(f"{kind} ({len(cells)})")
        elif without:
            lines.append(_shortage(kind, without, len(without), len(cells)))
    for kind, protocol, first, step in _PROTOCOLS:
        measured = {
            (file.cell, file.rpt)
            for file in found.files[kind]
            if file.protocol.lower() == protocol.lower() and file.direction == "discharge"
        }
        wanted = [(cell, rpt) for cell in cells for rpt in range(first, N_RPT[cell], step)]
        absent = [item for item in wanted if item not in measured]
        if len(absent) == len(wanted):
            nothing.append(f"{protocol} discharge curves ({len(wanted)})")
        elif absent:
            texts = [_absent_rpts(cell, wanted, absent) for cell in cells]
            what = f"{protocol} discharge curves"
            lines.append(_shortage(what, list(filter(None, texts)), len(absent), len(wanted)))
    return lines + ([f"not there at all: {', '.join(nothing)}"] if nothing else [])


def _shortage(what: str, texts: Sequence[str], count: int, wanted: int) -> str:
    return f"{what}: {count} of {wanted} missing: {', '.join(texts)}"


def _absent_rpts(
    cell: str, wanted: Sequence[tuple[str, int]], absent: Sequence[tuple[str, int]]
) -> str:
    rpts = [rpt for one, rpt in absent if one == cell]
    if not rpts:
        return ""
    if len(rpts) == sum(one == cell for one, _ in wanted):
        return f"{cell} (all)"
    return f"{cell} RPT {_ranges(rpts)}"


def _ranges(numbers: Iterable[int]) -> str:
    """Return e.g. "0-3, 5" for 0, 1, 2, 3, 5."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][1] + 1:
            groups[-1][1] = number
        else:
            groups.append([number, number])
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in groups)


def _recognise(path: Path, kind: str) -> SourceFile | None:
    match = _NAMES[kind].match(path.name)
    if match is None:
        return None
    parts = match.groupdict()
    protocol = parts.get("protocol") or ""
    protocol = _AS_IN_RECORD.get(protocol.lower(), protocol)
    if kind in CURVE_KINDS and not _KIND_OF_PROTOCOL[kind].fullmatch(protocol):
        return None
    return SourceFile(
        path=path,
        experiment=int(parts["number"]),
        letter=parts["letter"].upper(),
        kind=kind,
        temperature=float(parts.get("temperature") or "nan"),
        rpt=int(parts.get("rpt") or -1),
        protocol=protocol,
        direction=(parts.get("direction") or "").lower(),
    )


def _check_place(file: SourceFile, experiment: int) -> None:
    if file.experiment != experiment:
        raise InputError(
            f"a file of experiment {file.experiment} in the folder of experiment {experiment}",
            fix="move it to its own experiment's folder, or rename it if its name is wrong",
            file=file.path,
        )
    chamber = CHAMBER_DEGC.get(file.cell, file.temperature)
    if file.kind == "summary" and file.temperature != chamber:
        raise InputError(
            f"the name says {file.temperature:g} degC, but cell {file.letter} of experiment "
            f"{experiment} was aged at {chamber:g} degC",
            fix="rename the file, or download it again",
            file=file.path,
        )
    folder = _CELL_FOLDER.match(file.path.parent.name)
    if folder and folder["letter"].upper() != file.letter:
        raise InputError(
            f"a file of cell {file.letter} in the folder '{file.path.parent.name}'",
            fix="move it to its own cell's folder, or rename it if its name is wrong",
            file=file.path,
        )


def _check_unique(files: Sequence[SourceFile]) -> None:
    seen: dict[str, SourceFile] = {}
    for file in files:
        twin = seen.setdefault(file.identity.lower(), file)
        if twin is not file:
            raise InputError(
                f"two files for {file.identity}: this one and '{twin.path.name}' "
                f"in '{twin.path.parent.name}'",
                fix="keep the right one and move the other out of the folder",
                file=file.path,
            )


def _unpacked_twice(folder: Path) -> Path:
    """Return the folder of the same experiment inside `folder`, if that is where the data is."""
    if any(_child(folder, parts[0]) for parts in _FOLDERS.values()):
        return folder
    inner = [path for path in _entries(folder) if path.is_dir() and _EXPERIMENT.match(path.name)]
    return inner[0] if len(inner) == 1 else folder


def _descend(folder: Path, parts: Sequence[str]) -> Path | None:
    here: Path | None = folder
    for part in parts:
        here = _child(here, part) if here else None
    return here


def _child(folder: Path, name: str) -> Path | None:
    """Return the entry of this name in a folder, letter case aside."""
    exact = folder / name
    if exact.exists():
        return exact
    return next((path for path in _entries(folder) if path.name.lower() == name.lower()), None)


def _csv_files(folder: Path | None) -> Iterator[Path]:
    for path in _entries(folder) if folder and folder.is_dir() else []:
        if path.suffix.lower() == ".csv":
            yield path
        elif path.is_dir():
            yield from _csv_files(path)


def _entries(folder: Path) -> list[Path]:
    """Return a folder's entries but hidden ones (macOS leaves `._name.csv` beside its files)."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"the folder cannot be read ({error.strerror})",
            fix="look at its permissions, or name another folder with --source",
            file=folder,
        ) from error
