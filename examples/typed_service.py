"""A typed service: one annotated class, a server that implements it, and a client that calls it as if it were here."""

import multiprocessing

import underpass


class Ledger(underpass.Interface):
    """What both sides know."""

    def move(self, giver: str, taker: str, amount: int) -> dict[str, int]:
        """Move an amount; the balances of both."""
        raise NotImplementedError


class Bank(Ledger):
    """What the server does; a type checker compares it with the interface."""

    def __init__(self) -> None:
        self._balances = {"ada": 100, "ben": 0}

    def move(self, giver: str, taker: str, amount: int) -> dict[str, int]:
        """Refuse to lend."""
        if self._balances[giver] < amount:
            raise ValueError(f"{giver} has only {self._balances[giver]}")
        self._balances[giver] -= amount
        self._balances[taker] += amount
        return {name: self._balances[name] for name in (giver, taker)}


def client() -> None:
    """Call from another process."""
    with underpass.connect(Ledger, "example/ledger", timeout=10) as ledger:
        print(ledger.move("ada", "ben", amount=30))
        # -> {'ada': 70, 'ben': 30}
        try:
            ledger.move("ben", "ada", 50)
        except underpass.RemoteError as error:
            print(error.type, error.text, sep=": ")
            # -> ValueError: ben has only 30
        try:
            ledger.move("ben", "ada", "50")  # type: ignore[arg-type]
        except TypeError as error:  # nothing was sent
            print(str(error).split(";")[0])
            # -> Ledger.move: argument 'amount': Expected int, got str


if __name__ == "__main__":
    with underpass.serving(Bank(), at="example/ledger"):
        process = multiprocessing.get_context("spawn").Process(target=client)
        process.start()
        process.join()
