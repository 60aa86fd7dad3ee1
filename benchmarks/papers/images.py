"""Images as rows, from the folder $SKMISSVAE_DATA or from OpenML."""

import os
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml

SHAPE = (28, 28)


def mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return grey values of MNIST from 0 to 1 and labels: X_train, y_train, X_test, y_test."""
    folder = os.environ.get("SKMISSVAE_DATA")
    if folder:
        with np.load(Path(folder) / "D_images" / "mnist.npz") as file:
            parts = {name: file[name] for name in file.files}
        X = np.concatenate([parts["X_train"], parts["X_test"]]).reshape(-1, 784)
        y = np.concatenate([parts["y_train"], parts["y_test"]])
    else:
        try:
            X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False)
        except OSError as error:
            raise SystemExit(
                f"MNIST could not be fetched from OpenML: {error}. Set $SKMISSVAE_DATA to a folder "
                "that contains D_images/mnist.npz."
            ) from error
    X, y = X.astype(np.float32) / 255, y.astype(int)
    return X[:60_000], y[:60_000], X[60_000:], y[60_000:]


def omniglot() -> tuple[np.ndarray, np.ndarray]:
    """Return grey values of Omniglot from 0 to 1 (ink): training images and test images.

    The split is that of Simkus and Gutmann (2024).
    """
    folder = os.environ.get("SKMISSVAE_DATA")
    if not folder:
        raise SystemExit(
            "Omniglot at 28 x 28 pixels has no public source that scikit-learn can fetch. Set "
            "$SKMISSVAE_DATA to a folder that contains D_images/omniglot_28.npz."
        )
    with np.load(Path(folder) / "D_images" / "omniglot_28.npz") as file:
        X = file["X"].reshape(-1, 784).astype(np.float32) / 255
        split = file["demiss_split"]
    return X[split == 0], X[split == 2]
