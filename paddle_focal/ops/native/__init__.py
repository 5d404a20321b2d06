"""The native backend: the operators of ``csrc``, and the library they come from."""
