"""Progress bars, in a terminal or a notebook."""

import warnings

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # a notebook without ipywidgets shows text, without a warning
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
