"""The `underpass` command and what it runs."""
