"""Your own pre- and post-processing: classes here may be part of a packaged model.

A transformer is any class with scikit-learn's `fit` and `transform`; put it into a pipeline when
you train, import it from here, and `model package` records it as a trusted type.
"""
