"""scikit-learn estimators from `.skops` files. Nothing here unpickles."""
