"""The decomposed objectives: gradients the slow way, imputations that persist and go on."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from estimators import every_estimator, quiet, tiny
from estimators import table as holed
from helpers import generator, stream, tiny_rows, tiny_vae

from skmissvae import DeMissVAEImputer, MissSIWAEImputer, VAEDensityEstimator
from skmissvae.bounds import elbo
from skmissvae.objectives import (
    DECOMPOSED,
    Batch,
    BoundObjective,
    DeMissObjective,
    ImputationStore,
)
from skmissvae.samplers import LAIR, SAMPLERS, MetropolisWithinGibbs, PseudoGibbs, encodings
from skmissvae.training import Settings, train

pytestmark = quiet
K = 3


def objective_of(rows, name="DeMissVAE", sampler=None, n_draws=1):
    sampler = LAIR() if sampler is None else sampler
    store = ImputationStore(rows, K, 2 if sampler.keeps_z else 0, generator(4))
    decoder, encoder = DECOMPOSED[name]
    return DeMissObjective(store, sampler, n_draws, decoder=decoder, encoder=encoder)


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
    decoder_term, encoder_term = DECOMPOSED[name]
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
    torch.testing.assert_close(-loss, slow_terms(slow, rows, completed, n_draws, stream(5))[0])
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


def test_rows_held_out_move_with_the_epochs():
    vae, rows = tiny_vae(n_components=1), tiny_rows(40)
    objective = objective_of(rows)
    first = objective.imputations.x.clone()
    parts = [Batch(*(part[rows_of] for part in rows)) for rows_of in (slice(30), slice(30, 40))]
    settings = Settings(max_iter=3, batch_size=8, learning_rate=1e-3)
    state = train(vae, objective, parts[0], settings, generator(), held_out=parts[1])
    assert len(state.history["validation_bound"]) == 3
    assert torch.equal((objective.imputations.x != first).any(1), ~rows.observed)


def test_a_frozen_part_stays_as_it_is():
    vae, rows = tiny_vae(dropout=0.5), tiny_rows(40)
    before = copy.deepcopy(vae.state_dict())
    objective = BoundObjective(elbo, 2, stratified=False, gradient="plain")
    settings = Settings(max_iter=2, batch_size=8, learning_rate=1e-2)
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
    estimator = tiny(cls, max_iter=20, learning_rate=3e-3).fit(X)
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
