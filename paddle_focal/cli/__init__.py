"""The commands, one file each: ``paddle-focal COMMAND`` and ``tools/*.py``. May import everything."""
