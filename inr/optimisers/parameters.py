"""The parameters that an optimiser is given: a list, as torch's optimisers take it, that also knows what each of them is."""

from torch import nn

from inr.field import Network


class Parameters(list[nn.Parameter]):
    """The free parameters of a network in their order; `kinds` has the name of the group of each."""

    def __init__(self, network: Network) -> None:
        super().__init__(parameter for parameter in network.parameters() if parameter.requires_grad)
        kinds = {id(parameter): kind for kind, group in network.groups().items() for parameter in group}
        self.kinds = [kinds[id(parameter)] for parameter in self]
