"""What the tests of the commands share."""

import re

import pytest

from lora_edu import cli

STEERING = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f]")  # signs that a terminal obeys


@pytest.fixture
def refused(tmp_path, capsys):
    """Return a function: run a command that ends with code 2; return the only line that it says.

    It writes no files.
    """

    def run(*words):
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert cli.main([str(word) for word in words]) == 2
        out, error = capsys.readouterr()
        assert (out, error.count("\n"), error[:10]) == ("", 1, "lora-edu: ")
        assert len(error) < 1100
        assert not STEERING.search(error)
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return run
