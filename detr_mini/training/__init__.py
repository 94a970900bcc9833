"""How a model is trained: recipe, loop, steps, checkpoints."""
