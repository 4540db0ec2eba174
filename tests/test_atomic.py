from pathlib import Path

import pytest

from saliency_core.atomic import replacing
from saliency_core.errors import UserError


def test_what_fails_leaves_the_older_file_and_nothing_beside_it(tmp_path):
    output = tmp_path / "a.txt"
    output.write_text("older")
    with pytest.raises(KeyError), replacing(output) as target:
        target.write_text("half")
        raise KeyError
    assert output.read_text() == "older" and list(tmp_path.iterdir()) == [output]


def test_a_file_and_a_folder_are_replaced_whole(tmp_path):
    for output in (tmp_path / "a.txt", tmp_path / "folder"):
        for text in ("one", "two"):
            with replacing(output) as target:
                if output.suffix:
                    target.write_text(text)
                else:
                    target.mkdir()
                    (target / text).touch()
    assert (tmp_path / "a.txt").read_text() == "two"
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["two"]


def test_a_folder_that_is_missing_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="can't be written"), replacing(tmp_path / "no" / "a"):
        pass
    assert not Path(tmp_path / "no").exists()
