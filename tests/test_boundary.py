"""The law of the boundary: of a foreign input every public verb makes a right answer or a ValueError, nothing else.

``python tests/test_boundary.py`` writes the table of verbs and inputs, results/boundary.md; ``pytest -s`` shows it.
"""

import re
from pathlib import Path

import pytest
import torch

from foreign import FOREIGN, MODELS, PARTS, PICTURES, SOUNDS, VERBS, WITHOUT_LATENTS, Examples, model_of, only, valid
from pixelvae import AutoregressiveModel, DataSpec, PixelVAE
from pixelvae.boundary import levels, require_batch
from pixelvae.data.spec import ABSENT
from pixelvae.distributed import World
from pixelvae.latents.distributions import Distribution
from pixelvae.models.base import Bound
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer

TABLE = Path(__file__).parent.parent / "results/boundary.md"
REFUSED, RIGHT = "ValueError", "right"
CPU = torch.device("cpu")


def call(name, model_kind, **changes):
    """The answer of a verb as tensors."""
    given = only(" ".join(VERBS[name].takes), valid(model_kind)) | changes
    answer = VERBS[name].call(model_of(model_kind), **given)
    if isinstance(answer, Bound):
        return [answer.log_px, answer.kl_groups]
    if isinstance(answer, Distribution):
        return [answer.mean]
    return [answer]


def outcome(foreign, name):
    """``right`` or ``ValueError``; any other outcome is a defect."""
    value = foreign.change(valid(foreign.model)[foreign.argument])
    try:
        answer = call(name, foreign.model, **{foreign.argument: value})
    except ValueError as error:
        return REFUSED if foreign.argument in str(error) and "\n" not in str(error) else f"no good message: {error}"
    expected = call(name, foreign.model)
    assert all(torch.equal(a, b) for a, b in zip(answer, expected, strict=True)), f"{name}: a plausible answer"
    return RIGHT


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
def test_a_foreign_input_is_refused_or_answered_rightly(foreign):
    found = {name: outcome(foreign, name) for name in foreign.asked()}
    assert found == {name: RIGHT if name in foreign.right else REFUSED for name in found}
    assert found, "no verb was asked"


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64, torch.complex64])
def test_levels_and_labels_are_integers_and_nothing_else(dtype):
    spec = DataSpec((1, 2, 2), 2, (2,))
    x, y = torch.ones(3, 1, 2, 2, dtype=torch.uint8), torch.ones(3, 1, dtype=torch.int16)
    require_batch(x, y, spec, CPU)
    with pytest.raises(ValueError, match=f"^x is {dtype}: levels are integers"):
        require_batch(x.to(dtype), y, spec, CPU)
    with pytest.raises(ValueError, match=f"^y .*{dtype}"):
        require_batch(x, y.to(dtype), spec, CPU)


def table():
    """Markdown: a row for each input, a column for each verb; the outcome stands where the verb takes the argument."""
    rows = [
        "# What every public verb makes of foreign inputs",
        "",
        f"`{RIGHT}`: the answer that the valid input has. `{REFUSED}`: one line that names the argument.",
        "",
        "| model | argument | " + " | ".join(f"`{name}`" for name in VERBS) + " |",
        "|" + "---|" * (len(VERBS) + 2),
    ]
    for foreign in FOREIGN:
        cells = {name: outcome(foreign, name) for name in foreign.asked()}
        row = " | ".join(cells.get(name, "") for name in VERBS)
        rows.append(f"| {foreign.model} | `{foreign.argument}` {foreign.what} | {row} |")
    return "\n".join(rows) + "\n"


def test_the_published_table_is_what_happens():
    found = table()
    print(f"\n{found}")
    assert TABLE.read_text() == found


def test_the_message_names_what_came_what_is_wanted_and_the_likely_cause():
    model, x = model_of("PixelVAE"), valid("PixelVAE")["x"]
    messages = {
        "levels 0 .. 1 are wanted, the largest is 255: quantise grey values with Quantiser(levels=2)": x * 255,
        "x is torch.float32: levels are integers 0 .. 1": x.float(),
        "picture is 6x6, the model wants 4x4": torch.zeros(2, 1, 6, 6).long(),
        "picture has 3 channels, the model wants 1": x.repeat(1, 3, 1, 1),
        "the smallest is -5": x - 5,
        "-1 marks the end of a sound, and pictures have all their pixels": x - 1,
        "the model is of pictures, (C, H, W)": x.flatten(2),
        "x[None]": x[0],
        "x.movedim(-1, 1)": x.movedim(1, -1),
    }
    for message, given in messages.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            model.encode(given)


# absent levels


def test_a_sound_may_end_early_in_every_verb():
    """Refused in the middle and in one channel alone, see FOREIGN; at the end it is data."""
    model, x = model_of("sounds"), valid("sounds")["x"]
    x[1, :, 5:] = ABSENT
    h = valid("sounds")["h"]
    torch.testing.assert_close(model.score(x, h=h), model.log_px(x, h))
    assert (model.complete(x, torch.ones(1, dtype=torch.bool), seed=0)[:, :, :5] == x[:, :, :5]).all()
    assert torch.isfinite(model(x).elbo).all()
    stereo = SOUNDS._replace(shape=(2, 8))
    both = x.repeat(1, 2, 1)
    assert torch.equal(levels.require_levels(both, stereo), both)
    both[1, 0, 5:] = 0
    with pytest.raises(ValueError, match="in all channels"):
        levels.require_levels(both, stereo)


# once


@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if "x" in verb.takes or name[:8] == "evaluate"])
def test_levels_are_checked_once(name, monkeypatch):
    """By each verb that is given x; by an evaluation once for each batch."""
    count = counted(monkeypatch)
    call(name, "PixelVAE", **({"batch_size": 12} if "split" in VERBS[name].takes else {}))
    assert len(count) == 1


def counted(monkeypatch):
    seen, check = [], levels.require_levels
    monkeypatch.setattr(levels, "require_levels", lambda *args, **named: seen.append(named) or check(*args, **named))
    return seen


def trainer_of(kind):
    options = TrainingOptions(compile="never", precision="float32", channels_last=False)
    return Trainer(MODELS[kind](), options, Objective(), World(CPU), seed=0)


def test_a_training_step_checks_its_batch_once(monkeypatch):
    """Where it is, which is the CPU, and without waiting for a device."""
    trainer, count, given = trainer_of("without labels"), counted(monkeypatch), valid("PixelVAE")
    trainer.update(given["x"], given["y"])
    assert count == [{"synchronise": False}]
    with pytest.raises(ValueError, match="the largest is 255"):
        trainer.update(given["x"] * 255, given["y"])


def test_a_training_step_never_reads_from_an_accelerator():
    """Meta tensors have no values: code that reads them fails."""
    x = torch.zeros(2, *PICTURES.shape, dtype=torch.long, device="meta")
    y = torch.zeros(2, 1, dtype=torch.long, device="meta")
    given = require_batch(x, y, PICTURES, torch.device("meta"), synchronise=False)
    assert [tensor.device.type for tensor in given] == ["meta", "meta"]
    with pytest.raises((RuntimeError, NotImplementedError)):
        require_batch(x, y, PICTURES, torch.device("meta"))
    with pytest.raises(ValueError, match="picture is 4x2"):
        require_batch(x[..., :2], y, PICTURES, torch.device("meta"), synchronise=False)


# arguments that may be left out, and parts


def test_the_noise_of_the_bound_is_drawn_by_a_generator_or_by_the_global_one():
    model, given = model_of("PixelVAE"), valid("PixelVAE")
    x, y = given["x"], given["y"]
    torch.manual_seed(5)
    first = model(x, y).elbo
    torch.manual_seed(5)
    assert torch.equal(model(x, y).elbo, first)
    assert not torch.equal(model(x, y).elbo, first)
    assert torch.equal(model(x, y, noise=torch.Generator().manual_seed(5)).elbo, first)


def test_the_verbs_of_a_notebook():
    """Labels as one integer for all."""
    model, x = model_of("PixelVAE"), valid("PixelVAE")["x"]
    assert torch.equal(model.sample(4, y=2, seed=0), model.sample(4, y=torch.full((4, 1), 2), seed=0))
    assert model.reconstruct(x, y=2, seed=0, num_draws=3).shape == (3, 2, *PICTURES.shape)
    h = model.encode(x).mean
    along = torch.tensor([[[0], [2]], [[1], [2]]])  # (steps, B, L)
    images = model.interpolate(h, h, steps=2, seed=0, y=along)
    assert torch.equal(images[1], model.decode(h, [1, 2], [torch.Generator().manual_seed(i) for i in range(2)]))
    with pytest.raises(ValueError, match="along the way"):
        model.interpolate(h, h, steps=3, seed=0, y=along)
    with pytest.raises(ValueError, match="path gives points"):
        model.interpolate(h, h, steps=3, seed=0, y=1, path=lambda start, end, steps: start)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_given_by_what_builds_it(part):
    """Not as an instance, nor by what builds another part."""
    built = getattr(PixelVAE(PICTURES, latent_dim=2, **PARTS), part)
    for wrong in (built, None, lambda *sizes: torch.nn.Linear(1, 1)):
        with pytest.raises(ValueError, match=f"{part} .*; wanted"):
            PixelVAE(PICTURES, latent_dim=2, **PARTS | {part: wrong})
    if part in WITHOUT_LATENTS:
        with pytest.raises(ValueError, match=f"{part} is an instance"):
            AutoregressiveModel(PICTURES, **WITHOUT_LATENTS | {part: built})


def test_an_evaluation_reads_a_split_of_its_own_data():
    """The other side of the law: nothing of the model's own is refused."""
    for kind in ("PixelVAE", "without labels", "without latents"):
        (bounds,) = call("evaluate_bound", kind, split=Examples(PICTURES))
        assert bounds.num_images == 10


if __name__ == "__main__":
    TABLE.write_text(table())
