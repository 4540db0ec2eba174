"""The built package ships every folder of the library, and none is too full to find a module in."""

import tomllib

import pytest

from tests.support.paths import ROOT

FOLDERS = sorted({path.parent for path in (ROOT / "saliency_core").rglob("*.py")})


def test_every_folder_of_the_library_is_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packaged = set(settings["tool"]["setuptools"]["packages"])
    folders = {".".join(folder.relative_to(ROOT).parts) for folder in FOLDERS}
    assert folders == {name for name in packaged if not name.startswith("saliency_core_dashboard")}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_holds_at_most_twelve_modules(folder):
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= 12 or folder.name == "cli"


def test_no_module_is_longer_than_450_lines():
    modules = [
        path
        for top in ("saliency_core", "app_pages", "app_components")
        for path in (ROOT / top).rglob("*.py")
    ]
    long = {path.name: count for path in modules if (count := path.read_text().count("\n")) > 450}
    assert not long
