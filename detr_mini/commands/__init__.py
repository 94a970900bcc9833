"""The command line ``detr-mini``: one file a command; torch is imported only once a command runs."""
