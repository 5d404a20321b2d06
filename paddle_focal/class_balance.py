"""The public names for alpha from class frequencies."""

from paddle_focal.data.class_balance import METHODS, class_alpha, count_objects

__all__ = ["METHODS", "class_alpha", "count_objects"]
