"""The table as text for the terminal and as docs/gas.md."""

from support.bench import ROOT, Measured, code_size

from gas.table import BY_NAME, CONTRACTS, OPERATIONS

CODE_LIMIT = 24_576


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _ratio(gas: int, peer: int | None) -> str:
    return "–" if peer is None else f"{gas / peer:.2f}"


def _verdict(gas: int, bar: int | None) -> str:
    if bar is None:
        return ""
    return "ok" if gas <= bar else f"over by {gas - bar:,}"


def as_text(measured: Measured) -> str:
    lines = [f"{'operation':28}{'gas':>10}{'bar':>10}{'peer':>11}{'ratio':>7}"]
    for name, gas in measured.items():
        row = BY_NAME.get(name)
        bar, peer = (row.bar, row.peer) if row else (None, None)
        line = f"{name:28}{gas:>10,}{_number(bar):>10}{_number(peer):>11}{_ratio(gas, peer):>7}"
        lines.append(f"{line}  {_verdict(gas, bar)}".rstrip())
    return "\n".join(lines)


def _rows(measured: Measured) -> list[str]:
    rows = ["| operation | what | gas | bar | best peer | ratio |", "|---|---|---:|---:|---:|---:|"]
    for row in OPERATIONS:
        if row.name in measured:
            gas = measured[row.name]
            peer = f"{_number(row.peer)} {row.peer_name}".strip()
            rows.append(
                f"| `{row.name}` | {row.what} | **{gas:,}** | {_number(row.bar)} | {peer} "
                f"| {_ratio(gas, row.peer)} |"
            )
    return rows


def _further(measured: Measured) -> list[str]:
    known = {row.name for row in OPERATIONS}
    rows = ["| operation | gas |", "|---|---:|"]
    return rows + [f"| `{name}` | {gas:,} |" for name, gas in measured.items() if name not in known]


def _sizes() -> list[str]:
    rows = ["| contract | bytes of code | of the limit |", "|---|---:|---:|"]
    sizes = [(name, code_size(name)) for name in CONTRACTS]
    return rows + [f"| {name} | {size:,} | {size / CODE_LIMIT:.0%} |" for name, size in sizes]


def as_page(measured: Measured) -> str:
    """docs/gas.md: the words stand in gas.template.md beside this file."""
    template = (ROOT / "tests" / "contracts" / "gas" / "gas.template.md").read_text()
    parts = {
        "table": "\n".join(_rows(measured)),
        "further": "\n".join(_further(measured)),
        "sizes": "\n".join(_sizes()),
    }
    return template.format(**parts)
