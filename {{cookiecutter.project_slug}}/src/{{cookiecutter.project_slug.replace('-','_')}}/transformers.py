"""Your own steps of a pipeline: classes that a packaged model may contain.

A transformer is any class with scikit-learn's `fit` and `transform`. Put it into a pipeline when you
train, import it from here, and `model package` records it as a trusted type.
"""
