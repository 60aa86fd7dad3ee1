"""Makes the helper modules of this folder importable from the tests of all packages."""

import gc


def pytest_collection_finish():
    """Exclude modules and tests from garbage collection, which they would slow down."""
    gc.collect()
    gc.freeze()
