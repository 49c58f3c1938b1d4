"""A run as one self-contained HTML page, without scripts."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pixelvae.reporting.figures import COLOURS

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #8884; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #161616; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 64rem;
       margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--faint); }
table { border-collapse: collapse; } td { padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--faint); }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; background: #fff; }
figcaption, .missing { opacity: .75; } pre { overflow-x: auto; background: var(--faint); padding: 1rem; }
"""

CURVES: dict[str, dict[str, str]] = {  # title with unit: {legend: name of the curve}
    "ELBO, nats": {"train": "train/elbo_nats", "validation": "validation/elbo_nats"},
    "E[log p(x|h)], nats": {"train": "train/log_px_nats", "validation": "validation/log_px_nats"},
    "KL, nats": {"train": "train/kl_nats", "validation": "validation/kl_nats"},
    "information in the latents, nats": {
        "mutual information": "validation/mutual_information_nats",
        "its cap": "validation/mutual_information_cap_nats",
    },
    "active units": {"validation": "validation/active_units"},
    "β, the weight of the KL": {"train": "train/beta"},
    "learning rate": {"train": "train/learning_rate"},
    "images per second": {"train": "train/images_per_second"},
}

Points = Sequence[tuple[int, float]]


class Picture(NamedTuple):
    """A PNG file and its caption."""

    caption: str
    png: bytes


class Run(NamedTuple):
    """The content of a page. For a part that is None or empty, the page shows the command that makes it.

    Attributes:
        name: The title.
        metrics: The content of metrics.json; units are in the names.
        curves: name: (step, value) points.
        pictures: Pictures, in the order of the page.
        config: The configuration, as text.
        environment: Versions and machine that made the numbers, as text.
        advice: section: the command that makes its content.
    """

    name: str
    metrics: Mapping[str, Any] | None
    curves: Mapping[str, Points]
    pictures: Sequence[Picture]
    config: str | None
    environment: str | None
    advice: Mapping[str, str]


def page(run: Run) -> str:
    """One self-contained HTML page: metrics, curves, pictures, configuration, environment."""
    sections = {
        "Metrics": _metrics(run.metrics) if run.metrics else None,
        "Curves": _curves(run.curves),
        "Pictures": "".join(_picture(picture) for picture in run.pictures) or None,
        "Configuration": f"<pre>{_shown(run.config)}</pre>" if run.config else None,
        "Environment": f"<pre>{_shown(run.environment)}</pre>" if run.environment else None,
    }
    body = "".join(
        f"<h2>{title}</h2>{content or _missing(run.advice.get(title, ''))}" for title, content in sections.items()
    )
    title = _shown(run.name)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>\n"
    )


def without_absolute_paths(text: str) -> str:
    """Shorten each absolute path to its end, because a page may be published.

    Example:
        >>> without_absolute_paths("root: /home/ann/birds, out: runs/a, ratio 3/4, file:///home/ann/b/c.png")
        'root: …/birds, out: runs/a, ratio 3/4, file:…/c.png'
        >>> without_absolute_paths(r"root: C:\\Users\\ann\\birds")
        'root: …/birds'
    """
    folder = r"[^\s\\/'\"<>,;:]+"
    return re.sub(rf"(?<![\w.~…)/\\])(?:[A-Za-z]:)?[\\/]+(?:{folder}[\\/]+)+({folder})", r"…/\1", text)


def _shown(text: str) -> str:
    """Text as HTML."""
    return escape(without_absolute_paths(text))


def _missing(command: str) -> str:
    return f'<p class="missing">Nothing here yet. To make it: <code>{_shown(command)}</code></p>'


def _metrics(metrics: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><td>{_shown(name)}</td><td>{_shown(formatted(v))}</td></tr>" for name, v in metrics.items())
    return f"<table>{rows}</table>"


def formatted(value: Any) -> str:
    """A value as text: thousands with commas, at most four decimals.

    Example:
        >>> formatted(2048000), formatted(-79.60654), formatted([0.5, 1])
        ('2,048,000', '-79.6065', '0.5, 1')
    """
    if isinstance(value, list):
        return ", ".join(map(formatted, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}".rstrip("0").rstrip(".")


def _curves(curves: Mapping[str, Points]) -> str | None:
    drawn = []
    for title, names in CURVES.items():
        lines = {label: curves[name] for label, name in names.items() if curves.get(name)}
        if lines:
            drawn.append(f'<img alt="{escape(title)}" src="{_uri(curve(title, lines), "svg+xml")}">')
    return f'<div class="curves">{"".join(drawn)}</div>' if drawn else None


def curve(title: str, lines: Mapping[str, Points]) -> bytes:
    """Curves against the step, as an SVG file."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot(title=title, xlabel="step")
    for colour, (label, points) in zip(COLOURS, lines.items(), strict=False):
        steps, values = zip(*points, strict=True)
        marker = "o" if len(points) < 50 else None
        axes.plot(steps, values, color=colour, label=label, linewidth=1.2, marker=marker, markersize=3, clip_on=False)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        axes.legend(frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _picture(picture: Picture) -> str:
    caption = _shown(picture.caption)
    uri = _uri(picture.png, "png")
    return f'<figure><img alt="{caption}" src="{uri}"><figcaption>{caption}</figcaption></figure>'


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode()}"
