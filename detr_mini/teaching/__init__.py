"""What chapters and classes are made of: repeatable cells, figures to play with, the diagram, exercises."""
