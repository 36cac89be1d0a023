"""Draw results.svg: the duration of the same fits in several systems."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

PICTURE = Path(__file__).with_name("results.svg")


def draw(seconds: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a bar chart for each fit, shortest duration first.

    Args:
        seconds: Durations by fit and system.
    """
    # Makes the file reproducible.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "fitserve", "font.family": "sans-serif"}
    size = (9, 0.6 + 0.35 * max(map(len, seconds.values())))
    figure, panels = plt.subplots(1, len(seconds), figsize=size, layout="constrained", squeeze=False)
    for axes, (fit, systems) in zip(panels[0], seconds.items(), strict=True):
        names = sorted(systems, key=lambda name: systems[name], reverse=True)
        milliseconds = [1e3 * systems[name] for name in names]
        colors = ["C1" if name == "Fitserve" else "C0" for name in names]
        bars = axes.barh(names, milliseconds, color=colors)
        axes.bar_label(bars, fmt="%.0f ms", padding=3)
        axes.set(title=fit, xscale="log", xlim=(min(milliseconds) / 2, 8 * max(milliseconds)))
        axes.title.set_fontsize(10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, metadata={"Date": None})
    plt.close(figure)
