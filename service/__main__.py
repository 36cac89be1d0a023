"""The service's commands as `python -m service`, which also works in a source tree without installation."""

import sys

from fitserve.cli import missing_extra

if __name__ == "__main__":
    try:
        from service.cli import main
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{missing_extra('python -m service', error)}\n")
        sys.exit(2)
    main()
