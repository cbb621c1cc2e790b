"""Print a pip constraint for each lowest version that users get: `click>=8.1.2` gives `click==8.1.2`.

These are the dependencies and the extras for users. The tools of the extras `dev` and `docs` may be newer.
"""

from __future__ import annotations

import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def main() -> None:
    extras = [extra for name, extra in PROJECT["optional-dependencies"].items() if name not in ("dev", "docs")]
    lowest: dict[str, Version] = {}
    for requirement in map(Requirement, [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]):
        for bound in requirement.specifier:
            if bound.operator == ">=":  # if a package is declared twice, the higher version counts
                version = Version(bound.version)
                lowest[requirement.name] = max(version, lowest.get(requirement.name, version))
    for name, version in lowest.items():
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
