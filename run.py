"""Search for a network and judge it; the same as the console script `nas-lightning`. See `python run.py --help`."""

from nas_lightning.app import main

if __name__ == "__main__":
    main()
