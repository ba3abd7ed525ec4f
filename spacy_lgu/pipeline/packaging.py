"""A saved pipeline as a Python package: an installable wheel under the pipeline's own name."""

import json
import keyword
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import spacy.cli
import srsly
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version
from spacy.cli.package import generate_readme

from ..decoder.reading import damaged, read_json
from ..replacing import finish_subfolders, finished_folder, replace_folder

_ERROR_LINES = 20

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
    output_dir (Path): Gets the folder NAME-VERSION once that is complete; made if missing.
    name (str): Import and distribution name.
    version (str | None): None: the version in the pipeline's meta.json.
    code (Sequence[Path]): Python files with the pipeline's own components and functions.
    build (bool): Whether to build a wheel, into NAME-VERSION/dist.
    force (bool): Whether to replace NAME-VERSION.
    RETURNS (Path): The wheel, or the package's folder if none was built. Raises ValueError for
        names, versions and requirements that packages cannot have, before anything is written,
        and ChildProcessError with the end of the build's output, if it failed.
    """
    if build and not (find_spec("build") and find_spec("setuptools")):
        raise ImportError(
            "Building a wheel needs the packages build and setuptools: pip install "
            "'spacy-lgu[package]'. Or use --no-build and build it elsewhere."
        )
    input_dir = finished_folder(input_dir)
    _check_names(name, code)
    meta = _read_meta(input_dir / "meta.json", version)
    target = output_dir / f"{name}-{meta['version']}"
    if target.exists() and not force:
        raise FileExistsError(f"{str(target)!r} exists already. Use --force to replace it.")

    def write(folder: Path) -> None:
        _write_package(input_dir, folder, name=name, version=meta["version"], code=code)
        if build:
            _build_wheel(folder)

    replace_folder(target, write)
    if not build:
        return target
    (wheel,) = (target / "dist").glob("*.whl")
    return wheel


def _check_names(name: str, code: Sequence[Path]) -> None:
    # Package metadata allows only letters and digits of ASCII.
    if not re.fullmatch(r"[A-Za-z](\w*[A-Za-z0-9])?", name, re.ASCII) or keyword.iskeyword(name):
        raise ValueError(
            f"The name {name!r} is not a valid package name: expected letters, digits and "
            "underscores, such as 'my_pipeline', and not a keyword of Python."
        )
    stems = [file.stem for file in code]
    for file in code:
        is_module = file.stem.isidentifier() and not keyword.iskeyword(file.stem)
        if not file.is_file() or file.suffix != ".py" or not is_module or file.stem == "__init__":
            raise ValueError(
                f"Expected a Python file that can be imported, such as 'my_parts.py', for --code, "
                f"but got {str(file)!r}."
            )
    if len(set(stems)) < len(stems):
        raise ValueError(f"Expected files with different names for --code, but got {stems}.")


def _read_meta(file: Path, version: str | None) -> dict[str, Any]:
    """The pipeline's meta.json, with all that packages need checked."""
    if not file.is_file():
        raise ValueError(
            f"There is no saved pipeline in {str(file.parent)!r}: meta.json is missing. Give the "
            "folder of a pipeline, as nlp.to_disk or `spacy train` writes it."
        )
    meta = read_json(file)
    try:
        json.dumps(meta, ensure_ascii=False).encode("utf8")  # half an emoji, escaped, is valid JSON
    except UnicodeEncodeError as error:
        raise damaged(file, str(error)) from error
    meta = {"version": "0.0.0", **meta, **({} if version is None else {"version": version})}
    for key in ("version", "lang", "description", "license", "author", "email", "url"):
        if not isinstance(meta.get(key, ""), str):
            raise ValueError(f"{key} in {str(file)!r} is {meta[key]!r}: expected a string.")
    try:
        Version(meta["version"])
        if meta["version"].strip() != meta["version"]:
            raise InvalidVersion("white space")
    except InvalidVersion as error:
        raise ValueError(
            f"The version {meta['version']!r} is not a valid package version: expected one such as "
            "'1.2.3' or '1.0.0rc1'. Change it in meta.json, or give another with --version."
        ) from error
    requirements = meta.get("requirements", [])
    if not isinstance(requirements, list):
        raise ValueError(f"requirements in {str(file)!r} are {requirements!r}: expected a list.")
    for requirement in [f"spacy {meta.get('spacy_version', '')}", *requirements]:
        try:
            Requirement(requirement)
        except (InvalidRequirement, TypeError) as error:
            raise ValueError(
                f"{requirement!r} in {str(file)!r} is not a valid requirement of a package: "
                "expected one such as 'name>=1.0'."
            ) from error
    return meta


def _write_package(
    input_dir: Path, folder: Path, *, name: str, version: str, code: Sequence[Path]
) -> None:
    with tempfile.TemporaryDirectory(prefix=".spacy-", dir=folder) as place:
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
        # <lang>_<name>-<version>/<lang>_<name>/<lang>_<name>-<version> is spaCy's layout; the
        # innermost folder keeps its name, which spaCy derives from the meta when it loads.
        inner = made / made.name.removesuffix(f"-{meta['version']}")
        (data,) = (path for path in inner.iterdir() if path.is_dir())
        finish_subfolders(data)
        package = folder / name
        package.mkdir()
        for file in code:
            shutil.copy(file, package / file.name)
        shutil.move(data, package / data.name)
        if (input_dir / "README.md").exists():
            shutil.copy(made / "README.md", folder / "README.md")
        else:
            _write_text(folder / "README.md", generate_readme(_for_readme(meta)))
            shutil.copy(folder / "README.md", package / data.name / "README.md")
    for place_of_meta in (package, package / data.name):
        srsly.write_json(place_of_meta / "meta.json", meta)
    description = meta.get("description", "")
    if not _one_line(description):
        description = f"A spaCy pipeline with {', '.join(meta['pipeline'])}"
    imports = "".join(f"\nfrom . import {file.stem}" for file in code)
    _write_text(package / "__init__.py", _INIT.format(description=description, imports=imports))
    _write_text(folder / "pyproject.toml", _pyproject(name, meta, description))


def _build_wheel(folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf8",
        errors="replace",
    )
    if result.returncode:
        end = "\n".join(result.stdout.strip().splitlines()[-_ERROR_LINES:])
        raise ChildProcessError(
            f"The wheel could not be built. Nothing was replaced. `python -m build` said:\n{end}"
        )
    shutil.rmtree(folder / "build", ignore_errors=True)  # a second copy of all weights


def _pyproject(name: str, meta: dict[str, Any], description: str) -> str:
    dependencies = [f"spacy{meta['spacy_version']}", *meta["requirements"]]
    return _PYPROJECT.format(
        key=name,
        name=_toml(name),
        version=_toml(meta["version"]),
        description=_toml(_one_line(description)),  # package metadata allows no more
        dependencies=f"[{', '.join(map(_toml, dependencies))}]",
        license=_toml(_license(meta.get("license") or "Unknown")),
    )


def _for_readme(meta: dict[str, Any]) -> dict[str, Any]:
    """The meta with texts that do not break Markdown's table."""
    cells: dict[str, Any] = {
        key: _one_line(meta[key]).replace("|", "\\|")
        for key in ("license", "author", "url")
        if key in meta
    }
    lines = [_one_line(line) for line in meta.get("description", "").splitlines()]
    return {**meta, **cells, "description": "\n".join(lines)}


def _one_line(text: str) -> str:
    """A text without control characters and line breaks."""
    return " ".join("".join(" " if _is_control(c) else c for c in text).split())


def _toml(text: str) -> str:
    """A text as a TOML string, which, unlike one in JSON, has no surrogate pairs."""
    escaped = (f"\\u{ord(c):04x}" if c in '"\\' or _is_control(c) else c for c in text)
    return f'"{"".join(escaped)}"'


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp")


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf8", newline="\n")


def _license(name: str) -> str:
    """The SPDX expression that packages need: a LicenseRef for a licence that is not one."""
    try:
        return canonicalize_license_expression(name)
    except InvalidLicenseExpression:
        return "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-") or "Unknown")
