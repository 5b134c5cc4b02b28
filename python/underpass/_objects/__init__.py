"""Queues of objects: how they are encoded, where their bytes lie, and who has them."""
