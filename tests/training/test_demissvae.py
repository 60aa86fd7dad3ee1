"""The decomposed objectives: gradients the slow way, imputations that persist and go on."""

import contextlib
import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import every_estimator, quiet, tiny
from estimator_cases import table as holed
from helpers import generator, stream, tiny_rows, tiny_vae
from sklearn.exceptions import NotFittedError

from skmissvae import DeMissVAEImputer, MissSIWAEImputer, VAEDensityEstimator
from skmissvae.inference import samplers as samplers
from skmissvae.inference.samplers import (
    LAIR,
    SAMPLERS,
    MetropolisWithinGibbs,
    PseudoGibbs,
    encodings,
)
from skmissvae.training.demissvae import DECOMPOSED, DeMissObjective, ImputationStore
from skmissvae.training.loop import train
from skmissvae.training.objectives import Batch, BoundObjective
from skmissvae.training.optim import TrainingSettings
from skmissvae.vae import elbo
from skmissvae.vae.factor_analysis import factor_analysis

pytestmark = quiet
K = 3


def objective_of(rows, name="DeMissVAE", sampler=None, n_draws=1):
    sampler = LAIR() if sampler is None else sampler
    store = ImputationStore(rows, K, 2 if sampler.keeps_z else 0, generator(4))
    return DeMissObjective(store, sampler, n_draws, DECOMPOSED[name])


def gradients(vae):
    return {name: copy.deepcopy(p.grad) for name, p in vae.named_parameters() if p.requires_grad}


def slow_terms(vae, rows, completed, n_draws, noise):
    """Return both objectives by loops over draws and imputations."""
    z = encodings(vae, completed).ancestral(n_draws, noise)[0]  # (S, K, B, L)
    ones = torch.ones_like(rows.observed)
    q = [vae.posterior(completed[k], ones) for k in range(K)]
    cvi, mvb = 0.0, 0.0
    for s in range(n_draws):
        for k in range(K):
            point = z[s, k].unsqueeze(0)
            mixture = torch.stack([q_j.log_prob(point) for q_j in q]).logsumexp(0) - np.log(K)
            cvi = cvi + vae.log_joint(rows.x, rows.observed, point) - mixture
            full = vae.log_joint(completed[k], ones, point)
            mvb = mvb + full - q[k].detach().log_prob(point)
    return cvi.mean() / (n_draws * K), mvb.mean() / (n_draws * K)


@pytest.mark.parametrize("prior", ["normal", "student_t", "mixture"])
@pytest.mark.parametrize("n_draws", [1, 2])
@pytest.mark.parametrize("name", DECOMPOSED)
def test_gradients_are_those_of_two_backward_passes(name, n_draws, prior):
    vae = tiny_vae(n_components=1, prior=prior).double()
    rows = tiny_rows(7, dtype=torch.float64)
    objective = objective_of(rows, name, n_draws=n_draws)
    objective.imputations.x = objective.imputations.x.double()
    completed = objective.imputations.read(rows.position).x
    slow = copy.deepcopy(vae)
    alone = DECOMPOSED[name]
    decoder_term, encoder_term = alone or "cvi", alone or "mvb"
    parts = {
        decoder_term: [slow.decoder, slow.prior, slow.likelihood],
        encoder_term: [slow.encoder, slow.family],
    }
    if decoder_term == encoder_term:
        parts = {decoder_term: [slow]}
    for term, modules in parts.items():
        cvi, mvb = slow_terms(slow, rows, completed, n_draws, stream(5))
        weights = [p for module in modules for p in module.parameters() if p.requires_grad]
        found = torch.autograd.grad(-(cvi if term == "cvi" else mvb), weights, allow_unused=True)
        for weight, gradient in zip(weights, found, strict=True):
            weight.grad = gradient
    loss = objective.backward(vae, rows, stream(5))
    cvi, mvb = slow_terms(slow, rows, completed, n_draws, stream(5))
    torch.testing.assert_close(-loss, cvi if decoder_term == "cvi" else mvb)
    expected = gradients(slow)
    for weight, gradient in gradients(vae).items():
        if gradient is None or expected[weight] is None:
            assert gradient is None or not gradient.any(), weight
            assert expected[weight] is None or not expected[weight].any(), weight
        else:
            torch.testing.assert_close(gradient, expected[weight], msg=weight)


def test_complete_rows_make_it_a_plain_vae():
    vae = tiny_vae(n_components=1).double()
    rows = tiny_rows(6, dtype=torch.float64)
    x = rows.x.float().double()  # the imputations are kept in single precision
    rows = rows._replace(x=x, observed=torch.ones_like(rows.observed))
    objective = objective_of(rows)
    objective.imputations.x = objective.imputations.x.double()
    assert (objective.imputations.x == rows.x.unsqueeze(1)).all()
    objective.backward(vae, rows, stream(1))
    plain = copy.deepcopy(vae)
    plain.zero_grad()
    bound = BoundObjective(elbo, K, stratified=False, gradient="stl")
    loss = bound.backward(plain, rows, stream(1))
    expected = gradients(plain)
    for weight, gradient in gradients(vae).items():
        torch.testing.assert_close(gradient, expected[weight], msg=weight)
    torch.testing.assert_close(objective.bound(vae, rows, stream(1)).mean(), -loss)


def test_imputations_start_from_the_observed_cells_of_their_column():
    rows = tiny_rows(50)
    store = ImputationStore(rows, K, 0, generator())
    for d in range(4):
        seen = set(rows.x[rows.observed[:, d], d].tolist())
        assert set(store.x[..., d].flatten().tolist()) <= seen
        assert len(set(store.x[~rows.observed[:, d], :, d].flatten().tolist())) > 5
    cells = rows.observed.unsqueeze(1).expand(-1, K, -1)
    assert torch.equal(store.x[cells], rows.x.unsqueeze(1).expand(-1, K, -1)[cells])


@pytest.mark.parametrize("dropout", [0.0, 0.3])  # with a forward pass shared, and with its own
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "importance"])
def test_imputations_move_from_the_second_visit_on(name, dropout):
    vae, rows = tiny_vae(n_components=1, dropout=dropout), tiny_rows(20)
    objective = objective_of(rows, sampler=SAMPLERS[name])
    first = objective.imputations.x.clone()
    half = Batch(*(part[:10] for part in rows))
    noise = stream(0, torch.float32)
    objective.backward(vae, half, noise)
    assert torch.equal(objective.imputations.x, first)
    objective.backward(vae, half, noise)
    moved = (objective.imputations.x != first).any(1)
    assert torch.equal(moved[:10], ~rows.observed[:10])
    assert not moved[10:].any()
    assert vae.training
    objective.advance(vae, Batch(*(part[10:] for part in rows)), noise)
    objective.advance(vae, Batch(*(part[10:] for part in rows)), noise)
    assert torch.equal((objective.imputations.x != first).any(1), ~rows.observed)


def test_imputations_start_from_rows_that_are_trained_on():
    rows = tiny_rows(50)
    source = Batch(*(part[:30] for part in rows))
    store = ImputationStore(rows, K, 0, generator(), source)
    missing = ~rows.observed
    for d in range(4):
        seen = set(source.x[source.observed[:, d], d].tolist())
        assert set(store.x[missing[:, d], :, d].flatten().tolist()) <= seen


def test_a_store_that_does_not_fit_into_memory_is_in_a_file(monkeypatch):
    rows = tiny_rows(20)
    in_memory = ImputationStore(rows, K, 2, generator())
    monkeypatch.setattr("skmissvae.training.demissvae._free_memory", lambda: 0)
    store = ImputationStore(rows, K, 2, generator())
    assert torch.equal(store.x, in_memory.x)
    where = torch.tensor([3, 7])
    chain = in_memory.read(where)
    chain = chain._replace(x=chain.x + 1, z=chain.z + 1)
    for _ in range(2):  # imputations stay as they are on the first visit
        store.write(where, chain)
    assert torch.equal(store.read(where).x, chain.x)
    assert torch.equal(store.read(where).z, chain.z)
    assert torch.equal(store.x[8:], in_memory.x[8:])
    # and so does a fit
    X = holed()
    monkeypatch.undo()
    expected = tiny(DeMissVAEImputer).fit_transform(X)
    monkeypatch.setattr("skmissvae.training.demissvae._free_memory", lambda: 0)
    np.testing.assert_array_equal(tiny(DeMissVAEImputer).fit_transform(X), expected)


def test_systems_that_do_not_tell_their_memory_are_taken_to_have_some(monkeypatch):
    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("os.sysconf", unknown, raising=False)
    assert ImputationStore(tiny_rows(5), K, 0, generator()).x.shape == (5, K, 4)


def test_parts_in_evaluation_mode_stay_there():
    vae, rows = tiny_vae(n_components=1, dropout=0.3), tiny_rows(10)
    objective = objective_of(rows)
    vae.train()
    vae.decoder.eval()
    objective.backward(vae, rows, stream(0, torch.float32))
    assert vae.encoder.training
    assert not any(module.training for module in vae.decoder.modules())


@pytest.mark.parametrize("cls", [DeMissVAEImputer, MissSIWAEImputer])
def test_rows_held_out_are_not_learned_from(cls, monkeypatch):
    X = holed(100)
    seen = []
    monkeypatch.setattr(
        "skmissvae.vae.factor_analysis.factor_analysis",
        lambda x, *rest: seen.append(len(x)) or factor_analysis(x, *rest),
    )
    tiny(cls, early_stopping=True, max_iter=10).fit(X)
    assert seen == ([] if cls is DeMissVAEImputer else [90])


def test_rows_held_out_move_with_the_epochs():
    vae, rows = tiny_vae(n_components=1), tiny_rows(40)
    objective = objective_of(rows)
    first = objective.imputations.x.clone()
    parts = [Batch(*(part[rows_of] for part in rows)) for rows_of in (slice(30), slice(30, 40))]
    settings = TrainingSettings(max_iter=3, batch_size=8, learning_rate=1e-3)
    state = train(vae, objective, parts[0], settings, generator(), held_out=parts[1])
    assert len(state.history["validation_bound"]) == 3
    assert torch.equal((objective.imputations.x != first).any(1), ~rows.observed)


def test_a_frozen_part_stays_as_it_is():
    vae, rows = tiny_vae(dropout=0.5), tiny_rows(40)
    before = copy.deepcopy(vae.state_dict())
    objective = BoundObjective(elbo, 2, stratified=False, gradient="plain")
    settings = TrainingSettings(max_iter=2, batch_size=8, learning_rate=1e-2)
    train(vae, objective, rows, settings, generator(), frozen=[vae.decoder, vae.prior])
    moved = {
        name for name, value in vae.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {name for name in before if name.startswith("encoder")}
    assert all(p.requires_grad for p in vae.decoder.parameters())


@pytest.mark.parametrize("sampler", [LAIR(), MetropolisWithinGibbs(), PseudoGibbs()])
def test_chains_go_on_after_a_checkpoint(sampler):
    X = holed()
    straight = tiny(DeMissVAEImputer, sampler=sampler, warm_start=True).fit(X)
    resumed = pickle.loads(pickle.dumps(straight))
    for name, values in straight._chains.items():
        np.testing.assert_array_equal(resumed._chains[name], values)
    before = copy.deepcopy(straight)
    for estimator in (straight, resumed):
        estimator.fit(X)
    np.testing.assert_array_equal(straight._chains["x"], resumed._chains["x"])
    np.testing.assert_array_equal(straight.transform(X), resumed.transform(X))
    assert straight._chains["visited"].all()
    # those that were lost start anew
    del before._chains
    assert not np.array_equal(before.fit(X)._chains["x"], straight._chains["x"])


def test_copies_for_callbacks_hold_the_chains_of_that_moment():
    X = holed()
    estimator = tiny(DeMissVAEImputer, warm_start=True, max_iter=4)
    chains = []
    with monkeypatched_epochs(chains):
        estimator.fit(X)
        estimator.fit(X)
    # four epochs of the method each time, then two of the other encoder
    assert [copied is not None for copied in chains] == 2 * (4 * [True] + 2 * [False])
    assert len({copied["x"].tobytes() for copied in chains if copied}) >= 7  # the first is delayed
    np.testing.assert_array_equal(chains[-3]["x"], estimator._chains["x"])


@contextlib.contextmanager
def monkeypatched_epochs(chains):
    """Collect the chains that are handed to callbacks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "skmissvae.training.callbacks.Epochs.end",
            lambda self, fitted: chains.append(fitted().get("_chains")),
        )
        yield


@pytest.mark.parametrize(("before", "after"), [("MissSIWAE", "DeMissVAE"), ("DeMissVAE", "MVAE")])
def test_methods_of_other_encoders_cannot_go_on(before, after):
    X = holed()
    density = tiny(VAEDensityEstimator, objective=before, warm_start=True).fit(X)
    expected = density.score_samples(X)
    density.set_params(objective=after)
    for call in (density.fit, density.partial_fit, density.refit_encoder):
        with pytest.raises(ValueError, match=f"cannot go on by the method {after}.*'objective'"):
            call(X)
    np.testing.assert_array_equal(density.score_samples(X), expected)


def test_contradictions_are_told_before_training():
    with pytest.raises(ValueError, match="'gradient' of DeMissVAEImputer cannot be 'dreg'"):
        tiny(DeMissVAEImputer, gradient="dreg", max_iter=10**9).fit(holed())


def test_new_rows_of_a_stream_are_brought_up_to_the_model(monkeypatch):
    moved = []
    advance = DeMissObjective.advance
    monkeypatch.setattr(
        DeMissObjective,
        "advance",
        lambda self, vae, batch, noise: (
            moved.append(len(batch.x)) or advance(self, vae, batch, noise)
        ),
    )
    imputer = tiny(DeMissVAEImputer, batch_size=32).partial_fit(holed())
    assert moved == []  # the model knows nothing yet
    imputer.partial_fit(holed(seed=1))
    assert moved == 10 * [32, 8]


def test_chains_complete_the_rows_whose_weights_are_poor():
    X = holed(60, share=0.4)
    X[::2] *= 4.0  # unlike anything that was seen
    imputer = tiny(DeMissVAEImputer, n_importance_draws=100).fit(holed(60))
    poor = imputer.effective_sample_size(X) < 10
    holes = np.isnan(X).any(1)
    assert (poor & holes).any()
    assert (~poor & holes).any()
    both = imputer.transform(X)
    weights = imputer.set_params(sampler="importance").transform(X)
    np.testing.assert_array_equal((both != weights).any(1), poor & holes)


def test_importance_resampling_has_the_encoder_of_incomplete_rows(monkeypatch):
    X = holed(60, share=0.4)
    imputer = tiny(DeMissVAEImputer).fit(X)
    given = imputer._conditional()
    assert given.completed is imputer.completed_vae_
    used = []
    run = samplers.run
    monkeypatch.setattr(
        samplers, "run", lambda sampler, vae, *rest: used.append(vae) or run(sampler, vae, *rest)
    )
    x, observed = torch.zeros(1, 4), torch.tensor([[True, False, True, False]])
    for sampler in SAMPLERS.values():
        with torch.no_grad():
            given._replace(sampler=sampler).run(x, observed, stream(0, torch.float32))
    assert [vae is imputer.vae_ for vae in used] == [name == "importance" for name in SAMPLERS]


def test_chains_of_other_rows_are_not_taken_up():
    rows, other = tiny_rows(20), tiny_rows(20, seed=1)
    state = ImputationStore(rows, K, 0, generator()).state()
    assert ImputationStore(rows, K, 0, generator(9)).fits(state)
    assert not ImputationStore(other, K, 0, generator()).fits(state)
    assert not ImputationStore(rows, K + 1, 0, generator()).fits(state)
    assert not ImputationStore(rows, K, 2, generator()).fits(state)


def test_chains_stay_with_the_estimator_only_where_they_are_wanted():
    X = holed()
    assert not hasattr(tiny(DeMissVAEImputer).fit(X), "_chains")
    assert hasattr(tiny(DeMissVAEImputer, warm_start=True).fit(X), "_chains")
    piecewise = tiny(DeMissVAEImputer).partial_fit(X).partial_fit(X[:20]).partial_fit(X)
    assert len(piecewise._chains["x"]) == len(X)


@pytest.mark.parametrize("sampler", ["importance", SAMPLERS["importance"]])
@pytest.mark.parametrize("cls", [DeMissVAEImputer, VAEDensityEstimator])
def test_imputations_are_moved_by_chains_alone(cls, sampler):
    estimator = tiny(cls, sampler=sampler)
    if cls is VAEDensityEstimator:
        assert estimator.fit(holed()).vae_ is not None  # the others do without
        estimator.set_params(objective="DeMissVAE")
    with pytest.raises(ValueError, match=r"Parameter 'sampler' of .* cannot be"):
        estimator.fit(holed())


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "importance"])
def test_every_imputer_runs_chains(sampler):
    X = holed(12)
    imputer = tiny(MissSIWAEImputer).fit(X)
    by_weights = imputer.transform(X)
    imputer.set_params(sampler=sampler, n_sampler_steps=4)
    by_chains = imputer.transform(X)
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(by_chains[seen], X[seen])
    assert not np.array_equal(by_chains, by_weights)
    np.testing.assert_array_equal(imputer.transform(X[::-1])[::-1], by_chains)
    np.testing.assert_array_equal(imputer.transform(X[3:5]), by_chains[3:5])
    for estimate in ("median", "mode", "draw"):
        assert np.isfinite(imputer.set_params(estimate=estimate).transform(X)).all()
    one, other = imputer.impute(X, 2, random_state=0)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(one, imputer.impute(X, 2, random_state=0)[0])


@every_estimator
def test_a_refitted_encoder_guides_the_same_model(cls):
    X = holed(60)
    complete = np.where(np.isnan(X), np.nanmean(X, 0), X)
    # a draw per component leaves its encoder too noisy for as few steps
    options = {"n_draws": 2} if cls is MissSIWAEImputer else {}
    estimator = tiny(cls, max_iter=20, learning_rate=3e-3, **options).fit(X)
    before = copy.deepcopy(estimator.vae_.state_dict())
    other = estimator.refit_encoder(complete)
    after = other.vae_.state_dict()
    for name, values in estimator.vae_.state_dict().items():
        assert torch.equal(values, before[name])
        moved = name.startswith(("encoder", "family"))
        assert torch.equal(values, after[name]) or moved, name
    assert not torch.equal(before["encoder.outlet.weight"], after["encoder.outlet.weight"])
    assert other.get_params() == estimator.get_params()
    np.testing.assert_array_equal(other.sample(5), estimator.sample(5))
    gain = other.effective_sample_size(complete) / estimator.effective_sample_size(complete)
    assert np.median(gain) > 1
    assert pickle.dumps(estimator.refit_encoder(complete)) == pickle.dumps(other)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "importance"])
def test_chains_are_diagnosed(sampler):
    X = pd.DataFrame(holed(12), index=list("abcdefghijkl"))
    X.loc["a"], X.loc["b"] = 1.0, np.nan
    imputer = tiny(MissSIWAEImputer, sampler=sampler, n_sampler_steps=40).fit(X)
    found = imputer.chain_diagnostics(X)
    assert list(found.columns) == ["acceptance", "ess", "r_hat"]
    assert found.index.equals(X.index)
    assert found.loc[["a", "b"]].isna().all(axis=None)  # nothing to draw; nothing to condition on
    rest = found.drop(index=["a", "b"])
    missing = X.drop(index=["a", "b"]).isna().any(axis=1)
    assert rest[missing].notna().all(axis=None)
    assert rest[~missing].isna().all(axis=None)
    assert rest["acceptance"].dropna().between(0, 1).all()
    assert (rest["acceptance"].dropna() == 1).all() == (sampler != "metropolis")
    assert (rest["r_hat"].dropna() > 0.8).all()
    if sampler == "lair":  # its chains exchange latents
        assert (rest["r_hat"].dropna() < 1.5).all()
    pd.testing.assert_frame_equal(imputer.chain_diagnostics(X[::-1])[::-1], found)


def test_weights_have_no_chains_to_diagnose():
    imputer = tiny(MissSIWAEImputer).fit(holed())
    with pytest.raises(ValueError, match=r"'importance', which runs no chains; effective_sample"):
        imputer.chain_diagnostics(holed())


def test_poor_chains_name_their_remedy():
    X = holed(60, share=0.6)
    imputer = tiny(MissSIWAEImputer, sampler="metropolis", n_sampler_steps=8).fit(X)
    with pytest.warns(UserWarning, match=r"Raise n_sampler_steps.*refit_encoder\(X_completed\)"):
        imputer.transform(X)
    with pytest.warns(UserWarning, match=r"effective_sample_size\(X\) tells which rows"):
        imputer.score_samples(10 * X)


def test_diagnostics_want_a_fitted_estimator():
    with pytest.raises(NotFittedError):
        tiny(MissSIWAEImputer).chain_diagnostics(holed())
