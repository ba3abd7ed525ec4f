"""`python -m spacy lgu package`: an installable wheel under the pipeline's own name."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import spacy.cli
import srsly
import typer
from wasabi import msg

from . import app

_INIT = '''{description!r}

from pathlib import Path

from spacy.util import get_model_meta, load_model_from_init_py{imports}

__version__ = get_model_meta(Path(__file__).parent)["version"]


def load(**overrides):
    """Load the pipeline; arguments as in spacy.load."""
    return load_model_from_init_py(__file__, **overrides)
'''

_PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = {name}
version = {version}
description = {description}
readme = "README.md"
dependencies = {dependencies}
license = {license}

[project.entry-points.spacy_models]
{key} = {name}

[tool.setuptools]
packages = [{name}]

[tool.setuptools.package-data]
{key} = ["**/*"]
"""


@app.command("package")
def package_cli(
    input_dir: Annotated[Path, typer.Argument(help="Folder of a saved pipeline")],
    output_dir: Annotated[Path, typer.Argument(help="Folder for the package and its wheel")],
    name: Annotated[str, typer.Option("--name", "-n", help="Import and distribution name")],
    version: Annotated[str | None, typer.Option("--version", "-v", help="Version")] = None,
    code: Annotated[
        str, typer.Option("--code", "-c", help="Python files to include and import, with commas")
    ] = "",
    build: Annotated[bool, typer.Option(help="Build the wheel as well")] = True,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an earlier one")] = False,
) -> None:
    """Package a pipeline as `spacy package` does, but under exactly the name given.

    spaCy's own command puts the language before the name ("en_..."); after this one,
    spacy.load(NAME) finds the installed pipeline.
    """
    wheel = package_pipeline(
        input_dir,
        output_dir,
        name=name,
        version=version,
        code=[Path(file.strip()) for file in code.split(",") if file.strip()],
        build=build,
        force=force,
    )
    msg.good(f"Created {wheel}")


def package_pipeline(
    input_dir: Path,
    output_dir: Path,
    *,
    name: str,
    version: str | None = None,
    code: Sequence[Path] = (),
    build: bool = True,
    force: bool = False,
) -> Path:
    """Turn a saved pipeline into a Python package.

    input_dir (Path): Folder of the pipeline.
    output_dir (Path): Gets a folder NAME-VERSION; made if missing.
    name (str): Import and distribution name.
    version (str | None): None: the version in the pipeline's meta.json.
    code (Sequence[Path]): Python files with the pipeline's own components and functions.
    build (bool): Whether to build a wheel, into NAME-VERSION/dist.
    force (bool): Whether to replace NAME-VERSION.
    RETURNS (Path): The wheel, or the package's folder if none was built.
    """
    if build and not (find_spec("build") and find_spec("setuptools")):
        raise ImportError(
            "Building a wheel needs the packages build and setuptools: pip install "
            "'spacy-lgu[package]'. Or use --no-build and build it elsewhere."
        )
    with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as place:
        spacy.cli.package(
            input_dir,
            Path(place),
            code_paths=list(code),
            name=name,
            version=version,
            create_sdist=False,
            silent=True,
        )
        (made,) = Path(place).iterdir()
        meta = srsly.read_json(made / "meta.json")
        target = output_dir / f"{name}-{meta['version']}"
        if target.exists():
            if not force:
                raise FileExistsError(f"{str(target)!r} exists already. Use --force to replace it.")
            shutil.rmtree(target)
        # <lang>_<name>-<version>/<lang>_<name>/<lang>_<name>-<version> is spaCy's layout; the
        # innermost folder keeps its name, which spaCy derives from the meta when it loads.
        inner = made / made.name.removesuffix(f"-{meta['version']}")
        (data,) = (path for path in inner.iterdir() if path.is_dir())
        package = target / name
        package.mkdir(parents=True)
        for file in code:
            shutil.copy(file, package / file.name)
        shutil.move(data, package / data.name)
        shutil.copy(made / "README.md", target / "README.md")
    for folder in (package, package / data.name):
        srsly.write_json(folder / "meta.json", meta)
    description = meta.get("description") or f"A spaCy pipeline with {', '.join(meta['pipeline'])}"
    imports = "".join(f"\nfrom . import {file.stem}" for file in code)
    init = _INIT.format(description=description, imports=imports)
    (package / "__init__.py").write_text(init, encoding="utf8")
    (target / "pyproject.toml").write_text(_pyproject(name, meta, description), encoding="utf8")
    if not build:
        return target
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(target)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = (target / "dist").glob("*.whl")
    return wheel


def _pyproject(name: str, meta: dict[str, Any], description: str) -> str:
    dependencies = [f"spacy{meta['spacy_version']}", *meta["requirements"]]
    # JSON strings and lists of strings are TOML as well.
    return _PYPROJECT.format(
        key=name,
        name=srsly.json_dumps(name),
        version=srsly.json_dumps(meta["version"]),
        description=srsly.json_dumps(description),
        dependencies=srsly.json_dumps(dependencies),
        license=srsly.json_dumps(_license(meta.get("license") or "Unknown")),
    )


def _license(name: str) -> str:
    """As an SPDX expression, which packages need: a name of our own for what is none."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return canonicalize_license_expression(name)
    except InvalidLicenseExpression:
        return "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-") or "Unknown")
