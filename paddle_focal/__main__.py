"""``python -m paddle_focal`` says which backend serves which place, and why."""

from paddle_focal import backend_report

print(backend_report())
