"""The canonical spec, ``system.yaml``, and the checks that hold code and topology to it."""
