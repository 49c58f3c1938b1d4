"""The figure of a benchmark."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from pixelvae.reporting.figures import COLOURS


def speed_figure(training: dict[str, Any], sampling: dict[str, Any]) -> Figure:
    """Images/s of sampling against batch size, and the share of peak of a training step."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = [row for row in sampling["rows"] if row["case"] == "28x28, 2 levels, 32 latents"]
    batches = [row["batch"] for row in rows]
    names = {"naive": "one forward pass per pixel", "eager": "cached, eager", "compiled": "cached, compiled"}
    for colour, (kind, label) in zip(COLOURS, names.items(), strict=False):
        if f"{kind}_seconds" in rows[0]:
            rate = [row["batch"] / row[f"{kind}_seconds"] for row in rows]
            left.loglog(batches, rate, "o-", color=colour, label=label)
    left.set(xlabel="batch size", ylabel="images per second", title="Sampling 28x28 binary images given 32 latents")
    left.set_xticks(batches, [str(batch) for batch in batches])
    left.minorticks_off()
    left.grid(alpha=0.3)
    left.legend(loc="lower right", bbox_to_anchor=(1.0, 0.15))
    steps = training["9 layers of 32 channels"]["steps"]
    shares = [100 * row["decoder_share_of_peak"] for row in steps.values()]
    bars = right.barh(list(steps), shares, color=COLOURS[0])
    labels = [
        f"{s:.0f} %, {row['images_per_second']:.0f} images/s" for s, row in zip(shares, steps.values(), strict=True)
    ]
    right.bar_label(bars, labels, padding=4)
    right.set(xlim=(0, 100), xlabel="% of this machine's bfloat16 peak", title="One whole training step, batch 64")
    right.invert_yaxis()
    return figure
