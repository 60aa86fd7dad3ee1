"""HTML representations in notebooks: links of estimators to their pages."""


class DocumentationLink:
    """Links the HTML diagram of an estimator to its page of the documentation.

    scikit-learn reads the attributes; classes of users, in other modules, have no link.
    """

    _doc_link_module = "skmissvae"
    _doc_link_template = "https://skmissvae.github.io/skmissvae/api/skmissvae.{estimator_name}.html"
