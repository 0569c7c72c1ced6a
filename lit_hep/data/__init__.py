"""Arrays, checked readers, splits and samplers: no Lightning, no task."""
