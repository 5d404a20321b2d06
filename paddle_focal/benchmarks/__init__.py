"""Time and memory beside what this package replaces. Imports ``engine``, ``detection`` and ``ops``."""
