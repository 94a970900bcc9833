"""Side by side with Hugging Face and with plain forms: ``python -m benchmarks``."""
