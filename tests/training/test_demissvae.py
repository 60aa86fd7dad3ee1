"""DeMissVAE: gradients of both objectives, stored imputations, chains, two encoders."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import every_estimator, quiet, tiny
from estimator_cases import table as incomplete
from helpers import generator, stream, tiny_rows, tiny_vae
from sklearn.exceptions import NotFittedError

from skmissvae import DeMissVAEImputer, MissSIWAEImputer, VAEDensityEstimator
from skmissvae.inference import conditional
from skmissvae.inference.samplers import (
    LAIR,
    SAMPLERS,
    MetropolisWithinGibbs,
    PseudoGibbs,
    encodings,
)
from skmissvae.inspection import chain_diagnostics
from skmissvae.training import METHODS
from skmissvae.training.callbacks import FitProgress
from skmissvae.training.demissvae import DeMissObjective, ImputationStore
from skmissvae.training.loop import train
from skmissvae.training.objectives import BoundObjective
from skmissvae.training.optim import TrainingSettings
from skmissvae.vae import elbo

pytestmark = quiet
K = 3
TERMS = {name: m.term for name, m in METHODS.items() if m.stores_imputations}
CHAINS = [name for name in SAMPLERS if name != "importance"]
SAMPLER_CLASSES = {"lair": LAIR, "metropolis": MetropolisWithinGibbs, "pseudo_gibbs": PseudoGibbs}


def objective_of(rows, name="DeMissVAE", sampler=None, n_draws=1):
    sampler = LAIR() if sampler is None else sampler
    store = ImputationStore(rows, K, 2 if sampler.keeps_z else 0, generator(4), rows)
    return DeMissObjective(store, sampler, n_draws, TERMS[name])


def gradients(vae):
    return {name: copy.deepcopy(p.grad) for name, p in vae.named_parameters() if p.requires_grad}


def terms_by_loops(vae, rows, completed, n_draws, noise):
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
@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_those_of_two_backward_passes(name, n_draws, prior):
    vae = tiny_vae(n_components=1, prior=prior).double()
    rows = tiny_rows(7, dtype=torch.float64)
    objective = objective_of(rows, name, n_draws=n_draws)
    objective.imputations.x = objective.imputations.x.double()
    completed = objective.imputations.read(rows.position).x
    reference = copy.deepcopy(vae)
    term = TERMS[name]
    decoder_term, encoder_term = term or "cvi", term or "mvb"
    parts = {
        decoder_term: [reference.decoder, reference.prior, reference.likelihood],
        encoder_term: [reference.encoder, reference.family],
    }
    if decoder_term == encoder_term:
        parts = {decoder_term: [reference]}
    for term, modules in parts.items():
        cvi, mvb = terms_by_loops(reference, rows, completed, n_draws, stream(5))
        weights = [p for module in modules for p in module.parameters() if p.requires_grad]
        loss = -(cvi if term == "cvi" else mvb)
        grads = torch.autograd.grad(loss, weights, allow_unused=True)
        for weight, gradient in zip(weights, grads, strict=True):
            weight.grad = gradient
    loss = objective.backward(vae, rows, stream(5))
    cvi, mvb = terms_by_loops(reference, rows, completed, n_draws, stream(5))
    torch.testing.assert_close(-loss, cvi if decoder_term == "cvi" else mvb)
    expected = gradients(reference)
    for weight, gradient in gradients(vae).items():
        if gradient is None or expected[weight] is None:
            assert gradient is None or not gradient.any(), weight
            assert expected[weight] is None or not expected[weight].any(), weight
        else:
            torch.testing.assert_close(gradient, expected[weight], msg=weight)


def test_objective_of_complete_rows_is_the_elbo():
    vae = tiny_vae(n_components=1).double()
    rows = tiny_rows(6, dtype=torch.float64)
    x = rows.x.float().double()  # imputations are stored in single precision
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


def test_initial_imputations_are_observed_values_of_the_column():
    rows = tiny_rows(50)
    store = ImputationStore(rows, K, 0, generator(), rows)
    for d in range(4):
        observed_values = set(rows.x[rows.observed[:, d], d].tolist())
        assert set(store.x[..., d].flatten().tolist()) <= observed_values
        assert len(set(store.x[~rows.observed[:, d], :, d].flatten().tolist())) > 5
    cells = rows.observed.unsqueeze(1).expand(-1, K, -1)
    assert torch.equal(store.x[cells], rows.x.unsqueeze(1).expand(-1, K, -1)[cells])


@pytest.mark.parametrize("dropout", [0.0, 0.3])  # with and without a shared forward pass
@pytest.mark.parametrize("name", CHAINS)
def test_imputations_change_from_the_second_visit(name, dropout):
    vae, rows = tiny_vae(n_components=1, dropout=dropout), tiny_rows(20)
    objective = objective_of(rows, sampler=SAMPLERS[name])
    first = objective.imputations.x.clone()
    half = rows.part(slice(10))
    noise = stream(0, torch.float32)
    objective.backward(vae, half, noise)
    assert torch.equal(objective.imputations.x, first)
    objective.backward(vae, half, noise)
    changed = (objective.imputations.x != first).any(1)
    assert torch.equal(changed[:10], ~rows.observed[:10])
    assert not changed[10:].any()
    assert vae.training
    for _ in range(2):
        objective.update_unused(vae, rows.part(slice(10, None)), noise)
    assert torch.equal((objective.imputations.x != first).any(1), ~rows.observed)


def test_initial_imputations_come_from_training_rows():
    rows = tiny_rows(50)
    source = rows.part(slice(30))
    store = ImputationStore(rows, K, 0, generator(), source)
    missing = ~rows.observed
    for d in range(4):
        observed_values = set(source.x[source.observed[:, d], d].tolist())
        assert set(store.x[missing[:, d], :, d].flatten().tolist()) <= observed_values


def test_too_many_imputations_are_a_memory_error():
    rows = tiny_rows(20)
    with pytest.raises(MemoryError, match="of 20 rows with 4 columns that DeMissVAE stores do not"):
        ImputationStore(rows, 10**12, 2, generator(), rows)


def test_parts_in_evaluation_mode_remain_in_it():
    vae, rows = tiny_vae(n_components=1, dropout=0.3), tiny_rows(10)
    objective = objective_of(rows)
    vae.train()
    vae.decoder.eval()
    objective.backward(vae, rows, stream(0, torch.float32))
    assert vae.encoder.training
    assert not any(module.training for module in vae.decoder.modules())


def test_imputations_of_held_out_rows_change_with_the_epochs():
    vae, rows = tiny_vae(n_components=1), tiny_rows(40)
    objective = objective_of(rows)
    first = objective.imputations.x.clone()
    parts = [rows.part(rows_of) for rows_of in (slice(30), slice(30, 40))]
    settings = TrainingSettings(max_iter=3, batch_size=8, learning_rate=1e-3)
    state = train(vae, objective, parts[0], settings, generator(), held_out=parts[1])
    assert len(state.history["validation_bound"]) == 3
    assert torch.equal((objective.imputations.x != first).any(1), ~rows.observed)


@pytest.mark.parametrize("sampler", [LAIR(), MetropolisWithinGibbs(), PseudoGibbs()])
def test_chains_continue_after_pickling(sampler):
    X = incomplete()
    uninterrupted = tiny(DeMissVAEImputer, sampler=sampler, warm_start=True).fit(X)
    restored = pickle.loads(pickle.dumps(uninterrupted))
    before = copy.deepcopy(uninterrupted)
    for estimator in (uninterrupted, restored):
        estimator.fit(X)
    imputations = uninterrupted.model_.imputations
    np.testing.assert_array_equal(restored.model_.imputations["x"], imputations["x"])
    np.testing.assert_array_equal(uninterrupted.transform(X), restored.transform(X))
    assert imputations["visited"].all()
    # without stored imputations new chains begin
    before.model_ = before.model_.replace(imputations=None)
    assert not np.array_equal(before.fit(X).model_.imputations["x"], imputations["x"])


def test_models_for_callbacks_have_the_imputations_of_their_epoch(monkeypatch):
    X, chains = incomplete(), []
    monkeypatch.setattr(
        FitProgress,
        "end_epoch",
        lambda self, history: chains.append(self._fitted_attributes()["model_"].imputations),
    )
    estimator = tiny(DeMissVAEImputer, warm_start=True, max_iter=4).fit(X).fit(X)
    # four epochs with stored imputations, then two of the encoder, in both fits
    assert len(chains) == 12
    by_epoch = [imputations["x"].tobytes() for imputations in chains]
    assert len(set(by_epoch)) == 8
    assert set(by_epoch[9:]) == {estimator.model_.imputations["x"].tobytes()}


@pytest.mark.parametrize(("before", "after"), [("MissSIWAE", "DeMissVAE"), ("DeMissVAE", "MVAE")])
def test_continuation_with_a_method_of_other_encoders_is_refused(before, after):
    X = incomplete()
    density = tiny(VAEDensityEstimator, objective=before, warm_start=True).fit(X)
    expected = density.score_samples(X)
    density.set_params(objective=after)
    for call in (density.fit, density.partial_fit, density.refit_encoder):
        with pytest.raises(
            ValueError, match=f"cannot continue with the method {after}.*'objective'"
        ):
            call(X)
    np.testing.assert_array_equal(density.score_samples(X), expected)


def test_invalid_gradient_is_refused_before_training():
    with pytest.raises(ValueError, match="'gradient' cannot be 'dreg' for"):
        tiny(DeMissVAEImputer, gradient="dreg", max_iter=10**9).fit(incomplete())


def test_chains_of_new_rows_take_steps_before_training_continues(monkeypatch):
    n_rows, update = [], DeMissObjective.update_unused

    def recorded(self, vae, batch, noise):
        n_rows.append(len(batch.x))
        return update(self, vae, batch, noise)

    monkeypatch.setattr(DeMissObjective, "update_unused", recorded)
    imputer = tiny(DeMissVAEImputer, batch_size=32).partial_fit(incomplete())
    assert n_rows == []  # the model is untrained
    imputer.partial_fit(incomplete(seed=1))
    assert n_rows == 10 * [32, 8]


def test_chains_complete_rows_with_a_low_effective_sample_size():
    X = incomplete(60, share=0.4)
    X[::2] *= 4.0  # outliers
    imputer = tiny(DeMissVAEImputer, n_importance_draws=100).fit(incomplete(60))
    has_low_ess = imputer.map_rows(X, conditional.ConditionalModel.means, batched=True).ess < 10
    is_incomplete = np.isnan(X).any(1)
    assert (has_low_ess & is_incomplete).any()
    assert (~has_low_ess & is_incomplete).any()
    completed = imputer.transform(X)
    by_weights = imputer.set_params(sampler="importance").transform(X)
    differs = (completed != by_weights).any(1)
    np.testing.assert_array_equal(differs, has_low_ess & is_incomplete)


def test_chains_use_the_encoder_of_completed_rows(monkeypatch):
    imputer = tiny(DeMissVAEImputer).fit(incomplete(60, share=0.4))
    model = imputer.conditional_model()
    assert model.completed_vae is imputer.model_.completed_vae
    vaes, run = [], conditional.run

    def recorded(sampler, vae, *args):
        vaes.append(vae)
        return run(sampler, vae, *args)

    monkeypatch.setattr(conditional, "run", recorded)
    x, observed = torch.zeros(1, 4), torch.tensor([[True, False, True, False]])
    noise = stream(0, torch.float32)
    for sampler in SAMPLERS.values():
        with torch.no_grad():
            batch = model.encode(x, observed, lambda: noise)
            model._replace(sampler=sampler).run_chains(batch, noise)
    assert [vae is imputer.vae_ for vae in vaes] == [name == "importance" for name in SAMPLERS]


def test_stored_imputations_of_other_rows_do_not_match():
    rows, new_rows = tiny_rows(20), tiny_rows(20, seed=1)
    state = ImputationStore(rows, K, 0, generator(), rows).state()
    assert ImputationStore(rows, K, 0, generator(9), rows).matches(state)
    assert not ImputationStore(new_rows, K, 0, generator(), new_rows).matches(state)
    assert not ImputationStore(rows, K + 1, 0, generator(), rows).matches(state)
    assert not ImputationStore(rows, K, 2, generator(), rows).matches(state)


def test_imputations_are_stored_only_to_continue():
    X = incomplete()
    assert tiny(DeMissVAEImputer).fit(X).model_.imputations is None
    assert len(tiny(DeMissVAEImputer, warm_start=True).fit(X).model_.imputations["x"]) == len(X)
    by_chunks = tiny(DeMissVAEImputer).partial_fit(X).partial_fit(X[:20]).partial_fit(X)
    assert len(by_chunks.model_.imputations["x"]) == len(X)


@pytest.mark.parametrize("sampler", ["importance", SAMPLERS["importance"]])
@pytest.mark.parametrize("cls", [DeMissVAEImputer, VAEDensityEstimator])
def test_stored_imputations_require_a_chain(cls, sampler):
    estimator = tiny(cls, sampler=sampler)
    if cls is VAEDensityEstimator:
        assert estimator.fit(incomplete()).vae_ is not None  # other objectives store no imputations
        estimator.set_params(objective="DeMissVAE")
    for fit in (estimator.fit, estimator.partial_fit):
        with pytest.raises(ValueError, match=r"Parameter 'sampler' cannot be 'importance'"):
            fit("a table that is not read")


@pytest.mark.slow
@pytest.mark.parametrize("sampler", CHAINS)
def test_transform_and_impute_by_chains(sampler):
    X = incomplete(12)
    imputer = tiny(MissSIWAEImputer).fit(X)
    by_weights = imputer.transform(X)
    imputer.set_params(sampler=SAMPLER_CLASSES[sampler](n_steps=4))
    by_chains = imputer.transform(X)
    observed = ~np.isnan(X)
    np.testing.assert_array_equal(by_chains[observed], X[observed])
    assert not np.array_equal(by_chains, by_weights)
    np.testing.assert_array_equal(imputer.transform(X[::-1])[::-1], by_chains)
    np.testing.assert_array_equal(imputer.transform(X[3:5]), by_chains[3:5])
    for strategy in ("median", "mode", "draw"):
        assert np.isfinite(imputer.set_params(strategy=strategy).transform(X)).all()
    first, second = imputer.impute(X, 2, random_state=0)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, imputer.impute(X, 2, random_state=0)[0])


@pytest.mark.slow
@every_estimator
def test_refit_encoder_changes_the_encoder_alone(cls):
    X = incomplete(60)
    complete = np.where(np.isnan(X), np.nanmean(X, 0), X)
    # gradients with one draw per component are too noisy for few steps
    options = {"n_draws": 2} if cls is MissSIWAEImputer else {}
    estimator = tiny(cls, max_iter=20, learning_rate=3e-3, **options).fit(X)
    before = copy.deepcopy(estimator.vae_.state_dict())
    refitted = estimator.refit_encoder(complete)
    after = refitted.vae_.state_dict()
    for name, values in estimator.vae_.state_dict().items():
        assert torch.equal(values, before[name])
        may_change = name.startswith(("encoder", "family"))
        assert torch.equal(values, after[name]) or may_change, name
    assert not torch.equal(before["encoder.outlet.weight"], after["encoder.outlet.weight"])
    assert refitted.get_params() == estimator.get_params()
    np.testing.assert_array_equal(refitted.sample(5), estimator.sample(5))
    gain = refitted.effective_sample_size(complete) / estimator.effective_sample_size(complete)
    assert np.median(gain) > 1
    assert pickle.dumps(estimator.refit_encoder(complete)) == pickle.dumps(refitted)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", CHAINS)
def test_chain_diagnostics(sampler):
    X = pd.DataFrame(incomplete(12), index=list("abcdefghijkl"))
    X.loc["a"], X.loc["b"] = 1.0, np.nan
    imputer = tiny(MissSIWAEImputer, sampler=SAMPLER_CLASSES[sampler](n_steps=40)).fit(X)
    diagnostics = chain_diagnostics(imputer, X)
    assert list(diagnostics.columns) == ["acceptance", "ess", "r_hat"]
    assert diagnostics.index.equals(X.index)
    # a complete row, and one without an observed cell
    assert diagnostics.loc[["a", "b"]].isna().all(axis=None)
    rest = diagnostics.drop(index=["a", "b"])
    missing = X.drop(index=["a", "b"]).isna().any(axis=1)
    assert rest[missing].notna().all(axis=None)
    assert rest[~missing].isna().all(axis=None)
    assert rest["acceptance"].dropna().between(0, 1).all()
    assert (rest["acceptance"].dropna() == 1).all() == (sampler != "metropolis")
    assert (rest["r_hat"].dropna() > 0.8).all()
    if sampler == "lair":  # its chains exchange latents
        assert (rest["r_hat"].dropna() < 1.5).all()
    pd.testing.assert_frame_equal(chain_diagnostics(imputer, X[5::-1])[::-1], diagnostics[:6])


def test_chain_diagnostics_require_chains():
    imputer = tiny(MissSIWAEImputer).fit(incomplete())
    with pytest.raises(
        ValueError, match=r"'importance', which runs no chains. Use effective_sample"
    ):
        chain_diagnostics(imputer, incomplete())


def test_warning_about_chains_names_the_remedy():
    X = incomplete(60, share=0.6)
    imputer = tiny(MissSIWAEImputer, sampler=MetropolisWithinGibbs(n_steps=8)).fit(X)
    with pytest.warns(UserWarning, match=r"Use more steps.*refit_encoder\(X_completed\)"):
        imputer.transform(X)
    with pytest.warns(UserWarning, match=r"effective_sample_size\(X\) returns it for each row"):
        imputer.score_samples(10 * X)


def test_chain_diagnostics_require_a_fit():
    with pytest.raises(NotFittedError):
        chain_diagnostics(tiny(MissSIWAEImputer), incomplete())
