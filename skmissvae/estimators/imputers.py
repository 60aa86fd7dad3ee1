"""The imputers: one per method, over one model."""

from ..inference.samplers import Sampler
from ..vae.vae import VAE
from .imputer_base import BaseImputer
from .options import MixtureOptions
from .parameters import estimator


@estimator
class MVAEImputer(BaseImputer):
    r"""Imputation by a variational autoencoder with a Gaussian posterior, MVAE.

    The model is fitted by the evidence lower bound of the observed cells [1]_,

    .. math:: \sum_s \tfrac1S \log \frac{p(x_{obs}, z_s)}{q(z_s | x_{obs})}, \quad z_s \sim q.

    It is the simplest method and the fastest to train. If the posterior given the observed cells
    has several modes, the mixture posteriors of the other methods fit better.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSVAEImputer : The same bound with a mixture posterior.
    MIWAEImputer : The tighter, importance-weighted bound.

    References
    ----------
    .. [1] Nazabal, Olmos, Ghahramani and Valera (2020). Handling incomplete heterogeneous data
       using VAEs. Pattern Recognition 107.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MVAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MVAEImputer(max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    _method_name = "MVAE"


@estimator
class MissVAEImputer(MixtureOptions, BaseImputer):
    r"""Imputation with a mixture posterior and ancestral draws, MissVAE.

    The posterior of a row is a mixture of K Gaussians; the bound is that of MVAE [1]_,

    .. math:: \sum_s \tfrac1S \log \frac{p(x_{obs}, z_s)}{q(z_s | x_{obs})}, \quad
              z_s \sim q = \sum_k \pi_k q_k,

    with gradients through the draws by implicit reparameterization.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSVAEImputer : Stratified draws, with a lower variance.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissVAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MissVAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    _method_name = "MissVAE"


@estimator
class MissSVAEImputer(MixtureOptions, BaseImputer):
    r"""Imputation with a mixture posterior and stratified draws, MissSVAE.

    Draws come from every component of the posterior, with its weight as their mass [1]_,

    .. math:: \sum_k \pi_k \sum_s \tfrac1S \log \frac{p(x_{obs}, z_{ks})}{q(z_{ks} | x_{obs})},
              \quad z_{ks} \sim q_k.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSIWAEImputer : The tighter, importance-weighted bound.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSVAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MissSVAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    n_draws: int = 2

    _method_name = "MissSVAE"


@estimator
class MIWAEImputer(BaseImputer):
    r"""Imputation with the importance-weighted bound, MIWAE.

    The bound is [1]_

    .. math:: \log \sum_s \tfrac1S \frac{p(x_{obs}, z_s)}{q(z_s | x_{obs})}, \quad z_s \sim q,

    which tightens with the number of draws.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSIWAEImputer : The same with a mixture posterior.

    References
    ----------
    .. [1] Mattei and Frellsen (2019). MIWAE: Deep Generative Modelling and Imputation of
       Incomplete Data Sets. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MIWAEImputer(max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    _method_name = "MIWAE"


@estimator
class MissIWAEImputer(MixtureOptions, BaseImputer):
    r"""Imputation with the importance-weighted bound and a mixture posterior, MissIWAE.

    Draws are ancestral, with gradients by implicit reparameterization [1]_,

    .. math:: \log \sum_s \tfrac1S \frac{p(x_{obs}, z_s)}{q(z_s | x_{obs})}, \quad
              z_s \sim q = \sum_k \pi_k q_k.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSIWAEImputer : Stratified draws.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissIWAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MissIWAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    _method_name = "MissIWAE"


@estimator
class MissSIWAEImputer(MixtureOptions, BaseImputer):
    r"""Imputation with the importance-weighted bound and stratified draws, MissSIWAE.

    Draws come from every component of the posterior, with its weight as their mass [1]_,

    .. math:: \log \sum_k \pi_k \sum_s \tfrac1S \frac{p(x_{obs}, z_{ks})}{q(z_{ks} | x_{obs})},
              \quad z_{ks} \sim q_k.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MIWAEImputer : The same with a single Gaussian posterior.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSIWAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MissSIWAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    n_draws: int = 1

    _method_name = "MissSIWAE"


@estimator
class DeMissVAEImputer(MixtureOptions, BaseImputer):
    r"""Imputation with separate objectives of decoder and encoder, DeMissVAE.

    K imputations of every row are stored in training, and updated by a sampler in each visit of the
    row. With the encodings of the completed rows,
    :math:`z_k \sim q_k = q(z | x_{obs}, x_{mis}^k)`, the decoder maximizes [1]_

    .. math:: \frac1K \sum_k \log p(x_{obs}, z_k) - \log \frac1K \sum_j q_j(z_k),

    a mixture over the imputations instead of components, and the encoder maximizes the evidence
    lower bound of the completed rows,

    .. math:: \frac1K \sum_k \log p(x_{obs}, x_{mis}^k, z_k) - \log q_k(z_k).

    A second encoder, of incomplete rows, is trained at the end with the decoder fixed. Rows are
    completed by its importance weights, or by chains of the sampler if their effective sample size
    is low.

    Parameters
    ----------
    K : int
        Stored imputations of each row in training, and components of the posterior of incomplete
        rows.
    n_draws : int
        Draws per imputation and training step.
    sampler : {"lair", "metropolis", "pseudo_gibbs"} or Sampler
        Updates the stored imputations in training, and completes rows with a low effective sample
        size. It is read when a method is called; "importance" then uses importance weights for all
        rows.
    {parameters}

    Attributes
    ----------
    completed_vae_ : torch.nn.Module
        The VAE with the encoder of completed rows.
    {attributes}

    See Also
    --------
    MissSIWAEImputer : One objective for both networks, without stored imputations.

    Notes
    -----
    Without dropout and with ``LAIR(n_replenish=0)`` the sampler and the objectives share a forward
    pass; with dropout the sampler needs its own.

    Training stores N x K x D numbers. With ``warm_start`` they stay in the estimator, and another
    ``fit`` to the same rows continues with them. ``partial_fit`` initializes the imputations of
    rows that were not in the previous call, and updates them by ten steps before training.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import DeMissVAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = DeMissVAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    n_draws: int = 1
    min_scale: float = 0.1
    sampler: str | Sampler = "lair"

    @property
    def completed_vae_(self) -> VAE | None:
        """The VAE with the encoder of completed rows."""
        return self.model_.completed_vae

    _method_name = "DeMissVAE"
