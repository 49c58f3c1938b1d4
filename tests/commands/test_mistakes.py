"""A typical mistake is one line on standard error and exit code 2: what was given, what is wanted, what is near."""

import shutil

import pytest
import yaml

import speech
from pixelvae.checkpoint import Progress, save_model
from pixelvae.commands import cli
from pixelvae.commands.mistakes import explain, one_line
from pixelvae.training.trainer import TrainingDivergedError

TRAIN = "train digits/pixelvae --out out"
MISTAKES = [
    # command line, what the line says
    ("train", "name a configuration, such as mnist5k/pixelvae"),
    ("train --out out", "data, likelihood, decoder, context are missing; --help describes all options; name a"),
    ("train digits/pixelva", "did you mean digits/pixelvae?"),
    ("train --config configs/digits/pixelva.yaml", "did you mean digits/pixelvae?"),
    ("train runs", "neither a file nor a shipped configuration"),
    ("train broken.yaml", "broken.yaml is no YAML file"),
    ("train text.yaml", "text.yaml holds str; wanted options of pixelvae train"),
    ("train list.yaml", "list.yaml holds list"),
    ("train typo.yaml", "typo.yaml: there is no option 'trian'; did you mean train?"),
    ("train empty_train.yaml", "empty_train.yaml: train is None; wanted its options"),
    ("train foreign.yaml", "foreign.yaml: decoder=surely.not.Imported is no class of pixelvae's"),
    (f"{TRAIN} --train.learning_rat 3", "there is no option --train.learning_rat; did you mean --train.learning_rate?"),
    (f"{TRAIN} --learning-rate 3", "did you mean --train.learning_rate?"),
    (f"{TRAIN} --batch-size=3", "did you mean --train.batch_size?"),
    (f"{TRAIN} --train.steps x", "--train.steps=x; wanted an integer"),
    (f"{TRAIN} --train.steps", "--train.steps wants a value"),
    (f"{TRAIN} --train.steps 1.5", "--train.steps=1.5; wanted an integer"),
    (f"{TRAIN} --train.steps null", "--train.steps=None; wanted an integer"),
    (f"{TRAIN} --train.steps 0", "train.steps=0; wanted"),
    (f"{TRAIN} --train.precision fp8", "--train.precision=fp8; wanted auto or float32 or bf16-mixed"),
    (f"{TRAIN} --train.channels_last=maybe", "--train.channels_last=maybe; wanted true or false"),
    (f"{TRAIN} --objective.rate much", "--objective.rate=much; wanted a number or null"),
    (f"{TRAIN} --decoder GatedPixelCN", "decoder=GatedPixelCN is no class of pixelvae's for it; did you mean Gated"),
    (f"{TRAIN} --decoder.class_path surely.not.Imported", "--decoder=surely.not.Imported is no class of pixelvae's"),
    (f"{TRAIN} --prior GatedPixelCNN", "wanted one of FlowPrior, HierarchicalPrior, StandardNormal, VampPrior"),
    (f"{TRAIN} --data MNISTT", "did you mean MNIST"),
    (f"{TRAIN} --decoder.num_layer 3", "--decoder.num_layer of GatedPixelCNN; did you mean --decoder.num_layers?"),
    (f"{TRAIN} --decoder.num_layers x", "--decoder.num_layers=x; wanted an integer"),
    (f"{TRAIN} --data.levels x", "--data.levels=x; wanted an integer"),
    (f"{TRAIN} --data.levels 1", "levels=1"),
    (f"{TRAIN} --seed 1.5", "--seed=1.5; wanted an integer"),
    (f"{TRAIN} --resume=maybe", "--resume=maybe; wanted true or false or auto"),
    (f"{TRAIN} extra", "'extra' is one argument too many"),
    ("train mnist/pixelvae --out out --data.root nowhere", "MNIST: no MNIST/raw/train-images-idx3-ubyte"),
    ("train digits/pixelvae --out vae", "out=vae already holds a run; add --resume"),
    ("evaluate", "checkpoint is missing"),
    ("evaluate runs/none", "checkpoint=runs/none: no such folder"),
    ("evaluate empty", "checkpoint=empty is neither a checkpoint nor a run"),
    ("evaluate vae/best extra", "'extra' is one argument too many"),
    ("evaluate vae --split tset", "split='tset'; wanted train, validation or test"),
    ("evaluate vae --latents maybe", "'maybe' is one argument too many"),
    ("evaluate vae --data.root nowhere", "there is no option --data.root of Digits"),
    ("evaluate vae --data MNIST --data.root nowhere", "--data.root FOLDER says where the data are now"),
    ("evaluate vae --data Digit", "--data=Digit is no class of pixelvae's for it; did you mean Digits?"),
    ("evaluate vae --data Digits --data.levels 3", "3 levels, the model (1, 8, 8) and 2"),
    ("evaluate vae --data MNIST5k", "shape (1, 28, 28) and 2 levels, the model (1, 8, 8)"),
    ("evaluate vae --data ImageFolder --data.root .", "--data ImageFolder also wants --data.size"),
    ("evaluate moved", "says where the data are now"),
    ("sample vae --num 3", "there is no option --num; did you mean --num_samples?"),
    ("sample vae --num-samples 0", "num_samples=0; wanted at least 1"),
    ("sample vae --num_samples many", "--num_samples=many; wanted an integer or null"),
    ("sample vae --label 10", "label=10; the classes are 0 .. 9"),
    ("sample vae --temperature hot", "--temperature=hot; wanted a number"),
    ("sample vae --temperature -1", "temperature=-1.0"),
    ("sample vae --stepper fast", "--stepper=fast; wanted auto or"),
    ("sample unlabelled --label 1", "not class-conditional"),
    ("sample sounds", "sounds/best is a model of sounds, and this command draws pictures; use pixelvae speak"),
    ("sample truncated", "truncated or not a safetensors file"),
    ("reconstruct plain", "plain/best has no latents to reconstruct from"),
    ("reconstruct sounds", "use pixelvae speak"),
    ("reconstruct vae --num 3", "did you mean --num_images or --num_draws?"),
    ("reconstruct vae --num-images 1000", "num_images=1000; the test split has 300 images"),
    ("interpolate unlabelled --between classes", "not class-conditional"),
    ("interpolate vae --between class", "--between=class; wanted images or same_class or classes"),
    ("complete sounds", "use pixelvae speak"),
    ("complete vae --keep 1.5", "keep=1.5"),
    ("latents plain", "no latents"),
    ("speak vae", "vae/best is not a model of sounds; pixelvae sample draws pictures"),
    ("sample vae --trust no_such_module", "--trust no_such_module: there is no such module"),
    (f"{TRAIN} --trust no_such_module", "--trust no_such_module: there is no such module"),
    ("compare [digits/pixelvae]", "give one of --steps and --minutes"),
    ("compare [nothing] --steps 1", "neither a file nor a shipped configuration"),
    ("rate-distortion nothing", "neither a file nor a shipped configuration"),
    ("rate-distortion digits/pixelcnn", "wanted a model with latents"),
    ("receptive-field --size 2", "size=2"),
    ("report empty", "holds neither best nor last"),
    ("smaple vae", "did you mean sample?"),
]  # fmt: skip


@pytest.fixture(scope="module")
def workplace(checkpoints, tmp_path_factory):
    """A folder with runs of every kind, and with what is broken."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("vae", "plain", "unlabelled"):
        (folder / name).mkdir()
        (folder / name / "best").symlink_to(checkpoints / name / "best")
    shutil.copytree(checkpoints / "vae/best", folder / "vae/last")
    (folder / "vae/last/training.pt").touch()
    root = speech.write_digits(folder / "speech")
    config = speech.config(root)
    save_model(folder / "sounds/best", speech.model(config, root), config, Progress())
    (folder / "empty").mkdir()
    shutil.copytree(checkpoints / "vae/best", folder / "truncated/best")
    weights = folder / "truncated/best/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    shutil.copytree(folder / "sounds/best", folder / "moved/best")
    config["data"]["init_args"]["root"] = "moved_away"
    (folder / "moved/best/config.yaml").write_text(yaml.safe_dump(config))
    contents = {
        "broken": "a: [b", "text": "just text", "list": "[1, 2]", "typo": "trian: {}", "empty_train": "train:",
        "foreign": "decoder: {class_path: surely.not.Imported}",
    }  # fmt: skip
    for name, content in contents.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


def said(arguments, capsys):
    """Exit code and standard error of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments.split())
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "line"), MISTAKES, ids=[arguments for arguments, _ in MISTAKES])
def test_a_mistake_is_one_line_and_code_2(arguments, line, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    code, error = said(arguments, capsys)
    assert code == 2
    assert error.count("\n") == 1
    assert error.startswith("pixelvae")
    assert line in error
    assert not (workplace / "out").exists()


@pytest.mark.parametrize("arguments", ["--debug sample vae --label 10", "sample vae --label 10 --debug"])
def test_debug_shows_the_frames_before_the_line(arguments, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    code, error = said(arguments, capsys)
    assert code == 2
    assert error.startswith("Traceback")
    assert "in labels_of_rows" in error
    assert error.splitlines()[-1].startswith("pixelvae sample: label=10")


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (TrainingDivergedError("not finite;\nTry less"), 1, "not finite; Try less"),
        (PermissionError(13, "Permission denied", "runs/a"), 2, "runs/a: permission denied"),
        (OSError(28, "No space left on device"), 2, "no space left on device"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
def test_what_is_no_fault_of_the_program_is_one_line_too(raised, code, line, monkeypatch, capsys):
    def fail(*_):
        raise raised

    monkeypatch.setattr(cli, "start", fail)
    found, error = said("sample x", capsys)
    assert (found, error.count("\n")) == (code, 1)
    assert error.endswith(f"{line}\n")


def test_a_fault_of_the_program_keeps_its_frames(monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(cli, "start", fail)
    with pytest.raises(RuntimeError, match="broken"):
        cli.main(["sample", "x"])


def test_what_the_parser_says_otherwise_stays_but_for_its_line_breaks():
    assert explain("something\n  else", [], lambda _: []) == "something else"
    assert one_line(OSError("without a number")) == "without a number"
