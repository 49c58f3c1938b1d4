"""The commands of ``pixelvae NAME``, each in a file of its name with a function ``main``."""
