"""Signal-to-noise ratios of the gradients of all methods.

``python benchmarks/papers/gradient_noise.py`` fits each method for ten epochs to the data of
``mog.py``, half of the cells missing, and measures the ratios of encoder and decoder for a batch of
64 rows, with 5, 15 and 25 draws and by two gradient estimators (figure 8 of Simkus and Gutmann
2024). Each run appends a line to ``gradient_noise.csv``; existing runs are not repeated.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import mog
from common import argument_parser, markdown, run_grid, versions, write_page
from gradient_signal import gradient_signal_to_noise

METHODS = ("MVAE", "MissVAE", "MissSVAE", "MIWAE", "MissIWAE", "MissSIWAE")
GRADIENTS = ("stl", "plain")
BUDGETS = (5, 15, 25)
BATCH = 64


def run(method: str, epochs: int, rows: int, n_repeats: int, seed: int) -> dict[str, Any]:
    """Fit a model, and measure the signal-to-noise ratios of its gradients."""
    incomplete = mog.half_hidden(mog.load()["train"][:rows], seed)
    density = mog.estimator(method, 5, epochs, seed).fit(incomplete)
    outcome: dict[str, float] = {}
    for gradient in GRADIENTS:
        for budget in BUDGETS:
            density.set_params(n_draws=mog.n_draws(method, budget), gradient=gradient)
            ratio = gradient_signal_to_noise(
                density, incomplete[:BATCH], n_repeats=n_repeats, random_state=0
            )
            outcome[f"encoder, {gradient}, {budget}"] = ratio.encoder
            outcome[f"decoder, {gradient}, {budget}"] = ratio.decoder
    return outcome


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="2,000 rows, 5 epochs")
    options = parser.parse_args()
    quick = options.quick
    epochs, rows, n_repeats = (5, 2000, 50) if quick else (10, 20_000, 300)
    path = Path(__file__).with_name("gradient_noise_quick.csv" if quick else "gradient_noise.csv")
    cells = [(method, epochs, rows, n_repeats, 0) for method in METHODS]
    keys = ["method", "epochs", "rows", "n_repeats", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    frame = results.set_index("method").drop(columns=keys[1:]).map("{:.3f}".format)
    parts = [
        f"\n**{part}**\n\n"
        + markdown(
            frame[[name for name in frame if name.startswith(part)]].rename(
                columns=lambda name: name.split(", ", 1)[1] + " draws"
            ),
            "method",
        )
        for part in ("encoder", "decoder")
    ]
    text = "".join(parts).lstrip() + (
        f"\nMean over weights of |E[g]| / sd(g) for a batch of {BATCH} rows, over {n_repeats} "
        f"gradients, after {epochs} epochs with 5 draws. stl: sticking the landing, which is "
        f"biased for the last three methods. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
