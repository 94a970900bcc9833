"""What chapters and classes are made of: repeatable cells, figures to play with, the diagram, exercises.

Asks for more than the rest of the package: ``pip install "detr-mini[chapters]"``.
"""

from importlib.util import find_spec

if missing := [name for name in ("matplotlib", "IPython") if find_spec(name) is None]:
    raise ImportError(
        f'there is no {" and no ".join(missing)} here, which chapters need: pip install "detr-mini[chapters]"'
    )
