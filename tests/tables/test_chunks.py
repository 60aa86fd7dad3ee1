"""Tables in chunks: fits, samples, files and errors."""

import itertools
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from estimator_cases import (
    ESTIMATORS,
    DeMissVAEImputer,
    MissSIWAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
    over,
    table,
    tiny,
)

from skmissvae import Chunks, EarlyStopping
from skmissvae.tables import EncodedRows
from skmissvae.tables.chunks import draw_sample
from skmissvae.training.loaders import ChunkLoader

# DeMissVAE stores imputations of every row
every_chunked = over([cls for cls in ESTIMATORS if cls is not DeMissVAEImputer])


def cut(X, *bounds):
    """Return consecutive blocks of an array or a frame."""
    at = [0, *bounds, len(X)]
    rows = X.iloc if isinstance(X, pd.DataFrame) else X
    return [rows[a:b] for a, b in itertools.pairwise(at)]


def mixed(n=90):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.integers(0, 9, n).astype(float)})
    frame["c"] = pd.Series(np.where(frame["a"] > 0, "yes", "no"), dtype=object)
    return frame.mask(rng.random(frame.shape) < 0.2)


# -- the same results as in memory ----------------------------------------------------------------


@every_chunked
def test_small_tables_are_fitted_as_in_memory(cls):
    X = table()
    in_memory, chunked = tiny(cls).fit(X), tiny(cls).fit(Chunks(cut(X, 7, 30)))
    np.testing.assert_array_equal(in_memory.score_samples(X), chunked.score_samples(X))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_small_frames_are_fitted_as_in_memory(kind):
    X = table()
    X = pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])
    tables = cut(X, 7, 30)
    if kind == "polars":
        X, tables = pl.from_pandas(X), [pl.from_pandas(chunk) for chunk in tables]
    in_memory, chunked = tiny(MVAEImputer).fit(X), tiny(MVAEImputer).fit(Chunks(tables))
    np.testing.assert_array_equal(in_memory.score_samples(X), chunked.score_samples(X))


def test_results_are_the_same_for_any_source(tmp_path):
    frame = mixed()
    in_memory = tiny(MVAEImputer).fit(frame).score_samples(frame)
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=20)
    (tmp_path / "folder").mkdir()
    for i, chunk in enumerate(cut(frame, 40)):
        chunk.to_parquet(tmp_path / "folder" / f"{i}.parquet")
    sources = [
        Chunks([lambda chunk=chunk: chunk for chunk in cut(frame, 50)]),
        Chunks(lambda: iter(cut(frame, 50))),
        Chunks.from_parquet(tmp_path / "a.parquet", n_rows=45),
        Chunks.from_parquet([tmp_path / "folder"]),
    ]
    for chunks in sources:
        assert sum(map(len, chunks)) == len(frame)
        imputer = tiny(MVAEImputer).fit(chunks)
        np.testing.assert_array_equal(
            np.concatenate(list(chunks.map(imputer.score_samples))), in_memory
        )


def test_row_groups_are_joined_up_to_a_number_of_rows(tmp_path):
    frame = mixed()
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=20)
    for n_rows, sizes in ((45, [40, 40, 10]), (1, [20, 20, 20, 20, 10]), (1000, [90])):
        chunks = Chunks.from_parquet(tmp_path / "a.parquet", ["b", "a"], n_rows)
        assert [len(chunk) for chunk in chunks] == sizes
    assert list(next(iter(chunks)).columns) == ["b", "a"]


def test_a_failed_chunk_leaves_an_existing_file_unchanged(tmp_path):
    frame, path = mixed(), tmp_path / "completed.parquet"
    chunks = Chunks(cut(frame, 33))
    imputer = tiny(MVAEImputer).fit(chunks)
    chunks.map(imputer.transform).to_parquet(path)
    result = pd.read_parquet(path)
    pd.testing.assert_frame_equal(result, imputer.transform(frame), check_dtype=False)
    before = path.read_bytes()
    broken = Chunks([frame[:10], frame[10:].rename(columns={"a": "z"})])
    with pytest.raises(ValueError, match="z"):
        broken.map(imputer.transform).to_parquet(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    Chunks.from_array(table(), 20).to_parquet(path)
    assert pq.ParquetFile(path).metadata.num_row_groups == len(table()) // 20 + (
        len(table()) % 20 > 0
    )
    np.testing.assert_array_equal(pd.read_parquet(path).to_numpy(), table())


def test_custom_sequences_load_one_item_at_a_time(tmp_path):
    class Files:
        n_loaded = 0

        def __len__(self):
            return 3

        def __getitem__(self, i):
            self.n_loaded += 1
            return cut(table(), 10, 20)[i]

    files = Files()
    chunks = Chunks(files).map(len)
    assert files.n_loaded == 0
    assert list(chunks) == [10, 10, len(table()) - 20]
    assert files.n_loaded == 3


def test_errors_of_files(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"a": [1.0, 2.5]}).to_parquet(path)
    with pytest.raises(ValueError, match="has no column 'bb'; it has"):
        Chunks.from_parquet(path, ["a", "bb"])
    (tmp_path / "c=1").mkdir()
    path.rename(tmp_path / "c=1" / "a.parquet")
    for source in (tmp_path, tmp_path / "c=1", tmp_path / "c=1" / "a.parquet"):
        with pytest.raises(ValueError, match="whose name holds values"):
            Chunks.from_parquet(source)
    inner = tmp_path / "c=1" / "data"  # folders above the path do not matter
    inner.mkdir()
    (tmp_path / "c=1" / "a.parquet").rename(inner / "a.parquet")
    pickled = pickle.loads(pickle.dumps(Chunks.from_parquet(inner)))
    assert [len(chunk) for chunk in pickled] == [2]
    (inner / "b.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"b\.parquet cannot be read as a Parquet file"):
        Chunks.from_parquet(inner)


# -- more rows than the sample --------------------------------------------------------------------


def long(n=600):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 1)) * [1.0, -0.5, 2.0] + 0.1 * rng.normal(size=(n, 3)) + 5
    return np.where(rng.random(x.shape) < 0.3, np.nan, x), x


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", [True, False])
def test_long_tables_are_fitted_to_all_rows(early_stopping):
    X, complete = long()
    stopping = EarlyStopping(n_iter_no_change=40) if early_stopping else False
    options = {"max_iter": 15, "learning_rate": 0.01, "early_stopping": stopping}
    chunks = Chunks.from_array(X, 100, sample_size=60)
    chunked = tiny(MissSIWAEImputer, **options).fit(chunks)
    in_memory = tiny(MissSIWAEImputer, **options).fit(X)
    X, complete = X[:150], complete[:150]
    missing = np.isnan(X)
    errors = [
        np.sqrt(np.mean((m.transform(X) - complete)[missing] ** 2)) for m in (chunked, in_memory)
    ]
    assert errors[0] < 1.3 * errors[1]
    assert ("validation_bound" in chunked.history_) == early_stopping


@every_chunked
def test_fits_to_chunks_are_reproducible(cls):
    X, _ = long(100)
    scores = [
        tiny(cls).fit(Chunks.from_array(X, 30, sample_size=20)).score_samples(X[:20])
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("by_one", [True, False])
@pytest.mark.parametrize("n_together", [1, 2, 9])
@pytest.mark.parametrize("batch_size", [1, 16, 1000])
def test_an_epoch_has_each_training_row_once(by_one, n_together, batch_size):
    x = np.arange(230.0).reshape(-1, 1)
    tables = [*cut(x, 50, 120), x[:0]]
    chunks = Chunks(tables if by_one else lambda: iter(tables), n_together=n_together)
    held_out = np.array([229, 3, 57])

    def encode(chunk):
        return EncodedRows(chunk, np.ones(chunk.shape, dtype=bool))

    sizes = [len(chunk) for chunk in tables]
    stream = ChunkLoader(chunks, encode, sizes, held_out, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    orders = []
    for _ in range(2):
        batches = list(stream.batches(batch_size, generator))
        assert {len(batch.x) for batch in batches[:-1]} <= {batch_size}
        assert len(batches) == -(-stream.n_rows // batch_size)
        places = torch.cat([batch.position for batch in batches])
        assert torch.equal(
            places.double(), torch.cat([batch.x for batch in batches])[:, 0].double()
        )
        assert sorted(places.tolist()) == sorted(set(range(230)) - set(held_out.tolist()))
        orders.append(places)
    assert not torch.equal(*orders)


def test_samples_are_uniform_and_in_order():
    x = np.arange(1000)[:, None]
    counts = np.zeros(10)
    for seed in range(40):
        sample = draw_sample(Chunks.from_array(x, 130, sample_size=50), seed)
        assert len(sample.table) == 50
        assert (np.diff(sample.places) > 0).all()
        np.testing.assert_array_equal(sample.table[:, 0], sample.places)
        counts += np.histogram(sample.places, np.arange(0, 1001, 100))[0]
    assert abs(counts - 200).max() < 4 * 14
    assert sample.sizes == [130] * 7 + [90]


def test_categories_outside_the_sample_are_treated_as_missing():
    frame = mixed(120)
    frame.loc[119, "c"] = "rare"
    chunks = Chunks(cut(frame, 30, 60, 90), sample_size=30)
    seed = next(s for s in range(20) if 119 not in draw_sample(chunks, s).places)
    assert "rare" not in set(draw_sample(chunks, seed).table["c"])
    imputer = tiny(MVAEImputer, handle_unknown="missing", warm_start=True).fit(chunks)
    assert imputer.transform(frame)["c"][119] == "rare"
    for _ in range(4):  # other samples may have the category
        imputer.fit(chunks)


# -- errors ---------------------------------------------------------------------------------------


def test_wrong_sources_are_refused():
    with pytest.raises(TypeError, match="generator, which can be read only once"):
        Chunks(chunk for chunk in [table()])
    with pytest.raises(TypeError, match="a single ndarray"):
        Chunks(table())
    with pytest.raises(TypeError, match="a single str"):
        Chunks("a.parquet")
    with pytest.raises(ValueError, match="at least one chunk"):
        Chunks([])
    for name in ("n_together", "sample_size"):
        with pytest.raises(ValueError, match=f"{name} must be"):
            Chunks([table()], **{name: 0})
    with pytest.raises(ValueError, match="have no rows"):
        tiny(MVAEImputer).fit(Chunks([table()[:0]]))
    with pytest.raises(TypeError, match="got a DataFrame"):
        Chunks.from_array(mixed())
    with pytest.raises(TypeError, match="a single LazyFrame"):
        Chunks(pl.LazyFrame({"a": [1]}))
    with pytest.raises(TypeError, match="got a LazyFrame"):
        tiny(MVAEImputer).fit(Chunks([pl.LazyFrame({"a": [1]})]))
    with pytest.raises(TypeError, match="got a list"):
        tiny(MVAEImputer).fit(Chunks([[1, 2]]))
    with pytest.raises(TypeError, match="of one type; got DataFrame and ndarray"):
        tiny(MVAEImputer).fit(Chunks([table(), pd.DataFrame(table())]))
    with pytest.raises(ValueError, match="same columns"):
        tiny(MVAEImputer).fit(Chunks([mixed(), mixed()[["b", "a", "c"]]]))
    with pytest.raises(ValueError, match="No Parquet file"):
        Chunks.from_parquet([])


def test_estimators_that_do_not_accept_chunks():
    chunks = Chunks([table()])
    with pytest.raises(ValueError, match="cannot be fitted to Chunks: DeMissVAE"):
        tiny(DeMissVAEImputer).fit(chunks)
    imputer = tiny(MVAEImputer).fit(table())
    before = imputer.score_samples(table())
    with pytest.raises(ValueError, match="n_bootstrap=2 cannot be fitted to Chunks"):
        imputer.set_params(n_bootstrap=2).fit(chunks)
    imputer.set_params(n_bootstrap=0)
    for method in (imputer.transform, imputer.fit_transform):
        with pytest.raises(TypeError, match=r"chunks\.map"):
            method(chunks)
    with pytest.raises(TypeError, match="X is a generator"):
        imputer.fit(chunk for chunk in [table()])
    np.testing.assert_array_equal(imputer.score_samples(table()), before)


def test_chunks_that_change_between_passes_are_refused():
    X, _ = long(200)
    once = iter([X[:100], X[100:]])
    with pytest.raises(ValueError, match="must yield the same"):
        tiny(MVAEImputer).fit(Chunks(lambda: once, sample_size=50))
    calls = []

    def shrinking():
        calls.append(0)
        return iter([X[:100], X[100 : 200 - 10 * (len(calls) > 1)]])

    estimator = tiny(VAEDensityEstimator)
    with pytest.raises(ValueError, match="Chunk 1 has 90 rows in this pass and had 100"):
        estimator.fit(Chunks(shrinking, sample_size=50))
    assert not hasattr(estimator, "vae_")


def test_errors_name_the_chunk():
    X, _ = long(200)
    wider = np.hstack([X, X])
    calls = []

    def growing():
        calls.append(0)
        return iter([X[:100], X[100:] if len(calls) == 1 else wider[100:]])

    with pytest.raises(ValueError, match="Chunk 1: X has 6 features"):
        tiny(MVAEImputer).fit(Chunks(growing, sample_size=50))
