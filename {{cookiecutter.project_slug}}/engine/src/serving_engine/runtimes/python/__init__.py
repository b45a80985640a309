"""The runtime `python`: the model is a class of the owner's, and the files that it reads."""
