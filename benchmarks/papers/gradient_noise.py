"""Signal-to-noise ratios of the gradients of every method, on the paper's toy.

``python benchmarks/papers/gradient_noise.py`` fits each method for some epochs to the mixture of
``mog.py``, half of its cells missing, and measures the ratios of encoder and decoder for a batch of
64 rows, at budgets of 5, 15 and 25 draws and by two estimators of the gradient (figure 8 of Simkus
and Gutmann 2024). Each run adds a line to ``gradient_noise.csv``; runs that are there are not done
again.
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
    """Fit a model and measure its gradients."""
    incomplete = mog.half_hidden(mog.load()["train"][:rows], seed)
    density = mog.estimator(method, 5, epochs, seed).fit(incomplete)
    found: dict[str, float] = {}
    for gradient in GRADIENTS:
        for budget in BUDGETS:
            density.set_params(n_draws=mog.n_draws(method, budget), gradient=gradient)
            ratio = gradient_signal_to_noise(
                density, incomplete[:BATCH], n_repeats=n_repeats, random_state=0
            )
            found[f"encoder, {gradient}, {budget}"] = ratio.encoder
            found[f"decoder, {gradient}, {budget}"] = ratio.decoder
    return found


def main() -> None:
    """Run what is not done yet and write the table."""
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
        f"\nMean over weights of |E[g]| / sd(g), of a batch of {BATCH} rows after {epochs} epochs "
        f"at 5 draws, over {n_repeats} gradients; stl: sticking the landing, which is biased for "
        f"the last three. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
