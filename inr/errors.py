"""The one error that is the user's to mend."""


class InputError(ValueError):
    """A file, an option or a checkpoint breaks a rule: the message names the rule, the value received, the remedy."""
