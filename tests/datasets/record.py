"""A small record on disk, in the layout and with the headers of the LG M50T record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

EXPT = "Expt 5 - Standard Cycle Aging (Control)"

SUMMARY_HEADER = (
    "Ageing Sets,Ageing Cycles,Age set start date,Age set end date,RPT start date,"
    "Days of degradation,Age set av. temperature [°C],Charge Throughput [A h],"
    "Energy Throughput [W h],C/10 Capacity [mA h],C/2 Capacity [mA h],0.1s Resistance [Ohms],"
    "Cell Capacity [mA h],PE Capacity [mA h],NE Capacity [mA h],NE_Gr Capacity [mA h],"
    "NE_Si Capacity [mA h],Electrode Offset [mA h],SoH,LAM PE,LAM NE_tot,LAM NE_Gr,LAM NE_Si,LLI,"
    "PE_lo,NE_lo,PE_hi,NE_hi,Gr_frac,RMSE of OCV-fitting [V]"
)
CURVE_HEADER = "Time (s),Voltage (V),Current (mA),Charge (mA.h),Temperature (degC)"


def summary_lines(rpts: int = 4, *, capacity: float = 4800.0) -> list[str]:
    """Return the lines of a Performance Summary; capacity at RPT 0 in mA h, 1 % less each RPT."""
    lines = [SUMMARY_HEADER]
    for k in range(rpts):
        now = capacity * (1 - 0.01 * k)
        fade = 0.01 * k
        date = f"2021-{k + 1:02d}-05"
        even = k % 2 == 0
        values = [
            k,
            78 * k,
            f"2021-{k:02d}-08" if k else "",
            f"2021-{k + 1:02d}-01" if k else "",
            date,
            float(30 * k) if k else "",
            12.25 + k if k else "",
            700.5 * k,
            700.5 * k * 3.6,
            now,
            now * 0.985 if even else "",
            0.0261 + 0.001 * k if even else "",
            now,
            5600 * (1 - fade),
            5200 * (1 - fade),
            4400 * (1 - fade),
            800 * (1 - fade),
            640 + 10 * k,
            1 - fade,
            *[fade] * 5,
            0.12 + 0.001 * k,
            0.008,
            0.965 - 0.001 * k,
            0.92,
            0.846,
            0.0062,
        ]
        lines.append(",".join(str(value) for value in values))
    return lines


def curve_lines(
    rows: int = 40, *, capacity: float = 4800.0, direction: str = "discharge"
) -> list[str]:
    """Return the lines of a C/10 curve to the cut-off; capacity in mA h."""
    sign, first, last = (-1, 4.18, 2.4995) if direction == "discharge" else (1, 2.9, 4.2005)
    current = 480.0
    seconds = capacity / current * 3600
    lines = [CURVE_HEADER]
    for i in range(rows):
        x = i / (rows - 1)
        voltage = first + (last - first) * x
        lines.append(
            f"{17000.25 + seconds * x:.4f},{voltage:.6f},{sign * current},{capacity * x:.6f},"
            f"{25 + 0.5 * math.sin(x):.5f}"
        )
    return lines


def write(path: Path, lines: Sequence[str], encoding: str = "utf-8") -> Path:
    """Write a CSV file, making its folders; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def summary_path(root: Path, letter: str = "A") -> Path:
    temperature = 10 if letter in "ABC" else 25 if letter in "DE" else 40
    name = f"Expt 5 - cell {letter} ({temperature}degC) - Processed Data.csv"
    return root / EXPT / "Summary Data" / "Performance Summary" / name


def curve_path(
    root: Path, letter: str = "A", rpt: int = 0, rate: str = "0.1C", direction: str = "discharge"
) -> Path:
    folder = root / EXPT / "Processed Timeseries Data" / f"{rate} Voltage Curves"
    name = f"Expt 5 - cell {letter} - RPT{rpt} - {rate} {direction} data.csv"
    return folder / f"Cell {letter}" / name


def sets_path(root: Path, letter: str = "A") -> Path:
    folder = root / EXPT / "Summary Data" / "Ageing Sets Summary" / "Summary per Set"
    return folder / f"expt 5 - cell {letter} - set_data.csv"


def cycles_path(root: Path, letter: str = "A") -> Path:
    folder = root / EXPT / "Summary Data" / "Ageing Sets Summary" / "Summary per Cycle"
    return folder / f"expt 5 - cell {letter} - cycle_data.csv"


def write_record(root: Path, letters: str = "AB", rpts: int = 4, rows: int = 40) -> Path:
    """Write summaries, ageing-set tables and C/10 discharge curves of Expt 5; return the root."""
    for letter in letters:
        write(summary_path(root, letter), summary_lines(rpts))
        for rpt in range(rpts):
            lines = curve_lines(rows, capacity=4800.0 * (1 - 0.01 * rpt))
            write(curve_path(root, letter, rpt), lines)
        write(
            sets_path(root, letter),
            [",Age Set,Start,Charge Throughput (mA h),Note"]
            + [f"{k},{k + 1},2021-{k + 1:02d}-08,{700500.0 * (k + 1)},ok" for k in range(rpts - 1)],
        )
        write(
            cycles_path(root, letter),
            ["Cycle,Discharge Capacity [mA h],End"]
            + [f"{k},{4700 - k},2021-01-08 {k // 6:02d}:{k % 6}0:00" for k in range(20)],
        )
    return root
