"""The ends of a run that a user reads in one line."""


class InputError(ValueError):
    """A file, an option or a checkpoint breaks a rule: the message names the rule, the value received, the remedy."""


class Stopped(SystemExit):
    """A signal ends the run.

    code: of the process, 128 + the signal's number as shells have it
    line: the message, which names the signal, the saved step, the command to go on with; empty if another process says it
    """

    def __init__(self, code: int, line: str) -> None:
        super().__init__(code, line)  # both, so that it can come out of another process
        self.code = code
        self.line = line
