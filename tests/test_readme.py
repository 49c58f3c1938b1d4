"""README and docs/results.md quote results/; links lead to files; every file has its line in CONTRIBUTING."""

import json
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pixelvae.evaluation.per_image import paired_difference, read_per_image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "docs/results.md").read_text()
PAGES = {"README": README, "results": RESULTS}
ROW = re.compile(r"^\|.*\]\((?:\.\./)?(results/\S+/metrics\.json)\).*\|$", re.MULTILINE)
ROWS = [(page, row[0], row[1]) for page, text in PAGES.items() for row in ROW.finditer(text)]


def numbers(row):
    """The numbers of a table's row, in order."""
    return [float(n.replace(",", "")) for n in re.findall(r"(?<=\| )[0-9][0-9.,]*(?= )", row)]


def test_every_result_has_its_row():
    """Both pages have tables, and every metrics.json is in that of all results."""
    named = [path for page, _, path in ROWS if page == "results"]
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "results").glob("**/metrics.json")]
    assert sorted(named) == sorted(files)
    assert len(ROWS) >= len(named) + 4


@pytest.mark.parametrize(("page", "row", "path"), ROWS, ids=[f"{page}-{path}" for page, _, path in ROWS])
def test_a_row_of_a_table_holds_its_metrics(page, row, path):
    metrics = json.loads((ROOT / path).read_text())
    expected = [
        round(-metrics["elbo_nats"], 2),
        round(metrics["bits_per_dim"], 3),
        round(metrics.get("nll_iwae_nats", -metrics["elbo_nats"]), 2),
        round(metrics["kl_nats"], 2),
        metrics["num_parameters"],
    ]
    assert numbers(row) == expected


def test_the_table_of_rates_is_the_one_that_was_measured():
    lines = (ROOT / "results/mnist/rate_distortion/table.md").read_text().splitlines()
    assert len(lines) >= 6
    assert [line for line in lines if line not in RESULTS.splitlines()] == []


LONG, CONSISTENT = (
    json.loads((ROOT / f"results/mnist/{name}/metrics.json").read_text())
    for name in ("pixelvae_wide_long", "pixelvae_consistent")
)
PROBES = {"linear probe": "linear_probe_accuracy", "nearest neighbours": "knn_accuracy"}
PROBES["nearest neighbours, whitened"] = "knn_accuracy_whitened"


def test_what_the_latents_are_worth_is_what_was_measured():
    def share(metrics, name):
        return f"{100 * metrics[name]:.2f} %"

    rows = [
        f"| {label} | {share(LONG, name)} | {share(CONSISTENT, name)} | {share(CONSISTENT, f'{name}_pixels')} | "
        f"{share(CONSISTENT, f'{name}_pca')} |"
        for label, name in PROBES.items()
    ]
    said = [
        f"{LONG['images_seen'] + 1_088_000:,} images",
        f"of {LONG['num_importance_samples']} samples",
        f"{LONG['nll_iwae_nats']:.2f} ± {LONG['nll_iwae_stderr_nats']:.2f} nats",
        f"training digits {-LONG['train_elbo_nats']:.2f} ± {LONG['train_elbo_stderr_nats']:.2f}",
        f"{LONG['active_units']} of 32 units are active; I(x; h) is {LONG['mutual_information_nats']:.2f} nats",
        f"real digits ({share(LONG, 'classifier_accuracy')} right)",
        f"class to {100 * LONG['reconstruction_agreement']:.1f} % of reconstructions",
        f"to {100 * LONG['original_agreement']:.1f} % of the originals",
    ]
    text = " ".join(RESULTS.split())
    assert [words for words in [*rows, *said] if words not in text] == []
    page = (ROOT / "docs/rate.md").read_text()
    for weight, metrics in ((0, LONG), (1, CONSISTENT)):
        cells = [
            f"{-metrics['elbo_nats']:.2f}",
            f"{metrics['kl_nats']:.2f}",
            *(share(metrics, n) for n in PROBES.values()),
        ]
        assert " | ".join([f"| {weight}", *cells]) in page


def test_what_latents_add_is_paired_over_the_same_digits():
    kept = {
        name: read_per_image(ROOT / f"results/mnist/{name}")
        for name in ("small_window_position", "pixelvae_wide", "pixelvae_wide_long", "pixelvae_consistent")
    }
    text = " ".join(RESULTS.split())
    for first, second in (
        ("pixelvae_wide", "small_window_position"),
        ("pixelvae_wide_long", "pixelvae_wide"),
        ("pixelvae_consistent", "pixelvae_wide"),
    ):
        found = paired_difference(kept[first]["elbo"], kept[second]["elbo"])
        assert f"{abs(found.mean):.2f} ± {found.stderr:.2f} nats" in text


def test_the_table_of_seeds_is_the_one_that_was_measured():
    found = json.loads((ROOT / "results/mnist5k/seeds.json").read_text())
    for model in found["models"]:
        cells = [
            f"{sign * model[name]:.2f} ± {model[f'{name}_std_of_seeds']:.2f}"
            for name, sign in (("elbo_nats", -1), ("nll_iwae_nats", 1), ("kl_nats", 1))
        ]
        assert f"| `mnist5k/{model['model']}` | {' | '.join(cells)} |" in RESULTS
    for pair in found["differences"]:
        by_seed = [f"{a:.2f} ± {b:.2f}" for a, b in zip(pair["by_seed_nats"], pair["by_seed_stderr_nats"], strict=True)]
        said = [*by_seed, f"{pair['mean_nats']:.2f} ± {pair['stderr_of_seeds_nats']:.2f} nats"]
        assert [words for words in said if words not in RESULTS] == []
        assert said[-1] in README


@pytest.mark.parametrize("name", ["factorised", "gated_pixelcnn", "pixelvae"])
def test_the_bounds_of_training_digits_are_those_that_were_measured(name):
    metrics = json.loads((ROOT / f"results/mnist5k/{name}/metrics.json").read_text())
    assert f"{-metrics['train_elbo_nats']:.2f} ± {metrics['train_elbo_stderr_nats']:.2f}" in RESULTS


@pytest.mark.parametrize("prior", ["hierarchical_prior", "vamp_prior", "flow_prior"])
def test_paired_differences_of_priors_are_those_of_their_images(prior):
    kept = [load_file(ROOT / f"results/digits/{name}/per_image.safetensors") for name in (prior, "standard_normal")]
    assert kept[0]["elbo.checksums"].equal(kept[1]["elbo.checksums"])
    difference = kept[0]["elbo.nats"] - kept[1]["elbo.nats"]
    assert f"{difference.mean():.2f} ± {difference.std() / len(difference) ** 0.5:.2f}" in RESULTS
    weighted = kept[0]["importance_weighted.nats"] - kept[1]["importance_weighted.nats"]
    assert abs(weighted.mean()) < 1.6 * weighted.std() / len(weighted) ** 0.5


def test_the_page_of_speed_holds_the_measured_numbers():
    page, results = (ROOT / "docs/speed.md").read_text(), ROOT / "results/benchmark"
    sampling, training, family, growth = (
        json.loads((results / f"{name}.json").read_text()) for name in ("sampling", "training", "family", "growth")
    )
    expected = [
        f"| {row['case']} | {row['batch']} | {row['eager_speedup']:,.0f}x | {row['compiled_speedup']:,.0f}x |"
        for row in sampling["rows"]
    ]
    difference = json.loads((results / "precision.json").read_text())["difference_nats"]
    expected += [f"differs by {abs(difference):.4f} nats"]
    vectors = json.loads((results / "training_avx512.json").read_text())
    for measured in (vectors, training):
        network, flow = (
            measured[name]["steps"] for name in ("9 layers of 32 channels", "configs/mnist/pixelvae_flow.yaml")
        )
        for name, row in network.items():
            arms = [steps[name] for steps in (network, flow)]
            rates = [f"{arm['images_per_second']:.0f} | {arm['speedup']:.2f}x" for arm in arms]
            expected += [f"| {name} | {rates[0]} | {100 * row['decoder_share_of_peak']:.0f} % | {rates[1]} |"]
    expected += [f"{ms:.2f} ms at batch {size}" for size, ms in training["ms_per_image_by_batch"].items()]
    (wavenet,) = (row for row in family["sampling"] if row["case"] == "wavenet" and row["batch"] == 64)
    expected += [f"{wavenet['compiled_sites_per_second']:,.0f} samples a second"]
    expected += [
        f"| {row['image']}x{row['image']}, {row['layers']} layers, {row['channels']} channels "
        f"| {row['step_in_base']:.2f} | {row['sample_in_base']:.2f} | {row['kept_mb_per_image']:.1f} |"
        for row in growth["growth"]
    ]
    first, second = growth["profile"].values()
    expected += [f"| {part} | {100 * first[part]:.0f} % | {100 * second[part]:.0f} % |" for part in first]
    expected += [f"| {row['batch']} | {row['images_per_second']:,.0f} |" for row in growth["pictures"]]
    assert [words for words in expected if words not in page] == []
    fastest = next(
        row for row in sampling["rows"] if row["case"] == "28x28, 2 levels, 32 latents" and row["batch"] == 64
    )
    assert f"{fastest['compiled_speedup']:,.0f} times as fast" in README
    assert f"{network['compiled, fused gates']['speedup']:.1f} times as fast" in README
    slower = vectors["9 layers of 32 channels"]["steps"]["compiled, fused gates"]["speedup"]
    assert f"{slower:.1f} times on one with AVX-512 BF16 alone" in README


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("**/metrics.json")), ids=lambda p: p.parent.name)
def test_a_result_says_how_it_was_made(path):
    metrics = json.loads(path.read_text())
    assert {"elbo_nats", "bits_per_dim", "num_test_images", "command", "seed", "images_seen"} <= set(metrics)
    assert (path.parent / "environment.txt").is_file()


def test_readme_is_short():
    assert len(README.splitlines()) <= 170


def test_every_picture_and_file_that_is_linked_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_file_has_its_line_and_every_line_its_file():
    """In the table of CONTRIBUTING, whose first column names files."""
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Every file")[2]
    first_column = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    named = [name for cell in first_column for name in re.findall(r"`([^`]+\.[a-z]+)`", cell)]
    kinds = ("pixelvae/**/*.py", "pixelvae/**/*.cpp", "pixelvae/**/*.h", "scripts/*.py", "docs/**/*.py")
    paths = [path.relative_to(ROOT).as_posix() for kind in kinds for path in ROOT.glob(kind)]
    files = [path for path in paths if not path.endswith("__init__.py")]
    offences = [f"{path} has no line in CONTRIBUTING.md" for path in sorted(set(files) - set(named))]
    offences += [f"CONTRIBUTING.md names {path}, which is not there" for path in sorted(set(named) - set(files))]
    offences += [f"CONTRIBUTING.md names {path} twice" for path in sorted(set(named)) if named.count(path) > 1]
    assert not offences, "\n".join(["", *offences])


def test_the_page_of_rates_holds_the_measured_numbers():
    page = (ROOT / "docs/rate.md").read_text()
    rows = json.loads((ROOT / "results/rate_without_decoder.json").read_text())["rows"]
    ablations = [row for row in rows if row["estimate"] != "both"]
    assert len(ablations) >= 2
    assert all(f"{row['kl_nats_of_last_100_steps']:.2f} nats" in page for row in ablations)
    for row in (row for row in rows if row["estimate"] == "both"):
        line = next(line for line in page.splitlines() if f"| `{row['prior']}` | {row['rate_nats']:g} |" in line)
        wanted = (row["kl_nats_of_last_100_steps"], row["mutual_information_nats"])
        assert [f"{value:.2f}" for value in wanted if f"{value:.2f}" not in line] == []


def test_the_page_of_rates_holds_the_ablation_of_every_constant():
    """Each is changed in both directions, under two priors."""
    page = (ROOT / "docs/rate.md").read_text()
    found: dict[tuple[str, float], dict[str, str]] = {}
    for row in json.loads((ROOT / "results/rate_constants.json").read_text())["rows"]:
        ((name, value),) = row["constants"].items()
        cells = f"{row['kl_nats_of_last_100_steps']:.2f} | {row['mutual_information_nats']:.2f}"
        found.setdefault((name, value), {})[row["prior"]] = cells
    assert len(found) >= 12
    lines = [f"| {value:g} | {rows['StandardNormal']} | {rows['FlowPrior']} |" for (_, value), rows in found.items()]
    assert [line for line in lines if line not in page] == []


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
def test_the_page_of_compression_holds_the_measured_numbers(name):
    page, results = (ROOT / "docs/compression.md").read_text(), ROOT / "results/compression"
    found = json.loads((results / f"{name}.json").read_text())
    images = found["images"]
    expected = [
        f"| {file} | "
        + " | ".join(f"{row['bytes'][file]:,} | {row['bits_per_dim'][file]:.3f}" for row in images.values())
        + " |"
        for file in ("pixelvae", "-ELBO", "PNG", "WebP", "xz")
    ]
    expected += [f"| {coder} (published) | | {bits:.2f} |" for coder, bits in found["published_bits_per_dim"].items()]
    expected += [f"{100 * row['over_the_bound']:.2f} %" for row in images.values()]
    expected += [
        f"| {row['size']} | {row['compress_images_per_second']:.3g} | {row['decompress_images_per_second']:.3g} |"
        for row in json.loads((results / "speed.json").read_text())["rows"]
    ]
    assert [words for words in expected if words not in page] == []
