"""What the entry of a property in a spec file has to offer."""

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from lipverify.spec.fields import Entry, Requirements
from lipverify.spec.sizes import Sizes

Kind = Annotated[str, PlainValidator(lambda value: value)]
"""Known to be right: the model was chosen by it."""


class PropertyEntry(Entry):
    """A property as written, not yet held against a network."""

    kind: Kind = Field(description="lipschitz, monotonicity, robustness, radius or vnnlib")
    requirement: Requirements = ()

    @abstractmethod
    def bind(self, sizes: Sizes) -> Any:
        """The property; `Misfit` where it does not fit the network."""
