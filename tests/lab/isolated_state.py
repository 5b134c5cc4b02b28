"""Another module, with variables that processes change."""

level = 1
settings: dict[str, int] = {}
