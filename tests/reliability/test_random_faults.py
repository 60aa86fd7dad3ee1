"""Errors at random lines and interrupts at random moments leave everything as it was."""

import functools
import itertools
import os
import random
import signal

import faults
import pytest
import torch
from faults import Lines, global_state, user_settings

from skmissvae._utils.runtime import SeededGenerators, inference, torch_defaults
from skmissvae._utils.threads import thread_limit, thread_map

#: Number of trials of each test, with these models; ``make faults`` runs more, with all.
N_TRIALS = int(os.environ.get("SKMISSVAE_FAULTS", "8"))
MODELS = ("frame", "DeMissVAEImputer", "VAEDensityEstimator")
CPU = torch.device("cpu")
CONTEXTS = {
    "torch_defaults": torch_defaults,
    "inference": lambda: inference(CPU),
    "thread_limit": lambda: thread_limit(1),
    "thread_map": lambda: thread_map(CPU, 4),
    "generators": lambda: SeededGenerators(0, CPU).block(),
}


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_settings_are_restored_after_an_interrupt_at_any_line(context):
    with user_settings(2):
        with Lines() as lines, context():
            pass
        before, numbers = global_state(), sorted(itertools.chain(*lines.places.values()))
        assert len(numbers) >= 2
        for n in numbers:
            with Lines(n, KeyboardInterrupt()) as fault:
                with pytest.raises(KeyboardInterrupt), context():
                    pass
                assert fault.raised_at is not None
            assert global_state() == before


def check(trial, folder):
    """Run trials until ``N_TRIALS`` of them have raised an error; none may violate a law."""
    rng, n_raised, violations = random.Random(0), 0, []
    while n_raised < N_TRIALS:
        outcome = trial(rng, folder, models=MODELS)
        n_raised += outcome.was_raised
        violations += outcome.violations
    assert violations == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("error", [*faults.ERRORS, KeyboardInterrupt])
def test_an_error_at_a_random_line_leaves_everything_as_it_was(error, tmp_path):
    check(functools.partial(faults.at_random_line, make_error=error), tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals of POSIX")
def test_an_interrupt_at_a_random_moment_leaves_everything_as_it_was(tmp_path):
    check(faults.at_random_moment, tmp_path)
