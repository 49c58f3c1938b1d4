"""A few of the bad inputs of scripts/faults.py: each is refused in one line, or means what it meant."""

import random

import pytest

from load_script import load_script
from pixelvae.data.files import divide

bad_inputs = load_script("bad_inputs")


@pytest.mark.parametrize(
    "act", [bad_inputs.picture, bad_inputs.sound, bad_inputs.idx, bad_inputs.table, bad_inputs.nats]
)
def test_a_damaged_file_is_refused_in_one_line_or_read(act, tmp_path):
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        act(random.Random(seed), folder)


def test_an_absurd_option_is_one_line_and_exit_code_2(checkpoints, tmp_path):
    (tmp_path / "last").symlink_to(checkpoints / "vae/best")
    (tmp_path / "best").symlink_to(checkpoints / "vae/best")
    for seed in range(6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        bad_inputs.option(tmp_path, random.Random(seed), folder)


def test_a_message_quotes_the_beginning_of_a_long_name_alone(tmp_path):
    for row in (f"{'9' * 5000}.png,train", f"a.png,{'9' * 5000}"):
        (tmp_path / "splits.csv").write_text(f"path,split\n{row}\n")
        with pytest.raises(ValueError, match=r"line 2: .*999\.\.\.") as caught:
            divide(tmp_path, ["a.png"], "splits.csv")
        assert len(str(caught.value)) < 500


def test_a_wrong_message_is_seen():
    with pytest.raises(AssertionError, match="more than one line"), bad_inputs.one_line(ValueError):
        raise ValueError("one\ntwo")
    with pytest.raises(KeyError), bad_inputs.one_line(ValueError):
        raise KeyError("not ours")
