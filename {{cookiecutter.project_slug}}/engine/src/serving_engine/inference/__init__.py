"""The model as handlers know it: batching, admission, deadlines, prediction threads."""
