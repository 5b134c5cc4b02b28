"""`python -m tests.crash.stepping.planted FAULT ...`: the same deaths, inflicted on a native module with a fault to be found."""

import sys

from tests.planted import load, plant

if __name__ == "__main__":
    load()
    plant(sys.argv.pop(1))
    from tests.crash.stepping import children
    from tests.crash.stepping.__main__ import main

    # Somebody is to hang here, and whoever waits to see it need not wait for long.
    children.unscaled, children.PATIENCE = True, 3.0

    sys.exit(main())
