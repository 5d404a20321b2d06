"""Time and memory compared with what this package replaces. Imports ``engine``, ``detection`` and ``ops``."""
