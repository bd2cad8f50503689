"""Data that are samples of a field itself, so that some of its properties can be measured before it is fitted."""

from abc import ABC, abstractmethod


class Sampled(ABC):
    """Samples of one signal as values of its field: an image, a sound, distances from a shape."""

    @abstractmethod
    def slope(self) -> float:
        """Return the root of the mean squared gradient of the signal over its standard deviation, per unit of [-1, 1].

        It is measured on training samples alone.
        """
