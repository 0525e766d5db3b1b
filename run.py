"""Search for a network and judge it; the same as the console script `nas-lightning`. See `python run.py --help`."""

try:
    from nas_lightning.cli.main import main
except KeyboardInterrupt:  # before there is anything that could say so
    raise SystemExit(130) from None

if __name__ == "__main__":
    main()
