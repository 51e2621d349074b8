"""Lock files must not say where packages were downloaded from: users bring their own registries."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Links to those who take money for a package, alone or in a list, name no registry.
FUNDING = re.compile(r'"url"|"https://github\.com/sponsors/')
ADDRESS = re.compile(r"https?://|\"resolved\"|--index-url|--find-links")


def _npm_locks() -> list[str]:
    """Of the root, and of each package in web/."""
    found = [*ROOT.glob("package-lock.json"), *ROOT.glob("web/*/package-lock.json")]
    return [str(path.relative_to(ROOT)) for path in found]


def main() -> int:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in ("constraints.txt", *_npm_locks())
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1)
        if ADDRESS.search(line) and not FUNDING.search(line)
    ]
    if (ROOT / "uv.lock").exists():
        found.append("uv.lock: records download addresses, remove it")
    print("\n".join(found) if found else "locks: no addresses")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
