"""The lab: every interleaving, time-out and death of a program that uses Underpass."""
