"""``python -m grab_service``: the same as the command ``grab``."""

from grab_service.cli import main

if __name__ == "__main__":
    main()
