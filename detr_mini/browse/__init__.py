"""One page that shows a detection data set, and what a model makes of it: ``detr-mini browse``."""
