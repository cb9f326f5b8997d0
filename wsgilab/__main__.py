"""The command `wsgilab` of an installed lab; also `python -m wsgilab`."""

import gc
import signal

from wsgilab import refuse_windows


def main() -> None:
    """Carry out the tasks that the command line names. Ends the process."""
    refuse_windows()
    # So that Ctrl-C while all is being imported, when no task can handle it yet, ends it without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    # All that is imported stays. To look through it for garbage, again and again, takes a tenth of the start.
    gc.disable()
    from wsgilab.commands.tasks import program

    gc.enable()
    program.run()


if __name__ == "__main__":
    main()
