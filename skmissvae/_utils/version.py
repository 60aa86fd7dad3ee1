"""The version of the package, which saved estimators hold."""

import sklearn.exceptions

__version__ = "0.1.0"


class InconsistentVersionWarning(sklearn.exceptions.InconsistentVersionWarning):
    """Warning that another version of the package saved an estimator.

    Parameters
    ----------
    estimator_name : str
        Class of the estimator.
    saved_version : str
        Version that saved it.

    Examples
    --------
    >>> from skmissvae import InconsistentVersionWarning
    >>> print(InconsistentVersionWarning("MVAEImputer", "0.0.1"))  # doctest: +ELLIPSIS
    MVAEImputer was saved by skmissvae 0.0.1 and is loaded by ...
    """

    def __init__(self, estimator_name: str, saved_version: str) -> None:
        UserWarning.__init__(self, estimator_name, saved_version)
        self.estimator_name, self.saved_version = estimator_name, saved_version

    def __str__(self) -> str:
        return (
            f"{self.estimator_name} was saved by skmissvae {self.saved_version} and is loaded by "
            f"{__version__}. Its results can differ from those of the saved estimator: compare "
            "them, or fit and save the estimator again."
        )
