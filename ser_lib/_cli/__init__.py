"""The `ser` command, a module for each group of commands."""


def main() -> None:
    """Run the command; an interrupt while its libraries are imported ends it as one later does."""
    try:
        from ser_lib._cli.app import main as run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()
