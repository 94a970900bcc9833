"""The models, in the order in which the book builds them; a module imports from those of earlier chapters only."""
