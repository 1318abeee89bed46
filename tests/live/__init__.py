"""The live adapter on a real node, behind endpoints that fail as public ones do."""
