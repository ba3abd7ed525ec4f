"""What an installation has: the package with its types, and nothing of the tests or the scripts."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]


def test_the_wheel_has_the_package_and_its_types(tmp_path):
    # From a copy of what is built: setuptools writes beside the sources.
    files = ["pyproject.toml", "README.md", "LICENSE"]
    files += [
        str(path.relative_to(ROOT))
        for path in (ROOT / "spacy_lgu").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert "spacy_lgu/py.typed" in files
    for name in files:
        target = tmp_path / "sources" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    subprocess.run(
        [*command, str(tmp_path / "dist"), str(tmp_path / "sources")],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("spacy_lgu-*.whl")
    with ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == {name for name in files if name.startswith("spacy_lgu/")}
