"""The composite backend: losses from Paddle operators, on every device."""
