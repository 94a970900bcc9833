"""Side by side with Hugging Face and with plain forms: ``python -m benchmarks``."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler tells of its own doings otherwise
