"""The steps of a build, one module for each kind of recipe."""
