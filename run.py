"""Search for a network and evaluate it; the same as the console script `nas-lightning`. See `python run.py --help`."""

try:
    from nas_lightning.cli.main import main
except KeyboardInterrupt:  # during the imports, before `main` can handle it
    raise SystemExit(130) from None

if __name__ == "__main__":
    main()
